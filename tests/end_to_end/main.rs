//! Drives the real binary against real processes and servers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy exempts only functions marked as tests"
)]

mod accuracy;
mod callers;
mod container_habits;
mod container_images;
mod container_keys;
mod container_names;
mod container_network;
mod container_ownership;
mod containers;
mod crashes;
#[path = "../support/docker.rs"]
mod docker;
mod environment;
mod examples;
mod faults;
mod fixed_ports;
mod forecasts;
mod history_faults;
mod jobs;
mod journey;
mod manage;
mod metrics_faults;
mod podman;
mod pool;
mod pool_faults;
mod project;
mod readiness;
mod records;
mod reports;
mod runtime;
mod state_folder;
mod support;

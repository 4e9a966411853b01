//! The library behind the `clnrm` command.
//!
//! One sentence holds it together: *gather, decide, act*. I/O collects plain data, pure functions
//! ([`services::service_manager`]) decide, I/O applies the decision, and a typed report says what happened.
//! `docs/ARCHITECTURE.md` has the map.

// Fixtures that other crates' benches share name it so.
#[cfg(test)]
extern crate self as clnrm_core;

pub mod backend;
pub mod cli;
pub mod clock;
pub mod config;
pub mod exit;
pub mod folder;
pub mod http;
pub mod lifecycle;
pub mod manage;
pub mod metrics;
mod netlink;
pub mod procfs;
pub mod report;
pub mod runner;
pub mod servers;
pub mod services;
pub mod store;
pub mod text;

//! The decisions, from outside: recorded scenarios, what must hold whatever was measured, and their records.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy exempts only functions marked as tests"
)]

mod properties;
mod records;
mod rolled_up;
mod scenarios;

use clnrm_decide::{MetricsHistory, Rollup, ServiceMetrics, Tier, Timestamp};

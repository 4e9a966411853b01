//! Reports rendered from hand-made values: snapshots for their form, assertions for what must hold.

mod instances;
mod machine;
mod manage;
mod manage_edges;
mod progress;
mod run;
mod run_fixtures;
mod streams;

use std::time::Duration;

use crate::clock::Timestamp;

/// 2026-11-23T10:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

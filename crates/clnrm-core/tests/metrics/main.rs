//! What the collector measures, held against independent counts of real processes and servers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; a test that skips says so"
)]

mod containers;
#[path = "../../../../tests/support/docker.rs"]
mod docker;
mod endpoints;
mod processes;
mod server;
mod services;

use std::sync::Arc;
use std::time::Duration;

use clnrm_core::backend::Backends;
use clnrm_core::clock::SystemClock;
use clnrm_core::metrics::rates;
use clnrm_core::metrics::{Collector, Reading, Target};
use clnrm_core::servers;
use clnrm_core::services::service_manager::{ServiceMetrics, Sources};

fn collector() -> Collector {
    Collector::new(Arc::new(SystemClock), servers::source, Backends::default())
}

async fn read_one(collector: &mut Collector, target: &Target) -> Reading {
    let mut readings = collector.read(std::slice::from_ref(target)).await;
    assert_eq!(readings.len(), 1);
    readings.remove(0)
}

/// The service of one instance with one core.
fn sample(previous: &Reading, current: &Reading) -> (ServiceMetrics, Sources) {
    let sample = rates::instance_sample(Some(previous), current, 1.0);
    rates::combine(&[sample], current.at)
}

fn seconds_between(previous: &Reading, current: &Reading) -> f64 {
    current.service.at.since(previous.service.at).as_secs_f64()
}

/// Reads again once enough time has passed for a rate.
async fn read_after_interval(
    collector: &mut Collector,
    target: &Target,
    previous: &Reading,
) -> Reading {
    loop {
        let reading = read_one(collector, target).await;
        if reading.at.since(previous.at) > Duration::from_millis(300) {
            return reading;
        }
    }
}

//! What lies between two readings.

use clnrm_decide::{Absent, Measured};

use crate::clock::Uptime;
use crate::metrics::series::grown;

/// Clock ticks are 10 ms: over 200 ms one tick more or less moves CPU by 5 points, which is as much as may be.
const MIN_INTERVAL_MILLIS: u64 = 200;

/// Seconds from one moment to a later one, if that is long enough to divide by.
pub(super) fn seconds_between(earlier: Uptime, later: Uptime) -> Measured<f64> {
    let interval = later.since(earlier);
    let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    if millis < MIN_INTERVAL_MILLIS {
        return Err(Absent::TooSoon { millis });
    }
    Ok(interval.as_secs_f64())
}

/// How much a counter grew; one that shrank was reset.
pub(super) fn increase(before: f64, now: f64) -> Measured<f64> {
    grown(before, now).ok_or(Absent::CounterReset)
}

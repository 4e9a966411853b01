//! The time of the rehearsals: it stands still until a test moves it, or until nobody has anything to do but wait.
//!
//! It is tokio's own paused clock, so that the time of day and every timer move together.

use std::time::Duration;

use clnrm_core::clock::{Clock, Timestamp, Uptime};
use tokio::time::Instant;

/// When every rehearsal begins: 2026-01-01, with a machine that has been up for a day.
const BEGIN_MS: i64 = 1_767_225_600_000;
const UP_BEFORE: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
pub(crate) struct ManualClock {
    begun: Instant,
}

impl ManualClock {
    /// Within a runtime whose time is paused.
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN_MS) + self.begun.elapsed()
    }

    fn awake(&self) -> Uptime {
        Uptime::default() + UP_BEFORE + self.begun.elapsed()
    }

    fn started_at(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN_MS) - UP_BEFORE
    }
}

/// Lets so much time pass at once.
pub(crate) async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

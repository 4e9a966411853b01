//! The only place that reads the time of day and the clocks that nobody sets.
//!
//! Everything that decides takes a [`Timestamp`] as an argument, so that any moment can be tested. The time of day may
//! be set while clnrm runs (a virtual machine wakes up, NTP steps): what is divided by an interval takes it from an [`Uptime`].
//! Timers (`sleep`, deadlines) are not here: those use `tokio::time`, which tests can pause.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub use clnrm_decide::timestamp::{NotATime, Timestamp, rfc3339};

/// A moment on a clock that nobody sets, in microseconds since the machine started. Says nothing about another boot.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Uptime(u64);

impl Uptime {
    /// The moment `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// How long after `earlier` this is; zero where it is before it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// How far the two are apart.
    pub fn distance(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }
}

impl Add<Duration> for Uptime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Uptime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment by the time of day.
    fn now(&self) -> Timestamp;

    /// The present moment on a clock that stands still while the machine sleeps, as its services do.
    fn awake(&self) -> Uptime;

    /// When the machine started, by the time of day as it is set now: it moves exactly when somebody sets that.
    fn started_at(&self) -> Timestamp;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that may read the clock"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn awake(&self) -> Uptime {
        let micros = since_start(ClockId::Monotonic).as_micros();
        Uptime(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn started_at(&self) -> Timestamp {
        // With the time asleep: a machine that slept was not set.
        self.now() - since_start(ClockId::Boottime)
    }
}

fn since_start(clock: ClockId) -> Duration {
    // The kernel's clocks never show less than zero.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_nobody_sets_go_on() {
        let (before, started_at) = (SystemClock.awake(), SystemClock.started_at());
        assert!(started_at < SystemClock.now());
        assert!(SystemClock.awake() > before);
        assert_eq!(before.since(SystemClock.awake()), Duration::ZERO);
    }
}

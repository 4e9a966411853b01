//! The only place that reads the time of day and the clocks that nobody sets.
//!
//! Everything that decides takes a [`Timestamp`] as an argument, so that any moment can be tested. The time of day may
//! be set while clnrm runs (a virtual machine wakes up, NTP steps): what is divided by an interval takes it from an [`Uptime`].
//! Timers (`sleep`, deadlines) are not here: those use `tokio::time`, which tests can pause.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment, in UTC milliseconds since 1970.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero when the clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Timestamp {
    /// Later by so many milliseconds; earlier where they are negative.
    pub const fn moved_by(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

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

/// RFC 3339 in UTC with milliseconds, e.g. `2026-11-23T10:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since_epoch = Duration::from_millis(self.0.max(0).unsigned_abs());
        humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).fmt(f)
    }
}

/// Reads RFC 3339 in UTC, fractions of a second included.
impl FromStr for Timestamp {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let since_epoch = humantime::parse_rfc3339(text)?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self(
            i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        ))
    }
}

/// Serializes a [`Timestamp`] as its RFC 3339 text, the form that reports use.
pub mod rfc3339 {
    use serde::Serializer;

    use super::Timestamp;

    /// For `#[serde(serialize_with = "…")]` on a report's field.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    /// The same of a time that may be absent (`null`).
    pub fn serialize_optional<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.collect_str(at),
            None => serializer.serialize_none(),
        }
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

/// The machine's clock.
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
    fn text_and_back() {
        let at = Timestamp::from_millis(1_763_892_000_123);
        assert_eq!(at.to_string().parse(), Ok(at));
        let of_an_engine: Timestamp = "2026-11-23T10:00:00.123456789Z".parse().unwrap();
        assert_eq!(of_an_engine.to_string(), "2026-11-23T10:00:00.123Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_clock_that_went_backwards_yields_zero() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(4_000));
        assert_eq!(late.since(early), Duration::from_secs(3));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn clocks_that_nobody_sets_go_on() {
        let (before, started_at) = (SystemClock.awake(), SystemClock.started_at());
        assert!(started_at < SystemClock.now());
        assert!(SystemClock.awake() > before);
        assert_eq!(before.since(SystemClock.awake()), Duration::ZERO);
    }

    #[test]
    fn prints_as_rfc3339() {
        assert_eq!(
            Timestamp::from_millis(1_795_428_000_123).to_string(),
            "2026-11-23T10:00:00.123Z"
        );
    }
}

//! Durations in records: milliseconds, to the microsecond.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

/// For `#[serde(with = "milliseconds")]`.
pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let milliseconds = f64::deserialize(deserializer)?;
    let seconds = (milliseconds * 1e3).round() / 1e6;
    Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
}

/// A duration as a number of milliseconds.
pub(super) fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// As a record holds it, so that what is printed now and from the record is the same.
pub(super) fn whole_micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

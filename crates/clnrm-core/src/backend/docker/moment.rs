//! The times that engines write: RFC 3339, with `Z` (Docker) or the offset of the engine's time zone (Podman). Pure.

use std::time::SystemTime;

use crate::clock::Timestamp;

/// Since 1970.
pub(super) type Nanoseconds = i128;

const PER_SECOND: Nanoseconds = 1_000_000_000;

pub(super) fn nanoseconds(text: &str) -> Option<Nanoseconds> {
    let (local, offset_minutes) = match text.strip_suffix('Z') {
        Some(utc) => (utc, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            let sign = match offset.chars().next()? {
                '+' => 1,
                '-' => -1,
                _ => return None,
            };
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let minutes = hours.parse::<i128>().ok()? * 60 + minutes.parse::<i128>().ok()?;
            (local, sign * minutes)
        }
    };
    let as_if_utc = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let since_epoch = as_if_utc.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let nanoseconds = Nanoseconds::try_from(since_epoch.as_nanos()).ok()?;
    Some(nanoseconds - offset_minutes * 60 * PER_SECOND)
}

pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let millis = nanoseconds(text)?.div_euclid(1_000_000);
    i64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Rounded down; 0 where an engine's API has no number for it.
pub(super) fn whole_seconds(moment: Nanoseconds) -> i32 {
    i32::try_from(moment.div_euclid(PER_SECOND)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_understood_in_any_time_zone() {
        let utc = timestamp("2026-11-23T10:00:00Z");
        assert_eq!(utc, Some(Timestamp::from_millis(1_795_428_000_000)));
        for same in [
            "2026-11-23T10:00:00.000000001Z",
            "2026-11-23T15:30:00+05:30",
            "2026-11-23T01:00:00-09:00",
        ] {
            assert_eq!(timestamp(same), utc, "{same}");
        }
        assert_eq!(timestamp("2026-11-23T10:00:00"), None);
    }

    proptest! {
        #[test]
        fn reading_a_moment_never_panics(text: String, near in "[0-9T:.+-]{15,24}[+-]?[0-9:Z]{0,6}") {
            timestamp(&text);
            timestamp(&near);
        }
    }
}

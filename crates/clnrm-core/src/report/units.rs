//! How numbers look in reports for people: CPU with one decimal, memory in whole MB, rates with one decimal.

use std::time::Duration;

use crate::clock::Timestamp;

pub(crate) fn memory(megabytes: f64) -> String {
    format!("{megabytes:.0}MB")
}

/// `12 ms`, `4.2 s`, `3 min 12 s`, `5 h 3 min`, `2 d 4 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0 ms".to_owned(),
        0 if milliseconds == 0 => format!("{:.2} ms", duration.as_secs_f64() * 1_000.0),
        0 => format!("{milliseconds} ms"),
        // 59.95 s would round to `60.0 s`.
        1..60 => format!("{:.1} s", (milliseconds / 100) as f64 / 10.0),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The largest unit alone: `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `2026-11-23 10:00:00 UTC`.
pub(crate) fn moment(at: Timestamp) -> String {
    let rfc3339 = at.to_string();
    let seconds = rfc3339.split('.').next().unwrap_or(&rfc3339);
    format!("{} UTC", seconds.replace('T', " "))
}

/// `1 test`, `3 tests`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_figures_or_so() {
        for (milliseconds, expected) in [
            (38.0, "38 ms"),
            (0.0, "0 ms"),
            (0.25, "0.25 ms"),
            (999.9, "999 ms"),
            (4_200.0, "4.2 s"),
            (59_990.0, "59.9 s"),
            (192_000.0, "3 min 12 s"),
            (18_180_000.0, "5 h 3 min"),
            (187_200_000.0, "2 d 4 h"),
        ] {
            let value = Duration::from_secs_f64(milliseconds / 1_000.0);
            assert_eq!(duration(value), expected, "{milliseconds}");
        }
    }

    #[test]
    fn ages_are_coarse() {
        for (seconds, expected) in [
            (5, "5 s"),
            (200, "3 min"),
            (90_000, "25 h"),
            (200_000, "2 d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn moments_are_whole_seconds_in_utc() {
        let at = Timestamp::from_millis(1_795_428_000_123);
        assert_eq!(moment(at), "2026-11-23 10:00:00 UTC");
    }

    #[test]
    fn nouns_agree_with_their_number() {
        assert_eq!(
            [count(0, "test"), count(1, "test"), count(2, "test")],
            ["0 tests", "1 test", "2 tests"]
        );
    }
}

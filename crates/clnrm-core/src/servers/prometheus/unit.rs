//! The unit of a duration, by what the page says or by the metric's name.

/// Seconds in one unit, by the words that name it.
const UNITS: [(&[&str], f64); 5] = [
    (&["seconds", "second", "secs", "sec", "s"], 1.0),
    (
        &[
            "milliseconds",
            "millisecond",
            "millis",
            "msecs",
            "msec",
            "ms",
        ],
        1e-3,
    ),
    (
        &[
            "microseconds",
            "microsecond",
            "micros",
            "usecs",
            "usec",
            "us",
        ],
        1e-6,
    ),
    (&["nanoseconds", "nanosecond", "nanos", "ns"], 1e-9),
    (&["minutes", "minute"], 60.0),
];

/// Seconds in one unit of a metric; `None` = neither the declared unit nor the name says.
pub(super) fn seconds_in_one(name: &str, declared: Option<&str>) -> Option<f64> {
    if let Some(declared) = declared {
        return seconds_in(declared);
    }
    // The unit stands last, but for words such as `_summary`.
    name.rsplit(|character: char| !character.is_alphanumeric())
        .find(|word| !TAILS.iter().any(|tail| word.eq_ignore_ascii_case(tail)))
        .and_then(seconds_in)
}

/// What may stand behind the unit.
const TAILS: [&str; 6] = ["total", "summary", "histogram", "hist", "bucket", "sum"];

fn seconds_in(word: &str) -> Option<f64> {
    (UNITS.iter())
        .find(|(words, _)| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
        .map(|(_, seconds)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_unit_decides_else_the_name() {
        for (name, declared, expected) in [
            ("http_request_duration_seconds", None, Some(1.0)),
            ("http_request_duration_milliseconds", None, Some(1e-3)),
            ("rpc_latency_ms_summary", None, Some(1e-3)),
            ("http.server.duration.us", None, Some(1e-6)),
            ("latency", Some("nanoseconds"), Some(1e-9)),
            ("latency_seconds", Some("milliseconds"), Some(1e-3)),
            ("latency", None, None),
            ("ms_orders_duration", None, None),
            ("http_requests", None, None),
            ("latency_seconds", Some("bytes"), None),
        ] {
            assert_eq!(seconds_in_one(name, declared), expected, "{name}");
        }
    }
}

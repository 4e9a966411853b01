//! What is wrong, or will be, as sentences.

use std::time::Duration;

use super::metric::words;
use crate::services::service_manager::{Alert, LimitKind, MemoryAlert};

/// From so many on, a larger unit says enough.
const SMALL_COUNT: f64 = 120.0;

/// There is too little memory, or soon may be.
pub(super) fn memory(alert: &MemoryAlert) -> String {
    match alert {
        MemoryAlert::TooLittle { limit_mb, kills } => {
            let what = match limit_mb {
                Some(limit_mb) => format!("{limit_mb:.0} MB is too little"),
                None => "the machine has too little memory".to_owned(),
            };
            let killed = match kills.kills {
                1 => "1 process was".to_owned(),
                many => format!("{many} processes were"),
            };
            let seconds = kills.within.as_secs_f64().ceil();
            format!("{what}: {killed} killed for lack of memory in {seconds:.0} s")
        }
        MemoryAlert::NearLimit { limit_mb, used_mb } => format!(
            "memory is {used_mb:.0} MB of its limit of {limit_mb:.0} MB ({:.0}%)",
            100.0 * used_mb / limit_mb
        ),
    }
}

/// A limit that is reached, or that forecasts reach: `memory reaches 512 MB in 23 min (90%: 18–31)`.
pub(super) fn limit(alert: &Alert) -> String {
    let words = words(alert.metric);
    let (limit, name) = (words.limit(alert.limit), words.noun);
    let (subject, [will, may], object, because) = match alert.kind {
        LimitKind::Metric => (name, ["reaches", "may reach"], limit, String::new()),
        LimitKind::Instances { max } => (
            "load",
            ["needs", "may need"],
            format!("more than the {max} instance(s) allowed"),
            format!(", when {name} is {limit}"),
        ),
    };
    let not_judged = match alert.is_earned {
        true => "",
        false => "; not yet judged: too few samples",
    };
    match (alert.reached_in, alert.earliest) {
        (Some(time), _) if time.is_zero() => {
            format!("{subject} is at its limit of {object} already")
        }
        (Some(time), earliest) => {
            let range = range(time, earliest.unwrap_or(time), alert.latest);
            format!("{subject} {will} {object} in {range}{because}{not_judged}")
        }
        (None, earliest) => {
            let (time, unit) = in_unit(earliest.unwrap_or(alert.reach));
            format!(
                "{subject} {may} {object} in {time:.0} {unit} (upper edge of 90%){because}{not_judged}"
            )
        }
    }
}

/// `23 min (90%: 18–31)`
fn range(reached: Duration, earliest: Duration, latest: Option<Duration>) -> String {
    let (time, unit) = in_unit(reached);
    let scale = time / reached.as_secs_f64();
    let rounded = |time: Duration| (time.as_secs_f64() * scale).round();
    let earliest = rounded(earliest);
    match latest {
        Some(latest) => format!("{time:.0} {unit} (90%: {earliest}–{})", rounded(latest)),
        None => format!("{time:.0} {unit} (90%: {earliest} or later)"),
    }
}

/// In seconds, minutes or hours, at least 1.
fn in_unit(time: Duration) -> (f64, &'static str) {
    let seconds = time.as_secs_f64().max(1.0);
    if seconds < SMALL_COUNT {
        (seconds, "s")
    } else if seconds < SMALL_COUNT * 60.0 {
        (seconds / 60.0, "min")
    } else {
        (seconds / 3_600.0, "h")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::service_manager::forecast::ModelName;
    use crate::services::service_manager::{MemoryKills, Metric};

    fn minutes(minutes: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(minutes * 60.0))
    }

    fn of_memory(times: [Option<Duration>; 3]) -> Alert {
        let [earliest, reached_in, latest] = times;
        Alert {
            kind: LimitKind::Metric,
            metric: Metric::MemoryMb,
            limit: 512.0,
            current: 400.0,
            reached_in,
            earliest,
            latest,
            reach: Duration::from_secs(3_600),
            model: Some(ModelName::Ses),
            is_earned: true,
        }
    }

    #[test]
    fn an_alert_is_one_sentence() {
        let whole = of_memory([minutes(18.2), minutes(22.9), minutes(31.0)]);
        let instances = Alert {
            kind: LimitKind::Instances { max: 10 },
            metric: Metric::RequestRate,
            limit: 1_000.0,
            ..whole
        };
        let errors = Alert {
            metric: Metric::ErrorRate,
            limit: 0.05,
            is_earned: false,
            ..whole
        };
        let expected = [
            (whole, "memory reaches 512 MB in 23 min (90%: 18–31)"),
            (
                of_memory([minutes(0.2), minutes(1.5), None]),
                "memory reaches 512 MB in 90 s (90%: 12 or later)",
            ),
            (
                of_memory([minutes(50.0), None, None]),
                "memory may reach 512 MB in 50 min (upper edge of 90%)",
            ),
            (
                of_memory([None, Some(Duration::ZERO), None]),
                "memory is at its limit of 512 MB already",
            ),
            (
                instances,
                "load needs more than the 10 instance(s) allowed in 23 min (90%: 18–31), when RPS is 1000",
            ),
            (
                errors,
                "error rate reaches 5% in 23 min (90%: 18–31); not yet judged: too few samples",
            ),
        ];
        for (alert, sentence_of_it) in expected {
            assert_eq!(limit(&alert), sentence_of_it);
        }
    }

    #[test]
    fn too_little_memory_is_one_sentence() {
        let killed = |limit_mb, kills| {
            let within = Duration::from_millis(29_700);
            let kills = MemoryKills { kills, within };
            memory(&MemoryAlert::TooLittle { limit_mb, kills })
        };
        assert_eq!(
            killed(Some(64.0), 14),
            "64 MB is too little: 14 processes were killed for lack of memory in 30 s"
        );
        assert_eq!(
            killed(None, 1),
            "the machine has too little memory: 1 process was killed for lack of memory in 30 s"
        );
        let near = MemoryAlert::NearLimit {
            limit_mb: 64.0,
            used_mb: 51.2,
        };
        assert_eq!(memory(&near), "memory is 51 MB of its limit of 64 MB (80%)");
    }
}

//! Forecasts and the limits that they reach, as the report shows them. Pure.

use std::time::Duration;

use super::forecast_report::{
    ComparedModel, ForecastBasis, ForecastReport, PathPoint, PredictedValue, Prediction, Quantiles,
    SampleCounts, SkillReport, TimeToLimit,
};
use crate::clock::Timestamp;
use crate::services::service_manager::forecast::Basis;
use crate::services::service_manager::{
    Alert, Forecast, LimitKind, LoadPrediction, Metric, NotEnoughData, Skill,
};

/// From so many on, a larger unit says enough.
const SMALL_COUNT: f64 = 120.0;

/// The name of a metric's field in JSON.
pub(super) fn field(metric: Metric) -> &'static str {
    match metric {
        Metric::CpuPercent => "cpu_percent",
        Metric::MemoryMb => "memory_mb",
        Metric::MemoryTotalMb => "memory_total_mb",
        Metric::NetworkMbPerS => "network_mb_per_s",
        Metric::ActiveConnections => "active_connections",
        Metric::RequestRate => "request_rate",
        Metric::ResponseTimeMs => "response_time_ms",
        Metric::ErrorRate => "error_rate",
    }
}

/// A prediction, or how many samples are missing.
pub(super) fn prediction(made: &Result<LoadPrediction, NotEnoughData>) -> Prediction {
    let made = match made {
        Ok(made) => made,
        Err(few) => {
            return Prediction::NotEnoughData {
                not_enough_data: SampleCounts {
                    have: few.have,
                    need: few.need,
                },
            };
        }
    };
    let first = made.forecasts.values().next();
    let newest = made.at - made.horizon;
    let value = |metric| {
        made.get(metric).map(|forecast| PredictedValue {
            left_out_values: made.left_out.get(&metric).copied().unwrap_or_default(),
            ..predicted(forecast, newest, made.history)
        })
    };
    Prediction::Forecast(Box::new(ForecastReport {
        model: first.map_or_else(String::new, |forecast| forecast.model.to_string()),
        history_seconds: made.history.as_secs(),
        cpu_percent: value(Metric::CpuPercent),
        memory_mb: value(Metric::MemoryMb),
        request_rate: value(Metric::RequestRate),
        response_time_ms: value(Metric::ResponseTimeMs),
        error_rate: value(Metric::ErrorRate),
    }))
}

fn predicted(forecast: &Forecast, newest: Timestamp, history: Duration) -> PredictedValue {
    let first = forecast.path.first();
    let interval = forecast.interval();
    let finite = |skill: &Skill| skill.relative_error.is_finite();
    PredictedValue {
        value: forecast.value,
        lower: interval.map(|interval| interval.lower),
        upper: interval.map(|interval| interval.upper),
        quantiles: forecast.quantiles.map(quantiles),
        // No mean reaches further back than the history.
        step_seconds: first
            .map(|first| first.at.since(newest).min(history).as_secs_f64())
            .filter(|seconds| *seconds > 0.0),
        path: forecast
            .path
            .iter()
            .map(|step| PathPoint {
                at: step.at,
                value: step.value,
                quantiles: step.quantiles.map(quantiles),
            })
            .collect(),
        model: forecast.model.to_string(),
        basis: forecast.basis.map(|basis| match basis {
            Basis::Tournament { .. } => ForecastBasis::Tournament,
            Basis::Constant => ForecastBasis::Constant,
            Basis::Prior => ForecastBasis::Prior,
            Basis::TooShort => ForecastBasis::TooShort,
        }),
        muted: forecast.muted,
        skill: forecast.skill.filter(finite).map(|skill| SkillReport {
            better_than_last_value_percent: (1.0 - skill.relative_error) * 100.0,
            origins: skill.origins,
        }),
        models: forecast
            .models
            .iter()
            .map(|score| ComparedModel {
                model: score.model.to_string(),
                relative_error: Some(score.relative_error).filter(|error| error.is_finite()),
            })
            .collect(),
        left_out_values: 0,
    }
}

fn quantiles([q05, q10, q50, q90, q95]: [f64; 5]) -> Quantiles {
    Quantiles {
        q05,
        q10,
        q50,
        q90,
        q95,
    }
}

/// An alert as a value.
pub(super) fn time_to_limit(alert: &Alert) -> TimeToLimit {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    TimeToLimit {
        metric: field(alert.metric),
        limit: alert.limit,
        max_instances: match alert.kind {
            LimitKind::Metric => None,
            LimitKind::Instances { max } => Some(max),
        },
        reached_in_seconds: seconds(alert.reached_in),
        earliest_seconds: seconds(alert.earliest),
        latest_seconds: seconds(alert.latest),
        reach_seconds: alert.reach.as_secs_f64(),
        model: alert.model.map(|model| model.to_string()),
        is_earned: alert.is_earned,
    }
}

/// An alert as a sentence: `memory reaches 512 MB in 23 min (90%: 18–31)`.
pub(super) fn sentence(alert: &Alert) -> String {
    let limit = amount(alert.metric, alert.limit);
    let name = name(alert.metric);
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

fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::CpuPercent => "CPU",
        Metric::MemoryMb | Metric::MemoryTotalMb => "memory",
        Metric::NetworkMbPerS => "network",
        Metric::ActiveConnections => "connections",
        Metric::RequestRate => "RPS",
        Metric::ResponseTimeMs => "response time",
        Metric::ErrorRate => "error rate",
    }
}

fn amount(metric: Metric, value: f64) -> String {
    match metric {
        Metric::CpuPercent => format!("{value:.0}%"),
        Metric::ErrorRate => format!("{:.0}%", value * 100.0),
        Metric::MemoryMb | Metric::MemoryTotalMb => format!("{value:.0} MB"),
        Metric::ResponseTimeMs => format!("{value:.0} ms"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::service_manager::forecast::ModelName;

    fn minutes(minutes: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(minutes * 60.0))
    }

    fn memory(times: [Option<Duration>; 3]) -> Alert {
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
        let whole = memory([minutes(18.2), minutes(22.9), minutes(31.0)]);
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
                memory([minutes(0.2), minutes(1.5), None]),
                "memory reaches 512 MB in 90 s (90%: 12 or later)",
            ),
            (
                memory([minutes(50.0), None, None]),
                "memory may reach 512 MB in 50 min (upper edge of 90%)",
            ),
            (
                memory([None, Some(Duration::ZERO), None]),
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
            assert_eq!(sentence(&alert), sentence_of_it);
        }
    }
}

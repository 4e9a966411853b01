//! Forecasts, as the report shows them. Pure.

use super::forecast_report::{
    ComparedModel, ForecastBasis, ForecastReport, PathPoint, PredictedValue, Prediction, Quantiles,
    SampleCounts, SkillReport,
};
use crate::clock::Timestamp;
use crate::services::service_manager::forecast::Basis;
use crate::services::service_manager::{Forecast, LoadPrediction, Metric, NotEnoughData, Skill};

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
    let value = |metric| made.get(metric).map(|forecast| predicted(forecast, newest));
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

fn predicted(forecast: &Forecast, newest: Timestamp) -> PredictedValue {
    let first = forecast.path.first();
    let interval = forecast.interval();
    let finite = |skill: &Skill| skill.relative_error.is_finite();
    PredictedValue {
        value: forecast.value,
        lower: interval.map(|interval| interval.lower),
        upper: interval.map(|interval| interval.upper),
        quantiles: forecast.quantiles.map(quantiles),
        step_seconds: first.map(|first| first.at.since(newest).as_secs_f64()),
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

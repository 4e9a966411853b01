//! Load prediction: what a metric will probably be one horizon after its newest sample, and what shows it.
//!
//! Deliberately absent: any confidence that was not counted on this service's own history. Too few samples are
//! [`NotEnoughData`], too few past forecasts leave out the interval and the skill.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::history::{MetricsHistory, Tier};
use super::metrics::{Metric, ServiceMetrics};
use crate::clock::Timestamp;

mod choice;
mod ema;
mod experts;
mod last_value;
pub mod learned;
mod linear;
mod model;
mod regression;
mod season;
mod series;
mod skill;
mod smoothing;
mod tournament;
mod track;
mod window;

pub use choice::{Basis, Chosen, ModelScore, choose, choose_with};
pub use ema::Ema;
pub use last_value::LastValue;
pub use learned::Learned;
pub use model::{Forecaster, ModelName};
pub use regression::Regression;
pub use season::SeasonalRepeat;
pub use series::Series;
pub use smoothing::{DampedHolt, Ses};
pub use window::{
    FARTHEST_STEP, LEVELS, NotAWindow, Range, StepForecast, StepOutOfReach, Steps, WINDOW_VALUES,
    Window,
};

/// Fewest samples that anything is predicted from (fixed by the specification).
pub const SAMPLES_NEEDED: u32 = 3;

/// Every model, the simplest first.
pub fn models() -> Vec<&'static dyn Forecaster> {
    vec![
        &LastValue,
        &Ema,
        &Ses,
        &DampedHolt,
        &SeasonalRepeat,
        &Regression,
        &Learned,
    ]
}

/// A way to predict one metric from its own series. Stateless: the same series gives the same forecast.
pub trait SeriesForecaster: fmt::Debug {
    /// The forecast one `horizon` after the newest sample of the history that `series` comes from.
    fn forecast(&self, series: &Series, horizon: Duration) -> Result<Forecast, NotEnoughData>;
}

/// There are too few samples to predict from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize)]
#[error("{have} of the {need} samples that a forecast takes")]
pub struct NotEnoughData {
    /// Samples of this metric that there are.
    pub have: u32,
    /// Samples that it takes.
    pub need: u32,
}

/// What a metric will probably be. Values are in the metric's unit and within its range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// The expected value.
    pub value: f64,
    /// Where nine in ten values should lie; `None` = fewer than 20 past forecasts could be checked.
    pub interval: Option<Interval>,
    /// Who says so.
    pub model: ModelName,
    /// How well the model has done on this very history; `None` = fewer than 10 past forecasts could be checked.
    pub skill: Option<Skill>,
}

impl Forecast {
    /// Whether the model has been better than repeating the last value here, so that one may act on it.
    pub fn is_earned(&self) -> bool {
        self.skill.is_some_and(|skill| skill.relative_error < 1.0)
    }
}

/// The 90 % interval: from the 5 % to the 95 % quantile of the model's own past errors, around the value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// At most the value.
    pub lower: f64,
    /// At least the value.
    pub upper: f64,
}

/// The model's past errors on this history at this horizon, against those of the last value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Skill {
    /// How many past forecasts were checked.
    pub origins: u32,
    /// Mean absolute error of the model ÷ that of the last value: below 1 is better. 1 where neither ever
    /// erred; infinite (`null` in JSON) where only the model did.
    pub relative_error: f64,
}

/// The forecasts of one service at one horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadPrediction {
    /// How far ahead of the newest sample.
    #[serde(rename = "horizon_seconds", serialize_with = "as_seconds")]
    pub horizon: Duration,
    /// The resolution that was forecast from.
    pub tier: Tier,
    /// How far the history goes back that was forecast from.
    #[serde(rename = "history_seconds", serialize_with = "as_seconds")]
    pub history: Duration,
    /// The moment that is predicted: the newest sample's time plus the horizon.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub at: Timestamp,
    /// The instances of the newest sample.
    pub instances: u32,
    /// One forecast for each metric with enough samples.
    pub forecasts: BTreeMap<Metric, Forecast>,
    /// The metrics that were measured, but too rarely.
    pub not_enough_data: BTreeMap<Metric, NotEnoughData>,
}

impl LoadPrediction {
    /// The metrics that are predicted: those that are shown, scaled on, or part of health.
    pub const METRICS: [Metric; 5] = [
        Metric::CpuPercent,
        Metric::MemoryMb,
        Metric::RequestRate,
        Metric::ResponseTimeMs,
        Metric::ErrorRate,
    ];

    /// Predicts every metric that `history` has. [`NotEnoughData`] when not one of them has enough samples.
    pub fn of(
        history: &MetricsHistory,
        horizon: Duration,
        forecaster: &dyn SeriesForecaster,
    ) -> Result<Self, NotEnoughData> {
        let missing = |have| NotEnoughData {
            have,
            need: SAMPLES_NEEDED,
        };
        let newest = history.latest().ok_or(missing(0))?;
        let tier = history.tier_for_horizon(horizon);
        let mut prediction = Self {
            horizon,
            tier,
            history: Duration::ZERO,
            at: newest.sampled_at + horizon,
            instances: newest.instances,
            forecasts: BTreeMap::new(),
            not_enough_data: BTreeMap::new(),
        };
        for metric in Self::METRICS {
            let points = history.series(metric, tier);
            let Some((oldest, _)) = points.first() else {
                continue;
            };
            prediction.history = prediction.history.max(newest.sampled_at.since(*oldest));
            let series = Series::new(metric, points).counted_from(newest.sampled_at);
            match forecaster.forecast(&series, horizon) {
                Ok(forecast) => {
                    prediction.forecasts.insert(metric, forecast);
                }
                Err(reason) => {
                    prediction.not_enough_data.insert(metric, reason);
                }
            }
        }
        if prediction.forecasts.is_empty() {
            let most = prediction.not_enough_data.values().map(|few| few.have);
            return Err(missing(most.max().unwrap_or(0)));
        }
        Ok(prediction)
    }

    /// The forecast of one metric.
    pub fn get(&self, metric: Metric) -> Option<&Forecast> {
        self.forecasts.get(&metric)
    }

    /// The forecast of one metric, if its model has earned it on this history.
    pub fn earned(&self, metric: Metric) -> Option<f64> {
        self.get(metric)
            .filter(|forecast| forecast.is_earned())
            .map(|forecast| forecast.value)
    }

    /// The expected values as one sample, e.g. for the predicted health.
    pub fn expected(&self) -> ServiceMetrics {
        let mut sample = ServiceMetrics::at(self.at, self.instances);
        for (metric, forecast) in &self.forecasts {
            // Refused only if it is not finite; then it stays absent, as anything that is not a number must.
            let _ = sample.set(*metric, Some(forecast.value));
        }
        sample
    }
}

pub(crate) fn as_seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(samples: i64) -> MetricsHistory {
        let mut history = MetricsHistory::new();
        for second in 0..samples {
            let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1000), 2);
            sample.cpu_percent = Some(20.0);
            sample.memory_mb = (second % 2 == 0).then_some(64.0);
            history.push(sample);
        }
        history
    }

    #[test]
    fn too_few_samples_say_how_many_there_are() {
        let horizon = Duration::from_secs(300);
        for have in 0..3 {
            assert_eq!(
                LoadPrediction::of(&history(have), horizon, &Ema),
                Err(NotEnoughData {
                    have: have as u32,
                    need: 3
                })
            );
        }
    }

    #[test]
    fn each_metric_stands_for_itself() {
        let prediction = LoadPrediction::of(&history(4), Duration::from_secs(60), &Ema).unwrap();
        assert_eq!(prediction.get(Metric::CpuPercent).unwrap().value, 20.0);
        assert_eq!(prediction.get(Metric::MemoryMb), None);
        assert_eq!(
            prediction.not_enough_data.get(&Metric::MemoryMb),
            Some(&NotEnoughData { have: 2, need: 3 })
        );
        assert!(
            !prediction
                .not_enough_data
                .contains_key(&Metric::RequestRate)
        );
        let expected = prediction.expected();
        assert_eq!(expected.sampled_at.as_millis(), 63_000);
        assert_eq!(
            (expected.instances, expected.cpu_percent, expected.memory_mb),
            (2, Some(20.0), None)
        );
    }
}

//! Forecasts and the limits that they reach, as JSON shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::services::service_manager::forecast::{Basis, ModelName, ModelScore, named_quantiles};
use crate::services::service_manager::{
    Alert, Forecast, LimitKind, LoadPrediction, Metric, NotEnoughData, PathStep, Skill,
};

/// A forecast, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prediction {
    NotEnoughData {
        /// How much there is and how much it takes.
        not_enough_data: NotEnoughData,
    },
    /// Metrics that were not measured are `null`.
    Forecast(Box<ForecastReport>),
}

/// Predicted values at the horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastReport {
    /// The model of CPU, or of the first metric that is predicted.
    pub model: String,
    /// How far the history goes back that was forecast from.
    pub history_seconds: u64,
    /// That is too little for the horizon.
    #[serde(skip)]
    pub is_short: bool,
    /// In the metric's unit.
    #[serde(flatten, serialize_with = "predicted_metrics")]
    pub metrics: BTreeMap<Metric, PredictedValue>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictedValue {
    pub value: f64,
    /// Lower end of the 90 % interval; `None` until enough errors of the model were seen.
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    /// The quantiles, with the same condition.
    #[serde(with = "named_quantiles")]
    pub quantiles: Option<[f64; 5]>,
    /// Every value, the last one too, is a mean over so long a time.
    pub step_seconds: Option<f64>,
    /// The way to the horizon; its last step is the value.
    pub path: Vec<PathStep>,
    /// Whose value this is; the last value's while `muted`.
    pub model: ModelName,
    /// What the choice of the model rests on; `None` = nothing was chosen, the model was named.
    pub basis: Option<Basis>,
    /// No model is better than the last value here: nothing acts on this forecast.
    pub muted: bool,
    /// How well the model did on this very history (while `muted`: the best of the others); `None` until there are
    /// enough origins to judge.
    pub skill: Option<SkillReport>,
    /// All models that were compared, best first.
    pub models: Vec<ModelScore>,
    /// Values out of all proportion to the others, which were not forecast from.
    pub left_out_values: u32,
}

/// The model's error beside that of repeating the last value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SkillReport {
    /// Positive: better than last value by so many percent; negative: worse.
    pub better_than_last_value_percent: f64,
    /// Moments of the history at which both were tried.
    pub origins: u32,
}

/// A limit that is reached or will be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimeToLimit {
    pub metric: &'static str,
    /// The limit, in the metric's unit.
    pub limit: f64,
    /// Set where the limit is the load that the most instances allowed can take.
    pub max_instances: Option<u32>,
    /// When the median path crosses it, 0 = now; `None` = not within `reach_seconds`.
    pub reached_in_seconds: Option<f64>,
    /// When the upper edge of the 90 % interval does.
    pub earliest_seconds: Option<f64>,
    /// When the lower edge does.
    pub latest_seconds: Option<f64>,
    /// How far ahead was looked.
    pub reach_seconds: f64,
    /// Whose forecast it is; `None` = it is reached already.
    pub model: Option<ModelName>,
    /// Whether the model has proven to be better than the last value here; if not, there is too little to judge.
    pub is_earned: bool,
}

impl Prediction {
    pub(super) fn of(made: &Result<LoadPrediction, NotEnoughData>) -> Self {
        let made = match made {
            Ok(made) => made,
            Err(few) => {
                return Self::NotEnoughData {
                    not_enough_data: *few,
                };
            }
        };
        let first = made.forecasts.values().next();
        let value = |(metric, forecast): (&Metric, &Forecast)| {
            let left_out = made.left_out.get(metric).copied().unwrap_or_default();
            (*metric, PredictedValue::of(forecast, made, left_out))
        };
        Self::Forecast(Box::new(ForecastReport {
            model: first.map_or_else(String::new, |forecast| forecast.model.to_string()),
            history_seconds: made.history.as_secs(),
            is_short: made.has_short_history(),
            metrics: made.forecasts.iter().map(value).collect(),
        }))
    }
}

impl PredictedValue {
    fn of(forecast: &Forecast, made: &LoadPrediction, left_out_values: u32) -> Self {
        let newest: Timestamp = made.at - made.horizon;
        let first = forecast.path.first();
        let interval = forecast.interval();
        let finite = |skill: &Skill| skill.relative_error.is_finite();
        Self {
            value: forecast.value,
            lower: interval.map(|interval| interval.lower),
            upper: interval.map(|interval| interval.upper),
            quantiles: forecast.quantiles,
            // No mean reaches further back than the history.
            step_seconds: first
                .map(|first| first.at.since(newest).min(made.history).as_secs_f64())
                .filter(|seconds| *seconds > 0.0),
            path: forecast.path.clone(),
            model: forecast.model,
            basis: forecast.basis,
            muted: forecast.muted,
            skill: forecast.skill.filter(finite).map(|skill| SkillReport {
                better_than_last_value_percent: (1.0 - skill.relative_error) * 100.0,
                origins: skill.origins,
            }),
            models: forecast.models.clone(),
            left_out_values,
        }
    }
}

impl TimeToLimit {
    pub(super) fn of(alert: &Alert) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            metric: alert.metric.name(),
            limit: alert.limit,
            max_instances: match alert.kind {
                LimitKind::Metric => None,
                LimitKind::Instances { max } => Some(max),
            },
            reached_in_seconds: seconds(alert.reached_in),
            earliest_seconds: seconds(alert.earliest),
            latest_seconds: seconds(alert.latest),
            reach_seconds: alert.reach.as_secs_f64(),
            model: alert.model,
            is_earned: alert.is_earned,
        }
    }
}

/// One field for each metric that can be predicted.
fn predicted_metrics<S: Serializer>(
    metrics: &BTreeMap<Metric, PredictedValue>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(LoadPrediction::METRICS.len()))?;
    for metric in LoadPrediction::METRICS {
        map.serialize_entry(metric.name(), &metrics.get(&metric))?;
    }
    map.end()
}

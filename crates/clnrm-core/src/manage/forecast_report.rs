//! The forecast part of the `ai-manage` report.

use serde::Serialize;

use crate::clock::{Timestamp, rfc3339};

/// A forecast, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prediction {
    /// Too little history.
    NotEnoughData {
        /// How much there is and how much it takes.
        not_enough_data: SampleCounts,
    },
    /// The forecast; metrics that were not measured are `null`.
    Forecast(Box<ForecastReport>),
}

/// Samples at hand and samples needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SampleCounts {
    /// At hand.
    pub have: u32,
    /// Needed.
    pub need: u32,
}

/// Predicted values at the horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastReport {
    /// The model of CPU, or of the first metric that is predicted.
    pub model: String,
    /// How far the history goes back that was forecast from.
    pub history_seconds: u64,
    /// Percent of the allotted CPU.
    pub cpu_percent: Option<PredictedValue>,
    /// MB per instance.
    pub memory_mb: Option<PredictedValue>,
    /// Requests per second, all instances.
    pub request_rate: Option<PredictedValue>,
    /// Milliseconds.
    pub response_time_ms: Option<PredictedValue>,
    /// Share of requests, 0..=1.
    pub error_rate: Option<PredictedValue>,
}

/// One predicted value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictedValue {
    /// The point forecast.
    pub value: f64,
    /// Lower end of the 90 % interval; `None` until enough errors of the model were seen.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
    /// The quantiles, with the same condition.
    pub quantiles: Option<Quantiles>,
    /// Every value, the last one too, is a mean over so long a time.
    pub step_seconds: Option<f64>,
    /// The way to the horizon; its last step is the value.
    pub path: Vec<PathPoint>,
    /// Whose value this is, e.g. `ses`; `last value` while `muted`.
    pub model: String,
    /// What the choice of the model rests on; `None` = nothing was chosen, the model was named.
    pub basis: Option<ForecastBasis>,
    /// No model is better than the last value here: nothing acts on this forecast.
    pub muted: bool,
    /// How well the model did on this very history (while `muted`: the best of the others); `None` until there are
    /// enough origins to judge.
    pub skill: Option<SkillReport>,
    /// All models that were compared, best first.
    pub models: Vec<ComparedModel>,
    /// Values out of all proportion to the others, which were not forecast from.
    pub left_out_values: u32,
}

/// Values that the metric stays below so many times in a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// 5.
    pub q05: f64,
    /// 10.
    pub q10: f64,
    /// 50.
    pub q50: f64,
    /// 90.
    pub q90: f64,
    /// 95.
    pub q95: f64,
}

/// One step of the way to the horizon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PathPoint {
    /// The end of the step.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// The point forecast.
    pub value: f64,
    /// `None` until enough errors of the model were seen.
    pub quantiles: Option<Quantiles>,
}

/// What the choice of a model rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastBasis {
    /// Forecasts from past moments of this history were checked.
    Tournament,
    /// Too little history to judge: the models' results elsewhere decide.
    Prior,
    /// Too little history for anything but the last value.
    TooShort,
    /// All values so far are equal.
    Constant,
}

/// One model in the tournament.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedModel {
    /// Its name.
    pub model: String,
    /// Its error ÷ that of repeating the last value; `None` = the last value never erred.
    pub relative_error: Option<f64>,
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
    /// The metric's field.
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
    pub model: Option<String>,
    /// Whether the model has proven to be better than the last value here; if not, there is too little to judge.
    pub is_earned: bool,
}

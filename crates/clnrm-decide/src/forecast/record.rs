//! A forecast as it is kept: the value, what it rests on, and how good such forecasts have been.

use serde::{Deserialize, Deserializer, Serialize};

use super::model::ModelName;
use crate::Timestamp;

/// Over some twenty origins that overlap, a gain of a few percent can be chance: pure random walks show it. What acts
/// must have done clearly better.
const EARNED_BELOW: f64 = 0.95;

/// What a metric will probably be. Values are in the metric's unit and within its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The expected value at the horizon.
    pub value: f64,
    /// The values that it stays below 5, 10, 50, 90 and 95 times in a hundred ([`super::LEVELS`]); `None` = too few
    /// past forecasts could be checked.
    #[serde(with = "named_quantiles")]
    pub quantiles: Option<[f64; 5]>,
    /// The way to the horizon, evenly spaced; the last step reaches it. Empty where a model knows the horizon alone.
    pub path: Vec<PathStep>,
    /// Whose value this is: the last value's, while `muted`.
    pub model: ModelName,
    /// What the choice of the model rests on; `None` = nothing was chosen, the model was named.
    pub basis: Option<Basis>,
    /// How the model has done on this very history; while `muted`, how the best of the others has. `None` = too few
    /// past forecasts could be checked.
    pub skill: Option<Skill>,
    /// No model is better than the last value here: nothing may act on this forecast.
    pub muted: bool,
    /// All models that were compared, best first.
    pub models: Vec<ModelScore>,
}

impl Forecast {
    /// Whether the model has been better than repeating the last value here, so that one may act on it.
    pub fn is_earned(&self) -> bool {
        !self.muted && self.skill.is_some_and(Skill::is_earned)
    }

    /// Where nine in ten values should lie.
    pub fn interval(&self) -> Option<Interval> {
        let [lower, _, _, _, upper] = self.quantiles?;
        Some(Interval { lower, upper })
    }

    /// What scaling counts with: the 90 % quantile, because too little capacity costs more than too much.
    pub fn upper(&self) -> f64 {
        let quantile = self.quantiles.map(|[_, _, _, upper, _]| upper);
        quantile.map_or(self.value, |upper| upper.max(self.value))
    }
}

/// One step of the way to the horizon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathStep {
    /// The end of the step. Its values are means over the time since the step before.
    #[serde(with = "crate::rfc3339")]
    pub at: Timestamp,
    pub value: f64,
    /// As in [`Forecast::quantiles`].
    #[serde(with = "named_quantiles")]
    pub quantiles: Option<[f64; 5]>,
}

/// The 90 % interval: from the 5 % to the 95 % quantile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Five in a hundred values lie below.
    pub lower: f64,
    /// Five in a hundred values lie above.
    pub upper: f64,
}

/// The model's past errors on this history at this horizon, against those of the last value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Skill {
    /// How many past forecasts were checked.
    pub origins: u32,
    /// Mean absolute error of the model ÷ that of the last value: below 1 is better. 1 where neither ever
    /// erred; infinite (`null` in JSON) where only the model did.
    #[serde(deserialize_with = "infinite_where_null")]
    pub relative_error: f64,
}

impl Skill {
    /// Whether one may act on it.
    pub fn is_earned(self) -> bool {
        self.relative_error < EARNED_BELOW
    }
}

/// A forecast that a decision counts with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UsedForecast {
    /// The 90 % quantile, in the metric's unit; of a rate that of all instances together.
    pub upper: f64,
    pub model: ModelName,
    /// How that model has done on this very history.
    pub skill: Skill,
}

/// JSON has no infinity.
fn infinite_where_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// Quantiles with their levels as names, the form that reports and records use.
pub mod named_quantiles {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Quantiles {
        q05: f64,
        q10: f64,
        q50: f64,
        q90: f64,
        q95: f64,
    }

    /// For `#[serde(with = "…")]` on a field.
    pub fn serialize<S: Serializer>(
        quantiles: &Option<[f64; 5]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        quantiles
            .map(|[q05, q10, q50, q90, q95]| Quantiles {
                q05,
                q10,
                q50,
                q90,
                q95,
            })
            .serialize(serializer)
    }

    /// The inverse of [`serialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[f64; 5]>, D::Error> {
        let named = Option::<Quantiles>::deserialize(deserializer)?;
        Ok(named.map(|named| [named.q05, named.q10, named.q50, named.q90, named.q95]))
    }
}

/// What the choice of a model rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Forecasts from past origins of this window were checked.
    Tournament,
    /// All values are the same; so are the forecasts.
    Constant,
    /// The window is too short to judge; the models' results in training decide.
    Prior,
    /// The window is too short for anything but the last value.
    TooShort,
}

/// How one model did in the tournament.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModelScore {
    pub model: ModelName,
    /// Its mean absolute error ÷ that of the last value, geometric mean over the steps; below 1 is better, infinite
    /// (`null` in JSON) where only the model erred.
    #[serde(deserialize_with = "infinite_where_null")]
    pub relative_error: f64,
}

//! Load prediction: what a metric will probably be one horizon after its newest sample, and what shows it.
//!
//! Deliberately absent: any confidence that was not counted on this service's own history. Too few samples are
//! [`NotEnoughData`], too few past forecasts leave out the interval and the skill.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

mod auto;
mod choice;
mod ema;
mod even;
mod experts;
mod last_value;
pub mod learned;
mod linear;
mod load;
mod model;
mod regression;
mod season;
mod series;
mod skill;
mod smoothing;
mod tournament;
mod track;
mod wild;
mod window;

pub use auto::{Auto, AutoOnce};
pub use choice::{Basis, Chosen, ModelScore, choose, choose_with};
pub use ema::Ema;
pub use last_value::LastValue;
pub use learned::Learned;
pub use load::{Forecast, Interval, LoadPrediction, PathStep, Skill};
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

pub(crate) fn as_seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

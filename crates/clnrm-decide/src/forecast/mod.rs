//! Load prediction: what a metric will probably be one horizon after its newest sample, and what shows it.
//!
//! Deliberately absent: any confidence that was not counted on this service's own history. Too few samples are
//! [`NotEnoughData`], too few past forecasts leave out the interval and the skill.

mod auto;
mod choice;
mod ema;
mod even;
mod experts;
mod knots;
mod last_value;
pub mod learned;
mod linear;
mod load;
mod model;
mod not_enough_data;
mod record;
mod regression;
mod season;
mod series;
mod smoothing;
mod tournament;
mod track;
mod wild;
mod window;

pub use auto::Auto;
pub use choice::{Chosen, choose, choose_with};
pub use ema::Ema;
pub use last_value::LastValue;
pub use learned::Learned;
pub use load::LoadPrediction;
pub use model::{Forecaster, ModelName};
pub use not_enough_data::{NotEnoughData, SAMPLES_NEEDED};
pub use record::{
    Basis, Forecast, Interval, ModelScore, PathStep, Skill, UsedForecast, named_quantiles,
};
pub use regression::Regression;
pub use season::SeasonalRepeat;
pub use series::Series;
pub use smoothing::{DampedHolt, Ses};
pub use window::{
    FARTHEST_STEP, LEVELS, NotAWindow, Range, StepForecast, StepOutOfReach, Steps, WINDOW_VALUES,
    Window,
};

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

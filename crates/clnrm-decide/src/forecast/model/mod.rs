//! What every model is to its callers, and what makes a model of a [`Track`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::track::{Scaled, Track};
use super::{NotEnoughData, SAMPLES_NEEDED, StepForecast, Steps, Window};

/// A way to continue a window. Stateless: the same window gives the same forecast.
pub trait Forecaster: fmt::Debug + Sync {
    fn name(&self) -> ModelName;

    /// A forecast for each of `steps`, in their order.
    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData>;
}

/// Names a model in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelName {
    /// See [`super::LastValue`].
    #[serde(rename = "last value")]
    LastValue,
    /// See [`super::Ema`].
    Ema,
    /// See [`super::Ses`].
    Ses,
    /// See [`super::DampedHolt`].
    #[serde(rename = "damped holt")]
    DampedHolt,
    /// Direct robust regression for each step.
    Regression,
    /// See [`super::SeasonalRepeat`].
    #[serde(rename = "seasonal repeat")]
    SeasonalRepeat,
    /// A small trained network over the others.
    Learned,
}

impl ModelName {
    /// Its name in reports and on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastValue => "last value",
            Self::Ema => "ema",
            Self::Ses => "ses",
            Self::DampedHolt => "damped holt",
            Self::Regression => "regression",
            Self::SeasonalRepeat => "seasonal repeat",
            Self::Learned => "learned",
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A model that has seen a window and can say what it would have forecast from its past origins.
pub(super) trait Tracker {
    /// Its forecasts for one step ahead.
    fn track(&self, scaled: &Scaled, step: u32) -> Track;
}

/// Forecasts `steps` with what `prepare` makes of the window.
pub(super) fn forecast_with<T: Tracker>(
    window: &Window,
    steps: &Steps,
    prepare: impl FnOnce(&Scaled) -> T,
) -> Result<Vec<StepForecast>, NotEnoughData> {
    let scaled = enough(window)?;
    let tracker = prepare(&scaled);
    let forecast = |step| tracker.track(&scaled, step).step_forecast(&scaled, step);
    Ok(steps.iter().map(forecast).collect())
}

/// The window, scaled, if it has enough values.
pub(super) fn enough(window: &Window) -> Result<Scaled, NotEnoughData> {
    let have = u32::try_from(window.values().len()).unwrap_or(u32::MAX);
    let too_few = NotEnoughData {
        have,
        need: SAMPLES_NEEDED,
    };
    if have < SAMPLES_NEEDED {
        return Err(too_few);
    }
    Scaled::of(window).ok_or(too_few)
}

#[cfg(test)]
mod tests;

//! The cheap models of one window, each fitted once: the network mixes them, the tournament judges them.

use super::knots::KNOTS;
use super::model::{ModelName, Tracker};
use super::regression::Fitted;
use super::season::{Season, period};
use super::smoothing::{Levels, Trends};
use super::track::{Scaled, Track};

/// Every cheap model, fitted to one window.
#[derive(Debug)]
pub(super) struct Experts {
    pub(super) scaled: Scaled,
    pub(super) levels: Levels,
    pub(super) has_period: bool,
    /// One for each of the [`KNOTS`].
    pub(super) knots: Vec<Knot>,
}

/// Their forecasts for one step ahead.
#[derive(Debug)]
pub(super) struct Knot {
    pub(super) step: usize,
    pub(super) smoothed: Track,
    pub(super) damped: Track,
    pub(super) repeated: Track,
    /// `None` = too few values to regress on.
    pub(super) regressed: Option<Track>,
    /// See [`super::regression::Fit::first_errors`].
    pub(super) first_errors: Vec<f32>,
}

impl Experts {
    pub(super) fn of(scaled: Scaled) -> Self {
        let values = &scaled.values;
        let levels = Levels::of(values);
        let trends = Trends::of(values);
        let season = Season(period(values));
        let mut fits = Fitted::of(values, &levels, season.0)
            .map_or_else(Vec::new, |fitted| fitted.fits)
            .into_iter();
        let knot = |step: &u32| {
            let fit = fits.next();
            let (regressed, first_errors) = match fit {
                Some(fit) => (Some(fit.track), fit.first_errors),
                None => (None, Vec::new()),
            };
            Knot {
                step: *step as usize,
                smoothed: levels.track(&scaled, *step),
                damped: trends.track(&scaled, *step),
                repeated: season.track(&scaled, *step),
                regressed,
                first_errors,
            }
        };
        Self {
            knots: KNOTS.iter().map(knot).collect(),
            has_period: season.0.is_some(),
            levels,
            scaled,
        }
    }

    /// The models that this window allows, besides the last value.
    pub(super) fn models(&self) -> Vec<ModelName> {
        let mut models = vec![ModelName::Ses, ModelName::DampedHolt];
        if self.knots.iter().all(|knot| knot.regressed.is_some()) {
            models.push(ModelName::Regression);
        }
        if self.has_period {
            models.push(ModelName::SeasonalRepeat);
        }
        models
    }
}

impl Knot {
    /// The regression's forecasts, or the level's where there is none.
    pub(super) fn regressed(&self) -> &Track {
        self.regressed.as_ref().unwrap_or(&self.smoothed)
    }

    /// A model's forecasts; `None` for the last value.
    pub(super) fn track(&self, model: ModelName) -> Option<&Track> {
        match model {
            ModelName::Ses => Some(&self.smoothed),
            ModelName::DampedHolt => Some(&self.damped),
            ModelName::SeasonalRepeat => Some(&self.repeated),
            ModelName::Regression => Some(self.regressed()),
            ModelName::LastValue | ModelName::Ema | ModelName::Learned => None,
        }
    }
}

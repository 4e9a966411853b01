//! Which model may speak: a tournament of all models on this very window.
//!
//! Deliberately absent: memory of past choices. Against flip-flopping, the model that training found best stays unless
//! another is clearly better here.

use serde::Serialize;

use super::last_value::Repeat;
use super::model::{ModelName, Tracker, enough};
use super::season::{Season, period};
use super::smoothing::{Levels, Trends};
use super::track::Scaled;
use super::{NotEnoughData, Skill, StepForecast, Steps, Window};

/// The steps that models are fitted and judged at; what lies between is interpolated, quantile by quantile.
pub(super) const KNOTS: [u32; 4] = [1, 3, 6, 12];
/// Most past origins that a model is judged from: the bound of a tournament's cost.
pub const MOST_ORIGINS: usize = 60;
/// Fewest past origins that a judgement takes.
const FEWEST_ORIGINS: usize = 10;
/// Share of a window that is kept for judging.
const JUDGED_SHARE: usize = 4;
/// Fewest values from which anything but the last value is forecast without a judgement.
const FEWEST_VALUES: usize = 10;
/// What another model must leave of the preferred model's error to replace it.
const CLEARLY_BETTER: f64 = 0.95;

/// What the choice of a model rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Forecasts from past origins of this window were checked.
    Tournament {
        /// How many origins, at each step.
        origins: u32,
    },
    /// The window is too short to judge; the models' results in training decide.
    Prior,
    /// The window is too short for anything but the last value.
    TooShort,
}

/// How one model did in the tournament.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ModelScore {
    /// The model.
    pub model: ModelName,
    /// Its mean absolute error ÷ that of the last value, geometric mean over the steps; below 1 is better.
    pub relative_error: f64,
}

/// The forecast of the model that was chosen, and why it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chosen {
    /// One forecast for each step that was asked for. Those of the last value while `muted`.
    pub steps: Vec<StepForecast>,
    /// The best model, also while `muted`.
    pub model: ModelName,
    /// What the choice rests on.
    pub basis: Basis,
    /// All models, best first; empty where nothing could be judged.
    pub table: Vec<ModelScore>,
    /// How the model has done on this window at these steps; `None` = too little history to judge.
    pub skill: Option<Skill>,
    /// No model is better than the last value here: nothing may act on this forecast.
    pub muted: bool,
}

impl Chosen {
    /// Whether the model has been better than repeating the last value here, so that one may act on it.
    pub fn is_earned(&self) -> bool {
        !self.muted && self.skill.is_some_and(|skill| skill.relative_error < 1.0)
    }
}

/// Lets the models compete on `window` and forecasts `steps` with the best.
///
/// Each is judged by its forecasts from at most [`MOST_ORIGINS`] origins at the end of the window, at the knots (steps
/// 1, 3, 6 and 12) up to the farthest step.
pub fn choose(window: &Window, steps: &Steps) -> Result<Chosen, NotEnoughData> {
    let scaled = enough(window)?;
    let knots = knots_for(steps);
    let candidates = candidates(&scaled);
    let origins = origins_of(scaled.values.len(), &knots);
    let last_value = on_path(&Repeat, &scaled, &knots, steps);
    let unjudged = |model, basis, steps| Chosen {
        steps,
        model,
        basis,
        table: Vec::new(),
        skill: None,
        muted: false,
    };
    if scaled.values.len() < FEWEST_VALUES || scaled.unit == 0.0 {
        return Ok(unjudged(ModelName::LastValue, Basis::TooShort, last_value));
    }
    let preferred = ModelName::Ses;
    let forecast_of = |model| {
        let found = candidates.iter().find(|candidate| candidate.0 == model);
        found.map(|(_, tracker)| on_path(tracker.as_ref(), &scaled, &knots, steps))
    };
    if origins < FEWEST_ORIGINS {
        let steps = forecast_of(preferred).unwrap_or(last_value);
        return Ok(unjudged(preferred, Basis::Prior, steps));
    }
    let score = |(model, tracker): &(ModelName, Box<dyn Tracker>)| ModelScore {
        model: *model,
        relative_error: relative_error(tracker.as_ref(), &scaled, &knots, origins),
    };
    let mut table: Vec<ModelScore> = candidates.iter().map(score).collect();
    table.sort_by(|a, b| a.relative_error.total_cmp(&b.relative_error));
    let best = best_of(&table, preferred);
    let muted = best.relative_error >= 1.0;
    let spoken = forecast_of(best.model).filter(|_| !muted);
    Ok(Chosen {
        steps: spoken.unwrap_or(last_value),
        model: best.model,
        basis: Basis::Tournament {
            origins: origins as u32,
        },
        table,
        skill: Some(Skill {
            origins: origins as u32,
            relative_error: best.relative_error,
        }),
        muted,
    })
}

/// The preferred model, unless the first is clearly better.
fn best_of(table: &[ModelScore], preferred: ModelName) -> ModelScore {
    let last_value = ModelScore {
        model: ModelName::LastValue,
        relative_error: 1.0,
    };
    let first = table.first().copied().unwrap_or(last_value);
    let preferred = table.iter().find(|score| score.model == preferred);
    match preferred {
        Some(preferred) if first.relative_error >= CLEARLY_BETTER * preferred.relative_error => {
            *preferred
        }
        _ => first,
    }
}

fn candidates(scaled: &Scaled) -> Vec<(ModelName, Box<dyn Tracker>)> {
    let values = &scaled.values;
    let mut candidates: Vec<(ModelName, Box<dyn Tracker>)> = vec![
        (ModelName::LastValue, Box::new(Repeat)),
        (ModelName::Ses, Box::new(Levels::of(values))),
        (ModelName::DampedHolt, Box::new(Trends::of(values))),
    ];
    let season = Season(period(values));
    if season.0.is_some() {
        candidates.push((ModelName::SeasonalRepeat, Box::new(season)));
    }
    candidates
}

/// The knots up to the first that is not before the farthest step.
fn knots_for(steps: &Steps) -> Vec<u32> {
    let needed = KNOTS
        .iter()
        .filter(|knot| **knot < steps.farthest())
        .count()
        + 1;
    KNOTS.iter().copied().take(needed).collect()
}

/// How many past origins can be judged at every knot.
fn origins_of(values: usize, knots: &[u32]) -> usize {
    let farthest = knots.last().map_or(0, |knot| *knot as usize);
    MOST_ORIGINS.min(values.saturating_sub(farthest) / JUDGED_SHARE)
}

fn on_path(
    tracker: &dyn Tracker,
    scaled: &Scaled,
    knots: &[u32],
    steps: &Steps,
) -> Vec<StepForecast> {
    let forecast = |knot: &u32| tracker.track(scaled, *knot).step_forecast(scaled, *knot);
    let knots: Vec<StepForecast> = knots.iter().map(forecast).collect();
    interpolate(&knots, steps)
}

/// The forecasts of `steps` from those at the knots.
fn interpolate(knots: &[StepForecast], steps: &Steps) -> Vec<StepForecast> {
    let at = |step| {
        let after = knots.iter().find(|knot| knot.step >= step)?;
        let before = knots.iter().rev().find(|knot| knot.step <= step)?;
        Some(StepForecast::between(before, after, step))
    };
    steps.iter().filter_map(at).collect()
}

fn relative_error(tracker: &dyn Tracker, scaled: &Scaled, knots: &[u32], origins: usize) -> f64 {
    let newest = |tracker: &dyn Tracker, knot: u32| -> f64 {
        let errors = tracker
            .track(scaled, knot)
            .errors(&scaled.values, knot as usize);
        errors
            .iter()
            .rev()
            .take(origins)
            .map(|error| f64::from(error.abs()))
            .sum()
    };
    let ratio = |knot: &u32| {
        let (own, last_value) = (newest(tracker, *knot), newest(&Repeat, *knot));
        if own == last_value {
            1.0
        } else {
            own / last_value
        }
    };
    let logs: f64 = knots.iter().map(|knot| ratio(knot).ln()).sum();
    (logs / knots.len().max(1) as f64).exp()
}

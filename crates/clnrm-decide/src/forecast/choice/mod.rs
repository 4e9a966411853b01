//! Which model may speak: a tournament of all models on this very window.
//!
//! Deliberately absent: memory of past choices. Against flip-flopping, the model that training found best stays unless
//! another is clearly better here.

use super::knots::{interpolate, knots_for, on_path};
use super::last_value::Repeat;
use super::learned::{self, Network};
use super::model::{ModelName, enough};
use super::record::{Basis, ModelScore, Skill};
use super::tournament::{Fit, Tournament};
use super::track::Scaled;
use super::{NotEnoughData, StepForecast, Steps, Window};

/// Fewest past origins that a judgement takes.
const FEWEST_ORIGINS: usize = 5;
/// Fewest values from which anything but the last value is forecast.
const FEWEST_VALUES: usize = 10;
/// What another model must leave of the preferred model's error to replace it.
const CLEARLY_BETTER: f64 = 0.85;

/// The forecast of the model that was chosen, and why it was.
#[derive(Debug, Clone, PartialEq)]
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
        !self.muted && self.skill.is_some_and(Skill::is_earned)
    }
}

/// Lets the models compete on `window` and forecasts `steps` with the best.
///
/// Each is judged by its forecasts from the same past origins, at the knots (steps 1, 3, 6 and 12) up to the farthest
/// step. The learned model speaks unless another is clearly better, and nobody does who is not better than the last value.
pub fn choose(window: &Window, steps: &Steps) -> Result<Chosen, NotEnoughData> {
    choose_with(window, steps, learned::shipped())
}

/// As [`choose`], with other networks than those that ship.
pub fn choose_with(
    window: &Window,
    steps: &Steps,
    networks: &[Network],
) -> Result<Chosen, NotEnoughData> {
    Ok(Contest::of(window)?.choose(steps, networks))
}

/// The models of one window, ready to be asked for any steps.
#[derive(Debug)]
pub(super) enum Contest {
    /// There is nothing to fit to.
    LastValue(Scaled, Basis),
    Fitted(Fit),
}

impl Contest {
    pub(super) fn of(window: &Window) -> Result<Self, NotEnoughData> {
        let scaled = enough(window)?;
        Ok(if scaled.unit == 0.0 {
            Self::LastValue(scaled, Basis::Constant)
        } else if scaled.values.len() < FEWEST_VALUES {
            Self::LastValue(scaled, Basis::TooShort)
        } else {
            Self::Fitted(Fit::of(scaled))
        })
    }

    pub(super) fn choose(&self, steps: &Steps, networks: &[Network]) -> Chosen {
        let knots = knots_for(steps);
        let tournament = match self {
            Self::LastValue(scaled, basis) => {
                let steps = on_path(&Repeat, scaled, &knots, steps);
                return unjudged(ModelName::LastValue, *basis, steps);
            }
            Self::Fitted(fit) => Tournament::of(fit, networks, &knots),
        };
        let preferred = tournament.preferred();
        if tournament.origins() < FEWEST_ORIGINS {
            let steps = interpolate(&tournament.forecast(preferred), steps);
            return unjudged(preferred, Basis::Prior, steps);
        }
        judged(&tournament, steps)
    }
}

/// The forecast of the best model of a tournament.
fn judged(tournament: &Tournament<'_>, steps: &Steps) -> Chosen {
    let preferred = tournament.preferred();
    let origins = u32::try_from(tournament.origins()).unwrap_or(u32::MAX);
    let table = tournament.table();
    let best = best_of(&table, preferred);
    let muted = best.relative_error >= 1.0;
    let spoken = if muted {
        ModelName::LastValue
    } else {
        best.model
    };
    let mut made = tournament.forecast(spoken);
    if muted {
        // The preferred model's intervals are honest ones, also where its middle is no better than the last value.
        for (made, spread) in made.iter_mut().zip(tournament.forecast(preferred)) {
            made.quantiles = spread.quantiles;
        }
    }
    Chosen {
        steps: interpolate(&made, steps),
        model: best.model,
        basis: Basis::Tournament,
        skill: Some(Skill {
            origins,
            relative_error: best.relative_error,
        }),
        table,
        muted,
    }
}

fn unjudged(model: ModelName, basis: Basis, steps: Vec<StepForecast>) -> Chosen {
    Chosen {
        steps,
        model,
        basis,
        table: Vec::new(),
        skill: None,
        muted: false,
    }
}

/// The preferred model, unless another is clearly better. The last value does not compete: it is what the others are
/// measured by.
fn best_of(table: &[ModelScore], preferred: ModelName) -> ModelScore {
    let last_value = ModelScore {
        model: ModelName::LastValue,
        relative_error: 1.0,
    };
    let mut others = table
        .iter()
        .filter(|score| score.model != ModelName::LastValue);
    let first = others.clone().next().copied().unwrap_or(last_value);
    match others.find(|score| score.model == preferred) {
        Some(preferred) if first.relative_error >= CLEARLY_BETTER * preferred.relative_error => {
            *preferred
        }
        _ => first,
    }
}

#[cfg(test)]
mod tests;

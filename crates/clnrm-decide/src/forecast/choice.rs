//! Which model may speak: a tournament of all models on this very window.
//!
//! Deliberately absent: memory of past choices. Against flip-flopping, the model that training found best stays unless
//! another is clearly better here.

use serde::{Deserialize, Serialize};

use super::last_value::Repeat;
use super::learned::{self, Network};
use super::model::{ModelName, Tracker, enough};
use super::tournament::{Fit, Tournament};
use super::track::Scaled;
use super::{NotEnoughData, Skill, StepForecast, Steps, Window};

/// The steps that models are fitted and judged at; what lies between is interpolated, quantile by quantile.
pub(super) const KNOTS: [u32; 4] = [1, 3, 6, 12];
/// The newest values that models are judged on without having been fitted to them: the bound of a tournament's cost.
pub(super) const MOST_JUDGED: usize = 60;
/// At most one in so many of the window's values is judged on.
pub(super) const JUDGED_SHARE: usize = 4;
/// Fewest past origins that a judgement takes.
const FEWEST_ORIGINS: usize = 5;
/// Fewest values from which anything but the last value is forecast.
const FEWEST_VALUES: usize = 10;
/// What another model must leave of the preferred model's error to replace it.
const CLEARLY_BETTER: f64 = 0.85;

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
    /// The model.
    pub model: ModelName,
    /// Its mean absolute error ÷ that of the last value, geometric mean over the steps; below 1 is better, infinite
    /// (`null` in JSON) where only the model erred.
    #[serde(deserialize_with = "super::load::infinite_where_null")]
    pub relative_error: f64,
}

/// The forecast of the model that was chosen, and why it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// The knots up to the first that is not before the farthest step.
pub(super) fn knots_for(steps: &Steps) -> Vec<u32> {
    let needed = KNOTS
        .iter()
        .filter(|knot| **knot < steps.farthest())
        .count()
        + 1;
    KNOTS.iter().copied().take(needed).collect()
}

pub(super) fn on_path(
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
pub(super) fn interpolate(knots: &[StepForecast], steps: &Steps) -> Vec<StepForecast> {
    let at = |step| {
        let after = knots.iter().find(|knot| knot.step >= step)?;
        let before = knots.iter().rev().find(|knot| knot.step <= step)?;
        Some(StepForecast::between(before, after, step))
    };
    steps.iter().filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Range;

    fn chosen(values: impl IntoIterator<Item = f64>) -> Chosen {
        let window = Window::new(values.into_iter().collect(), Range::FROM_ZERO).unwrap();
        choose(&window, &Steps::path(6)).unwrap()
    }

    /// Fixed pseudo-random numbers from 0 to 1.
    fn noise(seed: u32) -> impl Iterator<Item = f64> {
        let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        std::iter::successors(Some(seed), next)
            .skip(1)
            .map(|state| f64::from(state >> 16) / 65_536.0)
    }

    #[test]
    fn what_can_be_forecast_is_and_has_earned_it() {
        let repeating = (0..600)
            .zip(noise(1))
            .map(|(n, noise)| [10.0, 90.0, 20.0, 40.0, 15.0][n % 5] + noise);
        let chosen = chosen(repeating);
        assert!(chosen.is_earned() && !chosen.muted, "{:?}", chosen.table);
        assert!(chosen.skill.unwrap().relative_error < 0.2);
        assert_eq!(chosen.basis, Basis::Tournament);
        assert!(chosen.skill.unwrap().origins >= 15);
        // The newest value was 15, so 10, 90 and 20 come next; the first and the third are knots.
        let near = |place: usize, value: f64| (chosen.steps[place].point - value).abs() < 5.0;
        assert!(near(0, 10.5) && near(2, 20.5), "{:?}", chosen.steps);
        assert!(
            chosen
                .table
                .iter()
                .any(|score| score.model == ModelName::LastValue && score.relative_error == 1.0)
        );
    }

    #[test]
    fn without_skill_the_last_value_is_shown() {
        let mut muted = 0;
        for seed in 0..12 {
            let mut level = 500.0;
            let walk = noise(seed).take(400).map(|noise| {
                level += noise - 0.5;
                level
            });
            let values: Vec<f64> = walk.collect();
            let chosen = chosen(values.clone());
            if chosen.muted {
                muted += 1;
                assert!(!chosen.is_earned());
                assert!(chosen.skill.unwrap().relative_error >= 1.0);
                assert!(chosen.steps.iter().all(|made| made.point == values[399]));
                assert!(
                    chosen
                        .steps
                        .iter()
                        .all(|made| made.quantiles[0] < made.quantiles[4])
                );
            }
        }
        assert!(muted > 0, "a random walk cannot be forecast");
    }

    #[test]
    fn a_short_window_is_not_judged() {
        assert_eq!(chosen([7.0; 50]).basis, Basis::Constant);
        let few = chosen(noise(1).take(8));
        assert_eq!(
            (few.basis, few.model),
            (Basis::TooShort, ModelName::LastValue)
        );
        let more = chosen(noise(1).take(15));
        assert_eq!((more.basis, more.model), (Basis::Prior, ModelName::Ses));
        let enough = chosen(noise(1).take(25));
        assert_eq!(
            (enough.basis, enough.model),
            (Basis::Prior, ModelName::Learned)
        );
        assert!(!enough.is_earned() && enough.skill.is_none());
    }

    #[test]
    fn the_preferred_model_stays_unless_another_is_clearly_better() {
        let score = |model, relative_error| ModelScore {
            model,
            relative_error,
        };
        let close = [score(ModelName::Ses, 0.70), score(ModelName::Learned, 0.75)];
        assert_eq!(
            best_of(&close, ModelName::Learned).model,
            ModelName::Learned
        );
        let clear = [score(ModelName::Ses, 0.60), score(ModelName::Learned, 0.75)];
        assert_eq!(best_of(&clear, ModelName::Learned).model, ModelName::Ses);
    }
}

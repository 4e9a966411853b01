//! All models, judged by what they would have forecast from the same past origins of one window.

use super::StepForecast;
use super::experts::{Experts, Knot};
use super::last_value::Repeat;
use super::learned::{FEWEST_VALUES, Judge, Network, Seen};
use super::model::{ModelName, Tracker};
use super::record::ModelScore;
use super::regression::{judged, seen_before};
use super::track::Scaled;

/// Origins lie so many values apart: neighbours would tell nearly the same, and each costs a pass through a network.
const APART: usize = 3;

/// The models of one window, fitted: whatever the steps are that they are asked for.
#[derive(Debug)]
pub(super) struct Fit {
    experts: Experts,
    /// `None` = too few values to ask a network about.
    seen: Option<Seen>,
}

impl Fit {
    pub(super) fn of(scaled: Scaled) -> Self {
        let is_enough = scaled.values.len() >= FEWEST_VALUES;
        let experts = Experts::of(scaled);
        Self {
            seen: is_enough.then(|| Seen::of(&experts)),
            experts,
        }
    }
}

/// The models of one window and how they did.
#[derive(Debug)]
pub(super) struct Tournament<'a> {
    experts: &'a Experts,
    networks: &'a [Network],
    /// How many of them were asked for.
    knots: usize,
    origins: Vec<usize>,
    learned: Option<Judge<'a>>,
}

impl<'a> Tournament<'a> {
    pub(super) fn of(fit: &'a Fit, networks: &'a [Network], knots: &[u32]) -> Self {
        let experts = &fit.experts;
        let count = experts.scaled.values.len();
        let farthest = knots.last().map_or(1, |knot| *knot as usize);
        let newest = count.saturating_sub(1 + farthest);
        let oldest = seen_before(count).max(newest.saturating_sub(judged(count)));
        let mut origins: Vec<usize> = (oldest..=newest).rev().step_by(APART).collect();
        if count < FEWEST_VALUES {
            origins.clear();
        }
        let seen = fit.seen.as_ref().filter(|_| !networks.is_empty());
        let learned = seen.map(|seen| Judge::of(experts, seen, networks, &origins));
        Self {
            experts,
            networks,
            knots: knots.len(),
            origins,
            learned,
        }
    }

    /// How many origins the models are judged from.
    pub(super) fn origins(&self) -> usize {
        self.origins.len()
    }

    /// The model that did best in training, among those that such a window allows.
    pub(super) fn preferred(&self) -> ModelName {
        if self.learned.is_some() {
            ModelName::Learned
        } else {
            ModelName::Ses
        }
    }

    /// The forecasts of a model at the knots.
    pub(super) fn forecast(&self, model: ModelName) -> Vec<StepForecast> {
        let scaled = &self.experts.scaled;
        if let (ModelName::Learned, Some(judge)) = (model, &self.learned) {
            let mut forecasts = judge.forecast(self.experts, self.networks);
            forecasts.truncate(self.knots);
            return forecasts;
        }
        let forecast = |knot: &Knot| {
            let step = knot.step as u32;
            match knot.track(model) {
                Some(track) => track.step_forecast(scaled, step),
                None => Repeat.track(scaled, step).step_forecast(scaled, step),
            }
        };
        self.experts
            .knots
            .iter()
            .take(self.knots)
            .map(forecast)
            .collect()
    }

    /// Every model's error relative to that of the last value, best first.
    pub(super) fn table(&self) -> Vec<ModelScore> {
        let mut models = self.experts.models();
        models.extend(self.learned.as_ref().map(|_| ModelName::Learned));
        let last_value = self.errors(ModelName::LastValue);
        let score = |model| ModelScore {
            model,
            relative_error: relative(&self.errors(model), &last_value),
        };
        let mut table: Vec<ModelScore> = models.into_iter().map(score).collect();
        table.push(ModelScore {
            model: ModelName::LastValue,
            relative_error: 1.0,
        });
        table.sort_by(|one, other| one.relative_error.total_cmp(&other.relative_error));
        table
    }

    /// The sum of a model's absolute errors at each knot.
    fn errors(&self, model: ModelName) -> Vec<f32> {
        let knots = self.experts.knots.iter().take(self.knots).enumerate();
        let sum = |(place, knot): (usize, &Knot)| -> f32 {
            let origins = self.origins.iter().enumerate();
            let errors = origins.filter_map(|(judged, origin)| {
                let came = *self.experts.scaled.values.get(origin + knot.step)?;
                let forecast = match (model, &self.learned, knot.track(model)) {
                    (ModelName::Learned, Some(judge), _) => judge.past.get(judged)?.get(place)?[2],
                    (_, _, Some(track)) => track.from(*origin)?,
                    _ => *self.experts.scaled.values.get(*origin)?,
                };
                Some((came - forecast).abs())
            });
            errors.sum()
        };
        knots.map(sum).collect()
    }
}

/// The geometric mean over the knots of one model's errors ÷ those of the last value; 1 where neither errs.
fn relative(errors: &[f32], last_value: &[f32]) -> f64 {
    let ratio = |(own, last): (&f32, &f32)| {
        if own == last {
            1.0
        } else {
            f64::from(*own) / f64::from(*last)
        }
    };
    let logs: f64 = errors.iter().zip(last_value).map(ratio).map(f64::ln).sum();
    (logs / errors.len().max(1) as f64).exp()
}

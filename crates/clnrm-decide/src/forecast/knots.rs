//! The steps that models are fitted and judged at.

use super::model::Tracker;
use super::track::Scaled;
use super::{StepForecast, Steps};

/// The steps that models are fitted and judged at; what lies between is interpolated, quantile by quantile.
pub(super) const KNOTS: [u32; 4] = [1, 3, 6, 12];
/// The newest values that models are judged on without having been fitted to them: the bound of a tournament's cost.
pub(super) const MOST_JUDGED: usize = 60;
/// At most one in so many of the window's values is judged on.
pub(super) const JUDGED_SHARE: usize = 4;

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

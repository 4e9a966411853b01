//! What a model sees and what it answers: evenly spaced values in, a value and its quantiles for each step out.
//!
//! Deliberately absent: time. Whoever builds a [`Window`] has resampled the history and filled its gaps, so that a step
//! is one distance between neighbours.

use thiserror::Error;

/// Most values that a model looks at.
pub const WINDOW_VALUES: usize = 1_000;
/// The farthest step that is forecast.
pub const FARTHEST_STEP: u32 = 12;
/// The quantiles that every forecast carries.
pub const LEVELS: [f64; 5] = [0.05, 0.10, 0.50, 0.90, 0.95];

/// The values that a metric can take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub lower: f64,
    pub upper: f64,
}

impl Range {
    /// Every finite value.
    pub const UNBOUNDED: Self = Self {
        lower: f64::MIN,
        upper: f64::MAX,
    };
    /// Every finite value from 0 on.
    pub const FROM_ZERO: Self = Self {
        lower: 0.0,
        upper: f64::MAX,
    };

    /// `value`, or the end of the range that it lies beyond.
    pub fn clamp(self, value: f64) -> f64 {
        value.max(self.lower).min(self.upper)
    }
}

/// Evenly spaced values, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    values: Vec<f64>,
    range: Range,
}

/// A value of a window is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("value {index} of the window is {value}, which is not a measurement")]
pub struct NotAWindow {
    /// Its place, from the oldest on.
    pub index: usize,
    pub value: f64,
}

impl Window {
    /// The newest [`WINDOW_VALUES`] of `values`; refuses what is not finite.
    pub fn new(mut values: Vec<f64>, range: Range) -> Result<Self, NotAWindow> {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let value = values.get(index).copied().unwrap_or(f64::NAN);
            return Err(NotAWindow { index, value });
        }
        values.drain(..values.len().saturating_sub(WINDOW_VALUES));
        Ok(Self { values, range })
    }

    /// The values, oldest first.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    pub fn range(&self) -> Range {
        self.range
    }
}

/// The steps that a forecast is asked for: increasing, each from 1 to [`FARTHEST_STEP`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps(Vec<u32>);

/// A step lies beyond what is forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("step {step} is not one of 1 to {FARTHEST_STEP}")]
pub struct StepOutOfReach {
    pub step: u32,
}

impl Steps {
    /// These steps, sorted, each once.
    pub fn new(steps: &[u32]) -> Result<Self, StepOutOfReach> {
        if let Some(&step) = steps
            .iter()
            .find(|step| !(1..=FARTHEST_STEP).contains(*step))
        {
            return Err(StepOutOfReach { step });
        }
        let mut steps = steps.to_vec();
        steps.sort_unstable();
        steps.dedup();
        Ok(Self(steps))
    }

    /// The path of the first `last` steps, at least one and at most [`FARTHEST_STEP`].
    pub fn path(last: u32) -> Self {
        Self((1..=last.clamp(1, FARTHEST_STEP)).collect())
    }

    /// The steps, increasing.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    pub fn farthest(&self) -> u32 {
        self.0.last().copied().unwrap_or(1)
    }
}

/// What the value will probably be some steps after the window, in its unit and within its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepForecast {
    /// Steps after the newest value.
    pub step: u32,
    pub point: f64,
    /// The values that it stays below 5, 10, 50, 90 and 95 times in a hundred ([`LEVELS`]); never decreasing.
    pub quantiles: [f64; 5],
}

impl StepForecast {
    /// Between the neighbours `before` and `after`, in proportion to the steps.
    pub(super) fn between(before: &Self, after: &Self, step: u32) -> Self {
        let span = f64::from(after.step.saturating_sub(before.step)).max(1.0);
        let share = f64::from(step.saturating_sub(before.step)) / span;
        // This form is exact where both are equal, and does not overflow where they are huge.
        let mix = |from: f64, to: f64| from * (1.0 - share) + to * share;
        let even = |from: f64, to: f64| if from == to { from } else { mix(from, to) };
        let mut quantiles = before.quantiles;
        for (from, to) in quantiles.iter_mut().zip(after.quantiles) {
            *from = even(*from, to);
        }
        Self {
            step,
            point: even(before.point, after.point),
            quantiles,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_does_not_enter() {
        let refused = Window::new(vec![1.0, f64::NAN, 2.0], Range::UNBOUNDED).unwrap_err();
        assert_eq!(refused.index, 1);
        let window = Window::new((0..1_200).map(f64::from).collect(), Range::UNBOUNDED).unwrap();
        assert_eq!((window.values().len(), window.values()[0]), (1_000, 200.0));
    }

    #[test]
    fn steps_are_increasing_and_within_reach() {
        let steps = Steps::new(&[12, 1, 3, 3]).unwrap();
        assert_eq!(steps.iter().collect::<Vec<_>>(), [1, 3, 12]);
        assert_eq!(Steps::new(&[13]), Err(StepOutOfReach { step: 13 }));
        assert_eq!(Steps::new(&[0]), Err(StepOutOfReach { step: 0 }));
        assert_eq!(Steps::path(40).farthest(), FARTHEST_STEP);
    }
}

//! Exponential smoothing, without and with a damped trend. The parameters are the best of a fixed grid on the window
//! itself, for each step on its own; all of the grid is followed at once.
//!
//! R. G. Brown, *Statistical Forecasting for Inventory Control* (1959); E. S. Gardner and E. McKenzie, *Forecasting
//! trends in time series* (1985).

use super::model::{Forecaster, ModelName, Tracker, forecast_with};
use super::track::{Scaled, Track};
use super::{NotEnoughData, StepForecast, Steps, Window};

/// Values that a level is allowed to settle on before its errors count.
const WARM_UP: usize = 5;

/// Simple exponential smoothing: the level goes on as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ses;

impl Forecaster for Ses {
    fn name(&self) -> ModelName {
        ModelName::Ses
    }

    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData> {
        forecast_with(window, steps, |scaled| Levels::of(&scaled.values))
    }
}

/// Weights of the newest value; with 1 the level is the last value.
pub(super) const RATES: [f32; 8] = [1.0, 0.8, 0.6, 0.4, 0.25, 0.15, 0.07, 0.03];

/// The level after each value, for each of the [`RATES`].
#[derive(Debug)]
pub(super) struct Levels(pub(super) Vec<[f32; 8]>);

impl Levels {
    pub(super) fn of(values: &[f32]) -> Self {
        let mut level = [values.first().copied().unwrap_or_default(); 8];
        let after = |value: &f32| {
            for (level, rate) in level.iter_mut().zip(RATES) {
                *level += rate * (value - *level);
            }
            level
        };
        Self(values.iter().map(after).collect())
    }

    /// The rate that would have erred least `step` ahead within the first `end` values.
    pub(super) fn best(&self, values: &[f32], step: u32, end: usize) -> usize {
        best_lane(values, step, end, self.0.iter().copied())
    }

    /// The track of one rate.
    pub(super) fn lane(&self, lane: usize) -> Track {
        let level = |levels: &[f32; 8]| levels.get(lane).copied().unwrap_or_default();
        Track {
            first: 0,
            forecasts: self.0.iter().map(level).collect(),
        }
    }
}

impl Tracker for Levels {
    fn track(&self, scaled: &Scaled, step: u32) -> Track {
        self.lane(self.best(&scaled.values, step, scaled.values.len()))
    }
}

/// Holt's method with a trend that fades.
#[derive(Debug, Clone, Copy, Default)]
pub struct DampedHolt;

impl Forecaster for DampedHolt {
    fn name(&self) -> ModelName {
        ModelName::DampedHolt
    }

    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData> {
        forecast_with(window, steps, |scaled| Trends::of(&scaled.values))
    }
}

/// Weight of the newest value in the level, of the newest change in the trend, and what a step leaves of the trend.
const TREND_RATES: [[f32; 8]; 3] = [
    [0.9, 0.9, 0.6, 0.6, 0.35, 0.35, 0.15, 0.15],
    [0.5, 0.15, 0.4, 0.1, 0.3, 0.1, 0.2, 0.05],
    [0.8, 0.95, 0.85, 0.95, 0.85, 0.97, 0.9, 0.97],
];

/// Level and trend after each value, for each of the [`TREND_RATES`].
#[derive(Debug)]
pub(super) struct Trends(Vec<[[f32; 8]; 2]>);

impl Trends {
    pub(super) fn of(values: &[f32]) -> Self {
        let [alpha, beta, damping] = TREND_RATES;
        let mut level = [values.first().copied().unwrap_or_default(); 8];
        let mut trend = [0.0_f32; 8];
        let after = |value: &f32| {
            let lanes = level.iter_mut().zip(trend.iter_mut());
            for ((level, trend), ((alpha, beta), damping)) in
                lanes.zip(alpha.into_iter().zip(beta).zip(damping))
            {
                let before = *level;
                let expected = before + damping * *trend;
                *level = expected + alpha * (value - expected);
                *trend = damping * *trend + beta * (*level - before - damping * *trend);
            }
            [level, trend]
        };
        Self(values.iter().map(after).collect())
    }

    /// The forecasts of every lane from every origin.
    fn ahead(&self, step: u32) -> impl Iterator<Item = [f32; 8]> {
        // φ + φ² + … + φʰ
        let [_, _, damping] = TREND_RATES;
        let reach = damping.map(|damping| (1..=step).map(|power| damping.powi(power as i32)).sum());
        self.0.iter().map(move |[level, trend]| {
            let mut forecast = *level;
            for ((forecast, trend), reach) in forecast.iter_mut().zip(trend).zip::<[f32; 8]>(reach)
            {
                *forecast += reach * trend;
            }
            forecast
        })
    }

    /// The lane that would have erred least `step` ahead within the first `end` values.
    pub(super) fn best(&self, values: &[f32], step: u32, end: usize) -> usize {
        best_lane(values, step, end, self.ahead(step))
    }

    /// The track of one lane.
    pub(super) fn lane(&self, lane: usize, step: u32) -> Track {
        let of_lane = |forecasts: [f32; 8]| forecasts.get(lane).copied().unwrap_or_default();
        Track {
            first: 0,
            forecasts: self.ahead(step).map(of_lane).collect(),
        }
    }
}

impl Tracker for Trends {
    fn track(&self, scaled: &Scaled, step: u32) -> Track {
        let end = scaled.values.len();
        self.lane(self.best(&scaled.values, step, end), step)
    }
}

/// The lane with the least absolute error among forecasts whose value lies before `end`; the first where none is better.
fn best_lane(
    values: &[f32],
    step: u32,
    end: usize,
    forecasts: impl Iterator<Item = [f32; 8]>,
) -> usize {
    let mut sums = [0.0_f32; 8];
    let came = values.iter().take(end).skip(WARM_UP + step as usize);
    for (came, forecasts) in came.zip(forecasts.skip(WARM_UP)) {
        for (sum, forecast) in sums.iter_mut().zip(forecasts) {
            *sum += (came - forecast).abs();
        }
    }
    let least = |best: (usize, f32), lane: (usize, f32)| if lane.1 < best.1 { lane } else { best };
    let lanes = sums.into_iter().enumerate();
    lanes.reduce(least).map_or(0, |(lane, _)| lane)
}

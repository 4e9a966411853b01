//! A period in the window, found by its autocorrelation, and the model that repeats it.

use super::model::{Forecaster, ModelName, Tracker, forecast_with};
use super::track::{Scaled, Track};
use super::{NotEnoughData, StepForecast, Steps, Window};

/// Shortest period that is looked for.
const SHORTEST: usize = 4;
/// How many periods a window must hold, in halves.
const HALF_PERIODS: usize = 5;
/// The autocorrelation that makes a period.
const NEEDED: f32 = 0.3;
/// By how much a longer period must be better than a shorter one.
const MARGIN: f32 = 0.02;
/// Below this, the correlation of neighbours is over.
const UNCORRELATED: f32 = 0.05;

/// What was seen one period ago comes again; without a period, the last value.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeasonalRepeat;

impl Forecaster for SeasonalRepeat {
    fn name(&self) -> ModelName {
        ModelName::SeasonalRepeat
    }

    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData> {
        forecast_with(window, steps, |scaled| Season(period(&scaled.values)))
    }
}

/// The period; `None` = there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Season(pub(super) Option<usize>);

impl Tracker for Season {
    fn track(&self, scaled: &Scaled, step: u32) -> Track {
        let values = &scaled.values;
        // The newest value that lies a whole number of periods before the forecast one.
        let back = self.0.map_or(0, |period| {
            (step as usize).div_ceil(period) * period - step as usize
        });
        let first = back.min(values.len());
        let known = values.len() - first;
        Track {
            first,
            forecasts: values.iter().take(known).copied().collect(),
        }
    }
}

/// The lag of the strongest local maximum of the autocorrelation of the detrended values, if they hold two and a half of it.
pub(super) fn period(values: &[f32]) -> Option<usize> {
    let longest = 2 * values.len() / HALF_PERIODS;
    if longest <= SHORTEST + 1 {
        return None;
    }
    let flat = detrended(values);
    let power = product(&flat, &flat);
    if power <= 0.0 {
        return None;
    }
    let count = flat.len() as f32;
    let correlations: Vec<f32> = (0..longest)
        .map(|lag| {
            let later = flat.get(lag..).unwrap_or_default();
            product(&flat, later) / power * count / later.len() as f32
        })
        .collect();
    let over = correlations
        .iter()
        .position(|value| *value < UNCORRELATED)?;
    let mut best = (NEEDED, None);
    for (lag, around) in (1..).zip(correlations.windows(3)) {
        if let [before, here, after] = *around
            && lag >= over.max(SHORTEST)
            && here > before
            && here >= after
            && here > best.0 + MARGIN
        {
            best = (here, Some(lag));
        }
    }
    best.1
}

/// The values without their straight line of least squares.
fn detrended(values: &[f32]) -> Vec<f32> {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    let middle = (count - 1.0) / 2.0;
    let places = || (0..values.len()).map(|place| place as f32 - middle);
    let covariance: f32 = places().zip(values).map(|(x, y)| x * (y - mean)).sum();
    let spread: f32 = places().map(|x| x * x).sum();
    let slope = covariance / spread;
    let line = places().map(|x| mean + slope * x);
    values
        .iter()
        .zip(line)
        .map(|(value, line)| value - line)
        .collect()
}

/// The sum of products over the length of the shorter, in eight partial sums that the compiler computes side by side.
pub(super) fn product(left: &[f32], right: &[f32]) -> f32 {
    let length = left.len().min(right.len());
    let left = left.get(..length).unwrap_or_default().chunks_exact(8);
    let right = right.get(..length).unwrap_or_default().chunks_exact(8);
    let rest = left.remainder().iter().zip(right.remainder());
    let rest: f32 = rest.map(|(left, right)| left * right).sum();
    let mut sums = [0.0_f32; 8];
    for (left, right) in left.zip(right) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    rest + sums.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_found_and_noise_has_none() {
        let wave: Vec<f32> = (0..300)
            .map(|n| [0.0, 5.0, 1.0, 9.0, 2.0, 2.0, 3.0][n % 7])
            .collect();
        assert_eq!(period(&wave), Some(7));
        let mut state = 1_u32;
        let noise = (0..300).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32
        });
        assert_eq!(period(&noise.collect::<Vec<_>>()), None);
        assert_eq!(period(&[1.0; 100]), None);
        assert_eq!(period(&[]), None);
    }

    #[test]
    fn what_was_one_period_ago_is_repeated() {
        let wave: Vec<f64> = (0..70)
            .map(|n| [0.0, 5.0, 1.0, 9.0, 2.0, 2.0, 3.0][n % 7])
            .collect();
        let window = Window::new(wave, crate::forecast::Range::FROM_ZERO).unwrap();
        let forecasts = SeasonalRepeat.forecast(&window, &Steps::path(9)).unwrap();
        let points: Vec<f64> = forecasts
            .iter()
            .map(|forecast| forecast.point.round())
            .collect();
        assert_eq!(points, [0.0, 5.0, 1.0, 9.0, 2.0, 2.0, 3.0, 0.0, 5.0]);
    }
}

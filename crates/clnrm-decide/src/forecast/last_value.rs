//! The forecast that every other one has to beat: it stays as it is.

use super::model::{Forecaster, Tracker, forecast_with};
use super::track::{Scaled, Track};
use super::{ModelName, NotEnoughData, StepForecast, Steps, Window};

/// Repeats the newest value of a window.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastValue;

impl Forecaster for LastValue {
    fn name(&self) -> ModelName {
        ModelName::LastValue
    }

    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData> {
        forecast_with(window, steps, |_| Repeat)
    }
}

/// Every value as the forecast of those after it.
#[derive(Debug)]
pub(super) struct Repeat;

impl Tracker for Repeat {
    fn track(&self, scaled: &Scaled, _step: u32) -> Track {
        Track {
            first: 0,
            forecasts: scaled.values.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    #[test]
    fn repeats_the_last_value_with_the_quantiles_of_past_changes() {
        let values = (0..200).map(|n| f64::from(n % 10)).collect();
        let window = Window::new(values, Metric::CpuPercent.range()).unwrap();
        let forecast = LastValue.forecast(&window, &Steps::path(1)).unwrap()[0];
        assert_eq!(forecast.point, 9.0);
        // Changes are +1 nine times in ten and −9 once.
        let ends = [forecast.quantiles[0], forecast.quantiles[4]];
        assert!(
            (ends[0] - 0.0).abs() < 1e-5 && (ends[1] - 10.0).abs() < 1e-5,
            "{ends:?}"
        );
    }
}

//! The forecast that every other one has to beat: it stays as it is.

use std::time::Duration;

use super::model::{Forecaster, Tracker, forecast_with};
use super::track::{Scaled, Track};
use super::{
    Forecast, ModelName, NotEnoughData, Series, SeriesForecaster, StepForecast, Steps, Window, ema,
    skill,
};

/// Repeats the newest value of a window, or the newest bucket of a series (of `max(step, horizon·6/31)`, as [`super::Ema`] sees it).
#[derive(Debug, Clone, Copy, Default)]
pub struct LastValue;

impl SeriesForecaster for LastValue {
    fn forecast(&self, series: &Series, horizon: Duration) -> Result<Forecast, NotEnoughData> {
        let buckets = ema::enough(series, horizon)?;
        let values = buckets.buckets.iter().map(|bucket| bucket.value);
        let value = values.clone().next_back().unwrap_or_default();
        let record = skill::Record::of(&buckets.buckets, values, buckets.whole_horizon());
        Ok(record.forecast(
            buckets.range.clamp(value),
            ModelName::LastValue,
            buckets.range,
        ))
    }
}

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
    use crate::Timestamp;

    #[test]
    fn repeats_the_last_value_with_the_quantiles_of_past_changes() {
        let points = (0..200).map(|n| (Timestamp::from_millis(n * 1_000), (n % 10) as f64));
        let series = Series::new(Metric::CpuPercent, points.collect());
        let forecast =
            SeriesForecaster::forecast(&LastValue, &series, Duration::from_secs(1)).unwrap();
        assert_eq!(forecast.value, 9.0);
        // Changes are +1 nine times in ten and −9 once.
        let interval = forecast.interval().unwrap();
        assert_eq!((interval.lower, interval.upper), (0.0, 10.0));
        assert_eq!(forecast.skill.unwrap().relative_error, 1.0);
        assert!(!forecast.is_earned());
    }
}

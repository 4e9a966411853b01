//! The model of the specification: an exponential moving average times a trend factor, made to respect the horizon.
//!
//! Deliberately absent: fitted parameters. α, 5 and 20 are the specification's; it is kept as the named, known model,
//! and others must be measured against it.

use std::slice;
use std::time::Duration;

use super::model::{self, Forecaster};
use super::series::{Bucket, Buckets};
use super::track::Track;
use super::{
    Forecast, ModelName, NotEnoughData, SAMPLES_NEEDED, Series, SeriesForecaster, StepForecast,
    Steps, Window, skill,
};
use crate::Timestamp;

/// Weight of the newest bucket.
const ALPHA: f64 = 0.3;
/// Buckets in the trend term's short and long mean.
const SHORT_MEAN: usize = 5;
const LONG_MEAN: usize = 20;
/// How many buckets S lags behind a straight ramp: (1−α)/α.
const LAG: f64 = (1.0 - ALPHA) / ALPHA;
/// Below this a mean is zero, and a share of it says nothing.
const NEGLIGIBLE: f64 = 1e-9;

/// `predicted = S · (1 + trend_factor · (h + 7/3) / (15/2))` over buckets of `max(step, horizon·6/31)`.
///
/// S₀ = x₀, Sᵢ = 0.3·xᵢ + 0.7·Sᵢ₋₁, and `trend_factor = (mean of newest 5 − mean of newest 20) / mean of newest 20`.
/// On a straight ramp S lags by 7/3 buckets and the two means lie 15/2 buckets apart, so the specification's
/// `S · (1 + trend_factor)` looks 31/6 buckets ahead whatever the horizon; with h = 31/6 the two are the same.
/// While there are fewer than 20 buckets, or gaps between them, the true distance of the two means takes the place of 15/2.
/// After a gap of g buckets the older state has lost as much weight as in g steps: 0.7^g.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ema;

impl Ema {
    /// The expected value alone, without the look at past forecasts.
    pub fn value(&self, series: &Series, horizon: Duration) -> Result<f64, NotEnoughData> {
        let buckets = enough(series, horizon)?;
        Ok(expected(&buckets))
    }
}

impl SeriesForecaster for Ema {
    fn forecast(&self, series: &Series, horizon: Duration) -> Result<Forecast, NotEnoughData> {
        let buckets = enough(series, horizon)?;
        let record = skill::Record::of(&buckets.buckets, past(&buckets), buckets.whole_horizon());
        Ok(record.forecast(expected(&buckets), ModelName::Ema, buckets.range))
    }
}

impl Forecaster for Ema {
    fn name(&self) -> ModelName {
        ModelName::Ema
    }

    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData> {
        let scaled = model::enough(window)?;
        // One value per second, so that a step is a second.
        let at = |place: i64| Timestamp::from_millis(1_000 * place);
        let values = window.values().iter().copied();
        let points: Vec<(Timestamp, f64)> = (0..).map(at).zip(values).collect();
        let forecast = |step: u32| {
            let horizon_ms = 1_000.0 * f64::from(step);
            let buckets = Buckets::cut(&points, 1_000.0, horizon_ms, window.range())?;
            let track = Track {
                first: 0,
                forecasts: past(&buckets).map(|value| scaled.scale(value)).collect(),
            };
            let values = buckets.buckets.iter().map(|bucket| bucket.value);
            let scaled_buckets: Vec<f32> = values.map(|value| scaled.scale(value)).collect();
            let errors = track.errors(&scaled_buckets, buckets.whole_horizon() as usize);
            Some(scaled.around(step, scaled.scale(expected(&buckets)), errors))
        };
        Ok(steps.iter().filter_map(forecast).collect())
    }
}

/// The forecast after each bucket.
fn past(buckets: &Buckets) -> impl Iterator<Item = f64> {
    let distance = buckets.whole_horizon();
    let mut state = State::new(&buckets.buckets);
    buckets.buckets.iter().map(move |bucket| {
        state.observe(bucket);
        buckets.range.clamp(state.predict(distance))
    })
}

/// The buckets of a series that has enough samples.
pub(super) fn enough(series: &Series, horizon: Duration) -> Result<Buckets, NotEnoughData> {
    let have = u32::try_from(series.len()).unwrap_or(u32::MAX);
    let too_few = NotEnoughData {
        have,
        need: SAMPLES_NEEDED,
    };
    if have < SAMPLES_NEEDED {
        return Err(too_few);
    }
    Buckets::resample(series, horizon).ok_or(too_few)
}

fn expected(buckets: &Buckets) -> f64 {
    let all = &buckets.buckets;
    // The two means need no more than the newest buckets.
    let (older, newest) = all.split_at(all.len().saturating_sub(LONG_MEAN));
    let mut state = State::new(newest);
    state.level = all.first().map_or(0.0, |bucket| bucket.value);
    for bucket in older {
        state.smooth(bucket);
    }
    for bucket in newest {
        state.observe(bucket);
    }
    buckets.range.clamp(state.predict(buckets.horizon))
}

/// What the formula knows after some buckets; each bucket takes constant time.
#[derive(Debug)]
struct State<'a> {
    level: f64,
    newest: Option<f64>,
    short: TrailingMean<'a>,
    long: TrailingMean<'a>,
}

impl<'a> State<'a> {
    /// Ready to observe `buckets` in their order.
    fn new(buckets: &'a [Bucket]) -> Self {
        Self {
            level: buckets.first().map_or(0.0, |bucket| bucket.value),
            newest: None,
            short: TrailingMean::new(buckets, SHORT_MEAN),
            long: TrailingMean::new(buckets, LONG_MEAN),
        }
    }

    fn observe(&mut self, bucket: &Bucket) {
        self.smooth(bucket);
        self.short.observe(bucket);
        self.long.observe(bucket);
    }

    fn smooth(&mut self, bucket: &Bucket) {
        let steps = self.newest.map_or(1.0, |newest| bucket.position - newest);
        let weight = if steps <= 1.0 {
            ALPHA
        } else {
            1.0 - (1.0 - ALPHA).powf(steps)
        };
        // This form is exact when the value does not change.
        self.level += weight * (bucket.value - self.level);
        self.newest = Some(bucket.position);
    }

    fn predict(&self, horizon: f64) -> f64 {
        let apart = self.short.position() - self.long.position();
        let base = self.long.value();
        if apart <= 0.0 || base.abs() < NEGLIGIBLE {
            return self.level;
        }
        let trend_factor = (self.short.value() - base) / base;
        self.level * (1.0 + trend_factor * (horizon + LAG) / apart)
    }
}

/// Mean value and mean position of the newest `size` buckets. Sums are relative to the first bucket, so that equal values have exactly that mean.
#[derive(Debug)]
struct TrailingMean<'a> {
    size: usize,
    reference: f64,
    leaving: slice::Iter<'a, Bucket>,
    count: usize,
    excess: f64,
    positions: f64,
}

impl<'a> TrailingMean<'a> {
    fn new(buckets: &'a [Bucket], size: usize) -> Self {
        Self {
            size,
            reference: buckets.first().map_or(0.0, |bucket| bucket.value),
            leaving: buckets.iter(),
            count: 0,
            excess: 0.0,
            positions: 0.0,
        }
    }

    fn observe(&mut self, bucket: &Bucket) {
        self.excess += bucket.value - self.reference;
        self.positions += bucket.position;
        if self.count < self.size {
            self.count += 1;
        } else if let Some(left) = self.leaving.next() {
            self.excess -= left.value - self.reference;
            self.positions -= left.position;
        }
    }

    fn value(&self) -> f64 {
        self.reference + self.excess / self.count as f64
    }

    fn position(&self) -> f64 {
        self.positions / self.count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    fn every(step_ms: i64, values: impl IntoIterator<Item = f64>) -> Series {
        let points = values.into_iter().zip(0..);
        let points = points.map(|(value, n)| (Timestamp::from_millis(n * step_ms), value));
        Series::new(Metric::MemoryMb, points.collect())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The specification's formula, written as it stands there.
    fn seed(values: &[f64]) -> f64 {
        let mut s = values[0];
        for value in &values[1..] {
            s = 0.3 * value + 0.7 * s;
        }
        let mean = |n: usize| values[values.len() - n..].iter().sum::<f64>() / n as f64;
        s * (1.0 + (mean(5) - mean(20)) / mean(20))
    }

    #[test]
    fn where_the_bucket_is_horizon_6_31_it_is_the_formula_of_the_specification() {
        let values: Vec<f64> = (0..80)
            .map(|n| 50.0 + 10.0 * f64::from(n * n % 17) / 17.0)
            .collect();
        let value = Ema
            .value(&every(6_000, values.clone()), seconds(31))
            .unwrap();
        assert!((value - seed(&values)).abs() < 1e-9);
    }

    #[test]
    fn a_constant_is_predicted_exactly_at_every_horizon() {
        for constant in [0.0, 45.2, 1.0 / 3.0, 1e9] {
            for horizon in [1, 60, 300, 3_600] {
                let series = every(1_000, vec![constant; 1_000]);
                let forecast = SeriesForecaster::forecast(&Ema, &series, seconds(horizon)).unwrap();
                assert_eq!(forecast.value, constant);
                if let Some(interval) = forecast.interval() {
                    assert_eq!((interval.lower, interval.upper), (constant, constant));
                }
                assert!(!forecast.is_earned(), "the last value is exact too");
            }
        }
    }

    #[test]
    fn a_gentle_ramp_is_met_at_every_horizon() {
        let series = every(1_000, (0..1_000).map(|n| 100.0 + 0.001 * f64::from(n)));
        for horizon in [1, 5, 31, 60, 150, 240] {
            let rise = 0.001 * horizon as f64;
            let truth = 100.999 + rise;
            let value = Ema.value(&series, seconds(horizon)).unwrap();
            assert!(
                (value - truth).abs() < 0.02 * rise,
                "{horizon} s: {value}, not {truth}"
            );
        }
    }

    #[test]
    fn a_gentle_ramp_is_met_with_fewer_than_twenty_buckets() {
        // S starts at x₀ and has not reached its full lag before about ten buckets.
        let series = every(60_000, (0..12).map(|n| 100.0 + 0.1 * f64::from(n)));
        let value = Ema.value(&series, seconds(300)).unwrap();
        assert!((value - 101.6).abs() < 0.05, "{value}");
    }

    #[test]
    fn a_short_window_is_not_extrapolated() {
        let series = every(1_000, (0..10).map(|n| 10.0 * f64::from(n)));
        let value = Ema.value(&series, seconds(300)).unwrap();
        assert!((0.0..=90.0).contains(&value), "{value}");
    }

    #[test]
    fn values_stay_within_their_range() {
        let falling = every(1_000, (0..100).map(|n| 100.0 - f64::from(n)));
        assert_eq!(Ema.value(&falling, seconds(60)), Ok(0.0));
        let mut rising = every(1_000, (0..100).map(|n| 0.009 * f64::from(n)));
        rising = Series::new(Metric::ErrorRate, rising_points(&rising));
        assert_eq!(Ema.value(&rising, seconds(60)), Ok(1.0));
    }

    fn rising_points(series: &Series) -> Vec<(Timestamp, f64)> {
        (0..series.len() as i64)
            .map(|n| (Timestamp::from_millis(n * 1_000), 0.009 * n as f64))
            .collect()
    }

    #[test]
    fn a_gap_takes_its_share_of_the_old_level() {
        let old = (0..100).map(|n| (Timestamp::from_millis(n * 1_000), 1_000.0));
        let new = (0..5).map(|n| (Timestamp::from_millis(9_000_000 + n * 1_000), 10.0));
        let series = Series::new(Metric::MemoryMb, old.chain(new).collect());
        let value = Ema.value(&series, seconds(5)).unwrap();
        assert!((value - 10.0).abs() < 0.1, "{value}");
    }

    #[test]
    fn a_smoother_beats_the_last_value_on_noise_and_gets_an_interval_that_covers() {
        // A fixed pseudo-random sequence around 50.
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 16) / 65_536.0 * 20.0 - 10.0
        };
        let series = every(1_000, (0..1_000).map(|_| 50.0 + noise()));
        let forecast = SeriesForecaster::forecast(&Ema, &series, seconds(1)).unwrap();
        assert!(forecast.is_earned(), "{forecast:?}");
        let interval = forecast.interval().unwrap();
        assert!(
            interval.lower < 46.0 && interval.upper > 54.0,
            "{interval:?}"
        );
    }
}

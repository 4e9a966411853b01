//! The model of the specification: an exponential moving average times a trend factor, made to respect the horizon.
//!
//! Deliberately absent: fitted parameters. α, 5 and 20 are the specification's; it is kept as the named, known model,
//! and others must be measured against it.

use std::slice;

use super::model::{self, Forecaster};
use super::series::{Bucket, buckets_of};
use super::track::Track;
use super::{ModelName, NotEnoughData, Range, StepForecast, Steps, Window};
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
/// While there are fewer than 20 buckets, the true distance of the two means takes the place of 15/2.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ema;

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

/// A window in even buckets for one horizon.
#[derive(Debug)]
struct Buckets {
    /// Oldest first; at least one.
    buckets: Vec<Bucket>,
    /// From the middle of the newest bucket to the predicted moment, in buckets.
    horizon: f64,
    range: Range,
}

impl Buckets {
    /// Cuts `points`, `step_ms` apart, into buckets of `max(step, horizon·6/31)`.
    ///
    /// 31/6 buckets is how far ahead the specification's formula looks (see [`Ema`]). A history that is shorter than
    /// three such buckets is cut into three smaller ones, never below its own step: with three buckets the trend term is
    /// zero, so that ten seconds of samples are not extrapolated over minutes.
    ///
    /// The newest bucket ends half a step after the newest point; its mean stands for its middle, and the horizon is
    /// counted from there. With one point per bucket that is the point itself.
    fn cut(
        points: &[(Timestamp, f64)],
        step_ms: f64,
        horizon_ms: f64,
        range: Range,
    ) -> Option<Self> {
        let (first, last) = (points.first()?.0, points.last()?.0);
        let third = (last.since(first).as_secs_f64() * 1000.0 + step_ms) / 3.0;
        let width = (horizon_ms * 6.0 / 31.0).min(third).max(step_ms).max(1.0);
        Some(Self {
            buckets: buckets_of(points, step_ms, width)?,
            horizon: (horizon_ms + width / 2.0 - step_ms / 2.0) / width,
            range,
        })
    }

    /// The horizon in whole buckets: how far ahead past forecasts are checked.
    fn whole_horizon(&self) -> f64 {
        self.horizon.round().max(1.0)
    }
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
    short: TrailingMean<'a>,
    long: TrailingMean<'a>,
}

impl<'a> State<'a> {
    /// Ready to observe `buckets` in their order.
    fn new(buckets: &'a [Bucket]) -> Self {
        Self {
            level: buckets.first().map_or(0.0, |bucket| bucket.value),
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
        // This form is exact when the value does not change.
        self.level += ALPHA * (bucket.value - self.level);
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

    /// The expected value some steps ahead.
    fn value(values: &[f64], steps: f64, range: Range) -> f64 {
        let at = |place: i64| Timestamp::from_millis(1_000 * place);
        let points: Vec<_> = (0..).map(at).zip(values.iter().copied()).collect();
        expected(&Buckets::cut(&points, 1_000.0, 1_000.0 * steps, range).unwrap())
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
        let value = value(&values, 31.0 / 6.0, Range::FROM_ZERO);
        assert!((value - seed(&values)).abs() < 1e-9);
    }

    #[test]
    fn a_constant_is_predicted_exactly_at_every_horizon() {
        for constant in [0.0, 45.2, 1.0 / 3.0, 1e9] {
            let window = Window::new(vec![constant; 1_000], Range::FROM_ZERO).unwrap();
            for made in Ema.forecast(&window, &Steps::path(12)).unwrap() {
                assert_eq!((made.point, made.quantiles), (constant, [constant; 5]));
            }
        }
    }

    #[test]
    fn a_gentle_ramp_is_met_at_every_horizon() {
        let ramp: Vec<f64> = (0..1_000).map(|n| 100.0 + 0.001 * f64::from(n)).collect();
        for horizon in [1.0, 5.0, 31.0, 60.0, 150.0, 240.0] {
            let rise = 0.001 * horizon;
            let value = value(&ramp, horizon, Range::FROM_ZERO);
            let miss = (value - 100.999 - rise).abs();
            assert!(miss < 0.02 * rise, "{horizon}: {value}");
        }
    }

    #[test]
    fn a_gentle_ramp_is_met_with_fewer_than_twenty_buckets() {
        // S starts at x₀ and has not reached its full lag before about ten buckets.
        let ramp: Vec<f64> = (0..12).map(|n| 100.0 + 0.1 * f64::from(n)).collect();
        let value = value(&ramp, 5.0, Range::FROM_ZERO);
        assert!((value - 101.6).abs() < 0.05, "{value}");
    }

    #[test]
    fn a_short_window_is_not_extrapolated() {
        let ramp: Vec<f64> = (0..10).map(|n| 10.0 * f64::from(n)).collect();
        let value = value(&ramp, 300.0, Range::FROM_ZERO);
        assert!((0.0..=90.0).contains(&value), "{value}");
    }

    #[test]
    fn values_stay_within_their_range() {
        let falling: Vec<f64> = (0..100).map(|n| 100.0 - f64::from(n)).collect();
        assert_eq!(value(&falling, 60.0, Range::FROM_ZERO), 0.0);
        let rising: Vec<f64> = (0..100).map(|n| 0.009 * f64::from(n)).collect();
        assert_eq!(value(&rising, 60.0, Metric::ErrorRate.range()), 1.0);
    }
}

//! How well a model has done on this very history: forecasts from past origins, checked against what came.

use super::series::Bucket;
use super::{Forecast, ModelName, Range, SAMPLES_NEEDED, Skill};

/// Fewest checked forecasts for quantiles: with fewer, the 5 % and 95 % quantiles lie beyond the extremes.
const ERRORS_FOR_QUANTILES: usize = 20;
/// Fewest checked forecasts before a model is compared with the last value.
const ORIGINS_FOR_SKILL: usize = 10;

/// The checked forecasts of one model.
#[derive(Debug)]
pub(super) struct Record {
    /// What came minus what was forecast.
    errors: Vec<f64>,
    /// Sum of the last value's absolute errors from the same origins.
    last_value_error: f64,
}

impl Record {
    /// Checks `forecasts`, one made after each bucket for `distance` buckets later.
    ///
    /// Origins start where there were enough samples to predict at all. A forecast whose moment was not measured is not checked.
    pub(super) fn of(
        buckets: &[Bucket],
        forecasts: impl Iterator<Item = f64>,
        distance: f64,
    ) -> Self {
        let mut record = Self {
            errors: Vec::with_capacity(buckets.len()),
            last_value_error: 0.0,
        };
        let mut later = buckets.iter().peekable();
        let warm_up = SAMPLES_NEEDED as usize - 1;
        for (origin, forecast) in buckets.iter().zip(forecasts).skip(warm_up) {
            let moment = origin.position + distance;
            while later.next_if(|bucket| bucket.position < moment).is_some() {}
            match later.peek() {
                None => break,
                Some(actual) if actual.position == moment => {
                    record.errors.push(actual.value - forecast);
                    record.last_value_error += (actual.value - origin.value).abs();
                }
                Some(_) => {}
            }
        }
        record
    }

    /// The forecast with the evidence that there is.
    pub(super) fn forecast(mut self, value: f64, model: ModelName, range: Range) -> Forecast {
        let skill = self.skill();
        Forecast {
            value,
            quantiles: self.quantiles(value, range),
            path: Vec::new(),
            model,
            basis: None,
            skill,
            muted: false,
            models: Vec::new(),
        }
    }

    fn skill(&self) -> Option<Skill> {
        if self.errors.len() < ORIGINS_FOR_SKILL {
            return None;
        }
        let own_error: f64 = self.errors.iter().map(|error| error.abs()).sum();
        let relative_error = if own_error == self.last_value_error {
            1.0 // also where both are zero
        } else {
            own_error / self.last_value_error
        };
        Some(Skill {
            origins: u32::try_from(self.errors.len()).unwrap_or(u32::MAX),
            relative_error,
        })
    }

    /// Split-conformal ranks: of n errors the ⌈0.95·(n+1)⌉-th smallest is above the next one 95 times in 100
    /// (Vovk et al., *Algorithmic Learning in a Random World*, 2005); for the lower edge likewise from below.
    fn quantiles(&mut self, value: f64, range: Range) -> Option<[f64; 5]> {
        let count = self.errors.len();
        if count < ERRORS_FOR_QUANTILES {
            return None;
        }
        self.errors.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| Some(range.clamp(value + self.errors.get(place)?));
        // ⌊0.05·(n+1)⌋ and ⌊0.10·(n+1)⌋ in whole numbers; at least 1 from 19 errors on.
        let (outer, inner) = ((count + 1) / 20, (count + 1) / 10);
        let (low, high) = (at(outer - 1)?, at(count - outer)?);
        let (lower, upper) = (at(inner - 1)?, at(count - inner)?);
        let middle = (at((count - 1) / 2)? + at(count / 2)?) / 2.0;
        let [low, lower] = [low, lower].map(|edge| edge.min(value));
        let [upper, high] = [upper, high].map(|edge| edge.max(value));
        Some([low, lower, middle, upper, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;
    use crate::forecast::Interval;

    fn buckets(values: impl IntoIterator<Item = f64>) -> Vec<Bucket> {
        let values = values.into_iter().zip(0..);
        values
            .map(|(value, n)| Bucket {
                position: f64::from(n),
                value,
            })
            .collect()
    }

    fn forecast(buckets: &[Bucket], error: impl Fn(f64) -> f64) -> Forecast {
        let next = buckets.iter().skip(1).map(|bucket| bucket.value);
        let made = next.zip(0..).map(|(truth, n)| truth - error(f64::from(n)));
        Record::of(buckets, made, 1.0).forecast(500.0, ModelName::Ema, Metric::MemoryMb.range())
    }

    #[test]
    fn evidence_is_never_invented() {
        let ten_origins = forecast(&buckets((0..13).map(f64::from)), |_| 0.5);
        assert_eq!(
            ten_origins.skill,
            Some(Skill {
                origins: 10,
                relative_error: 0.5
            })
        );
        assert_eq!(ten_origins.interval(), None);
        assert_eq!(
            forecast(&buckets((0..12).map(f64::from)), |_| 0.5).skill,
            None
        );
        let twenty_errors = forecast(&buckets((0..23).map(f64::from)), |_| 0.5);
        assert_eq!(
            twenty_errors.interval(),
            Some(Interval {
                lower: 500.0,
                upper: 500.5
            })
        );
    }

    #[test]
    fn the_interval_is_made_of_the_models_own_errors() {
        // 99 errors, −49..=49 in another order: the 5th from either end is the edge.
        let values = buckets((0..102).map(f64::from));
        let interval = forecast(&values, |n| (n - 2.0) * 37.0 % 99.0 - 49.0)
            .interval()
            .unwrap();
        assert_eq!((interval.lower, interval.upper), (455.0, 545.0));
    }

    #[test]
    fn a_moment_that_was_not_measured_checks_nothing() {
        let mut gapped = buckets((0..40).map(f64::from));
        for bucket in gapped.iter_mut().skip(20) {
            bucket.position += 100.0;
        }
        let made = gapped.iter().map(|bucket| bucket.value);
        let record = Record::of(&gapped, made, 3.0);
        assert_eq!(record.errors.len(), 18 - 3 + 17);
    }

    #[test]
    fn where_only_the_model_errs_it_has_no_skill() {
        let flat = buckets(vec![7.0; 40]);
        assert!(!forecast(&flat, |_| 1.0).is_earned());
        assert_eq!(forecast(&flat, |_| 0.0).skill.unwrap().relative_error, 1.0);
    }
}

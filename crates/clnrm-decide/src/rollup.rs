//! Samples of a span of time, folded into one entry.
//!
//! The one arithmetic of rolling up: the history in memory and the store both use it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metrics::{Metric, ServiceMetrics};
use crate::Timestamp;

/// One resolution of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Raw,
    Minute,
    /// One entry per quarter of an hour.
    QuarterHour,
}

impl Tier {
    /// Every tier, finest first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Minute, Self::QuarterHour];

    /// The tiers that hold rollups, finest first.
    pub const ROLLED_UP: [Self; 2] = [Self::Minute, Self::QuarterHour];

    /// The time that one entry spans; `None` for raw samples, which come as they come.
    pub const fn width(self) -> Option<Duration> {
        match self {
            Self::Raw => None,
            Self::Minute => Some(Duration::from_secs(60)),
            Self::QuarterHour => Some(Duration::from_secs(15 * 60)),
        }
    }

    /// The tier whose entries make one of this one.
    pub const fn finer(self) -> Self {
        match self {
            Self::Raw | Self::Minute => Self::Raw,
            Self::QuarterHour => Self::Minute,
        }
    }
}

/// One metric over one [`Rollup`]. Units are those of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    /// The value that was folded in last.
    pub last: f64,
    /// How many samples had this metric; at least 1.
    pub count: u32,
    /// Mean squared distance from the mean, in the metric's unit squared; `None` = values that were rolled up before it
    /// was kept are among them.
    pub variance: Option<f64>,
}

impl Summary {
    pub(super) fn of(value: f64) -> Self {
        Self {
            min: value,
            mean: value,
            max: value,
            last: value,
            count: 1,
            variance: Some(0.0),
        }
    }

    /// Takes in one more value (Welford, Technometrics 4 (1962) 419): equal values leave their mean exactly equal to
    /// them, and the variance exactly 0.
    pub(super) fn fold(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
        let (count, before) = (f64::from(self.count), value - self.mean);
        self.mean += before / count;
        let after = value - self.mean;
        self.variance =
            (self.variance).map(|variance| variance + (before * after - variance) / count);
    }

    /// Takes in what was seen later (Chan, Golub, LeVeque, COMPSTAT 1982).
    pub(super) fn merge(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.last = later.last;
        let share = f64::from(later.count) / f64::from(self.count);
        let apart = later.mean - self.mean;
        self.mean += apart * share;
        let between = apart * apart * share * (1.0 - share);
        let within = self.variance.zip(later.variance);
        self.variance = within.map(|(one, other)| one + (other - one) * share + between);
    }
}

/// All samples of one span of time, folded into one entry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rollup {
    /// Where the span begins: a multiple of the tier's width.
    pub start: Timestamp,
    /// How many samples were folded in.
    pub count: u32,
    /// The most instances that any of them covered.
    pub instances_max: u32,
    summaries: [Option<Summary>; Metric::ALL.len()],
}

impl Rollup {
    /// A span in which nothing has been measured yet.
    pub fn empty(start: Timestamp) -> Self {
        Self {
            start,
            count: 0,
            instances_max: 0,
            summaries: [None; Metric::ALL.len()],
        }
    }

    /// Where the entry of `tier` begins that `at` falls into. Raw samples stand for themselves.
    pub fn bucket_start(tier: Tier, at: Timestamp) -> Timestamp {
        let Some(width) = tier.width() else { return at };
        let width = i64::try_from(width.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(at.as_millis().div_euclid(width).saturating_mul(width))
    }

    /// Adds one sample. The caller has checked that it falls into this span.
    pub fn fold(&mut self, sample: &ServiceMetrics) {
        self.count = self.count.saturating_add(1);
        self.instances_max = self.instances_max.max(sample.instances);
        for (metric, summary) in Metric::ALL.into_iter().zip(&mut self.summaries) {
            match (sample.get(metric), summary) {
                (Some(value), Some(summary)) => summary.fold(value),
                (Some(value), summary) => *summary = Some(Summary::of(value)),
                (None, _) => {}
            }
        }
    }

    /// Adds a finer rollup of a later part of this span.
    pub fn merge(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        self.instances_max = self.instances_max.max(later.instances_max);
        for (summary, later) in self.summaries.iter_mut().zip(&later.summaries) {
            match (summary, later) {
                (Some(summary), Some(later)) => summary.merge(later),
                (summary @ None, later) => *summary = *later,
                (Some(_), None) => {}
            }
        }
    }

    /// What was seen of one metric; `None` = it was not measured in this span.
    pub fn get(&self, metric: Metric) -> Option<Summary> {
        self.summaries.get(metric.index()).copied().flatten()
    }

    /// Replaces what was seen of one metric.
    pub fn set(&mut self, metric: Metric, summary: Option<Summary>) {
        if let Some(slot) = self.summaries.get_mut(metric.index()) {
            *slot = summary;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(number: usize, cpu_percent: Option<f64>) -> ServiceMetrics {
        ServiceMetrics {
            cpu_percent,
            ..ServiceMetrics::at(
                Timestamp::from_millis(0),
                u32::try_from(number % 4).unwrap(),
            )
        }
    }

    fn folded(values: &[Option<f64>]) -> Rollup {
        let mut rollup = Rollup::empty(Timestamp::from_millis(0));
        for (number, value) in values.iter().enumerate() {
            rollup.fold(&sample(number, *value));
        }
        rollup
    }

    #[test]
    fn a_rollup_keeps_min_mean_max_last_count_and_variance() {
        let rollup = folded(&[Some(4.0), None, Some(1.0), Some(7.0)]);
        assert_eq!((rollup.count, rollup.instances_max), (4, 3));
        let expected = Summary {
            min: 1.0,
            mean: 4.0,
            max: 7.0,
            last: 7.0,
            count: 3,
            variance: Some(6.0),
        };
        assert_eq!(rollup.get(Metric::CpuPercent), Some(expected));
        assert_eq!(rollup.get(Metric::MemoryMb), None);
    }

    #[test]
    fn a_variance_that_is_not_known_is_not_known_of_the_whole() {
        let (mut old, new) = (folded(&[Some(1.0), Some(3.0)]), folded(&[Some(5.0)]));
        let unknown = old.get(Metric::CpuPercent).map(|summary| Summary {
            variance: None,
            ..summary
        });
        old.set(Metric::CpuPercent, unknown);
        let mut both = old;
        both.merge(&new);
        let summary = both.get(Metric::CpuPercent).unwrap();
        assert_eq!((summary.mean, summary.variance), (3.0, None));
        old.fold(&sample(0, Some(5.0)));
        let variance = old.get(Metric::CpuPercent).unwrap().variance;
        assert_eq!(variance, None);
    }

    /// The definition, in two passes over the values.
    fn variance(values: &[f64]) -> f64 {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / count
    }

    proptest! {
        /// However the samples are cut into parts, and the parts into parts.
        #[test]
        fn merged_parts_say_what_the_raw_values_say(
            parts in proptest::collection::vec(
                proptest::collection::vec(proptest::option::weighted(0.8, 1e6..1e6 + 100.0), 0..40), 0..12),
        ) {
            let values: Vec<Option<f64>> = parts.iter().flatten().copied().collect();
            let all = folded(&values);
            let mut quarters = Rollup::empty(all.start);
            for minutes in parts.chunks(3) {
                let mut quarter = Rollup::empty(all.start);
                minutes.iter().for_each(|minute| quarter.merge(&folded(minute)));
                quarters.merge(&quarter);
            }
            prop_assert_eq!(quarters.count as usize, values.len());
            let measured: Vec<f64> = values.into_iter().flatten().collect();
            let merged = quarters.get(Metric::CpuPercent);
            prop_assert_eq!(merged.map_or(0, |summary| summary.count as usize), measured.len());
            for summary in [merged, all.get(Metric::CpuPercent)].into_iter().flatten() {
                let mean = measured.iter().sum::<f64>() / measured.len() as f64;
                prop_assert!((summary.mean - mean).abs() < 1e-8);
                // The values are 10 000 times as large as what they differ by: sums of squares would fail here.
                prop_assert!((summary.variance.unwrap() - variance(&measured)).abs() < 1e-5);
                prop_assert!(summary.variance.unwrap() >= 0.0);
                prop_assert_eq!(Some(&summary.last), measured.last());
                prop_assert_eq!(summary.min, measured.iter().copied().fold(f64::MAX, f64::min));
                prop_assert_eq!(summary.max, measured.iter().copied().fold(f64::MIN, f64::max));
            }
        }

        #[test]
        fn equal_values_do_not_vary(value in -1e9..1e9, counts in proptest::collection::vec(1_usize..50, 1..9)) {
            let mut all = Rollup::empty(Timestamp::from_millis(0));
            counts.iter().for_each(|count| all.merge(&folded(&vec![Some(value); *count])));
            let summary = all.get(Metric::CpuPercent).unwrap();
            prop_assert_eq!((summary.mean, summary.variance), (value, Some(0.0)));
        }
    }
}

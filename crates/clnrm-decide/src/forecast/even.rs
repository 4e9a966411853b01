//! From what was measured, as it came, to the even window that models see.
//!
//! Deliberately absent: interpolation. A value that is missing is the one before it for a little while; a longer gap is
//! a seam, and what lies before it counts only where there is too little after it.

use std::time::Duration;

use super::series::{Bucket, buckets_of};
use super::window::FARTHEST_STEP;
use super::{PathStep, Series, StepForecast};
use crate::Timestamp;

/// So many missing values in a row are the value before them: a scrape or two that failed.
const SHORT_GAP: usize = 3;
/// After a longer gap, so many values are enough to judge the models on these alone, at the farthest step.
const ENOUGH_AFTER_GAP: usize = 72;

/// One metric as evenly spaced means, the newest of which ends at the newest sample.
#[derive(Debug)]
pub(super) struct Even {
    /// Oldest first.
    pub(super) values: Vec<f64>,
    /// How many steps the horizon is away, from 1 to [`FARTHEST_STEP`].
    pub(super) steps: u32,
    width: Duration,
    origin: Timestamp,
}

impl Even {
    /// Cuts `series` so finely that the horizon is a whole number of steps, at most [`FARTHEST_STEP`], but not below
    /// its own resolution. `None` = there is no point.
    pub(super) fn cut(series: &Series, horizon: Duration) -> Option<Self> {
        let newest = series.points().last()?.0;
        let horizon_ms = (horizon.as_secs_f64() * 1_000.0).max(1.0);
        // A step of 0 (all points at one time) leads to the finest cut.
        let steps = (horizon_ms / series.step_ms()).clamp(1.0, FARTHEST_STEP.into());
        // A sampling interval a little above its nominal one must not cost a step.
        let steps = (steps + 0.01).floor();
        let width_ms = (horizon_ms / steps).max(series.step_ms()).max(1.0);
        let buckets = buckets_of(series.points(), series.step_ms(), width_ms)?;
        let mut values = joined(&buckets);
        let range = series.metric().range();
        values
            .iter_mut()
            .for_each(|value| *value = range.clamp(*value));
        let behind_ms = series.origin().since(newest).as_secs_f64() * 1_000.0;
        carry(&mut values, (behind_ms / width_ms).floor() as usize);
        Some(Self {
            values,
            steps: steps as u32,
            width: Duration::from_secs_f64(width_ms / 1_000.0),
            origin: series.origin(),
        })
    }

    /// The path that a model answered with; `supported` says whether the quantiles of a step are.
    pub(super) fn path(
        &self,
        steps: &[StepForecast],
        supported: impl Fn(u32) -> bool,
    ) -> Vec<PathStep> {
        let at = |step: &StepForecast| PathStep {
            at: self.origin + self.width * step.step,
            value: step.point,
            quantiles: supported(step.step).then_some(step.quantiles),
        };
        steps.iter().map(at).collect()
    }
}

/// The buckets' values without gaps.
fn joined(buckets: &[Bucket]) -> Vec<f64> {
    let mut values: Vec<f64> = Vec::with_capacity(buckets.len());
    let mut seams = Vec::new();
    let mut expected = 0.0;
    for bucket in buckets {
        let missing = (bucket.position - expected) as usize;
        if missing > SHORT_GAP {
            seams.push(values.len());
        } else {
            carry(&mut values, missing);
        }
        values.push(bucket.value);
        expected = bucket.position + 1.0;
    }
    let enough = |seam: &&usize| values.len() - **seam >= ENOUGH_AFTER_GAP;
    if let Some(&seam) = seams.iter().rev().find(enough) {
        values.drain(..seam);
    }
    values
}

/// Repeats the newest value for a short gap.
fn carry(values: &mut Vec<f64>, missing: usize) {
    if let Some(&newest) = values.last() {
        values.extend(std::iter::repeat_n(newest, missing.min(SHORT_GAP)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    fn even(points: &[(i64, f64)], horizon_s: u64) -> Even {
        let at = |&(second, value): &(i64, f64)| (Timestamp::from_millis(second * 1_000), value);
        let series = Series::new(Metric::MemoryMb, points.iter().map(at).collect());
        Even::cut(&series, Duration::from_secs(horizon_s)).unwrap()
    }

    fn every(step: i64, count: i64) -> Vec<(i64, f64)> {
        (0..count).map(|n| (n * step, n as f64)).collect()
    }

    #[test]
    fn the_horizon_is_a_whole_number_of_steps() {
        for (step, horizon, steps, width) in [
            (1, 300, 12, 25),
            (60, 300, 5, 60),
            (60, 3_600, 12, 300),
            (60, 150, 2, 75),
            (60, 20, 1, 60),
            (15, 300, 12, 25),
        ] {
            let even = even(&every(step, 500), horizon);
            assert_eq!(
                (even.steps, even.width),
                (steps, Duration::from_secs(width)),
                "{step} s, {horizon} s"
            );
        }
    }

    #[test]
    fn values_are_means_and_the_newest_ends_at_the_newest_sample() {
        let even = even(&every(1, 100), 24);
        assert_eq!(even.values.len(), 50);
        assert_eq!(even.values.last(), Some(&98.5));
        let step = StepForecast {
            step: 12,
            point: 7.0,
            quantiles: [7.0; 5],
        };
        let path = even.path(&[step], |_| false);
        assert_eq!(path[0].at, Timestamp::from_millis(99_000 + 24_000));
        assert_eq!(path[0].quantiles, None);
    }

    #[test]
    fn a_short_gap_repeats_the_value_before_it() {
        let mut points = every(60, 10);
        points.drain(4..7);
        assert_eq!(
            even(&points, 60).values,
            [0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 7.0, 8.0, 9.0]
        );
    }

    #[test]
    fn after_a_long_gap_the_older_part_counts_only_where_it_is_needed() {
        let runs = |after: i64| -> Vec<(i64, f64)> {
            let old = (0..200).map(|n| (n, 1_000.0));
            old.chain((0..after).map(|n| (90_000 + n, 10.0))).collect()
        };
        assert_eq!(even(&runs(72), 1).values, vec![10.0; 72]);
        assert_eq!(even(&runs(71), 1).values.len(), 271);
    }

    #[test]
    fn a_metric_that_is_absent_lately_is_repeated_for_a_little_while() {
        let points = every(60, 5).into_iter();
        let at = points.map(|(second, value)| (Timestamp::from_millis(second * 1_000), value));
        let series = Series::new(Metric::MemoryMb, at.collect());
        let cut = |minutes: i64| {
            let series = series
                .clone()
                .counted_from(Timestamp::from_millis((4 + minutes) * 60_000));
            Even::cut(&series, Duration::from_secs(60)).unwrap().values
        };
        assert_eq!(cut(1), [0.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
        assert_eq!(cut(600).len(), 5 + SHORT_GAP);
    }

    #[test]
    fn equal_times_make_one_value() {
        assert_eq!(even(&[(7, 1.0), (7, 3.0)], 60).values, [2.0]);
    }
}

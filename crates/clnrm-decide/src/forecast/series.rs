//! One metric over time, and the even buckets that models work on.
//!
//! Deliberately absent: filling gaps. A bucket without samples does not exist; its neighbours know how far apart they are.

use crate::Metric;
use crate::Timestamp;

/// One metric of one service over time, at one tier's resolution.
#[derive(Debug, Clone)]
pub struct Series {
    metric: Metric,
    /// Oldest first, finite.
    points: Vec<(Timestamp, f64)>,
    /// Horizons are counted from here.
    origin: Timestamp,
    /// The usual distance of two points, in milliseconds; 0 when there are fewer than two.
    step_ms: f64,
}

impl Series {
    /// A series of `points` (time, value), whose horizons count from the newest. Values that are not finite are left out.
    pub fn new(metric: Metric, mut points: Vec<(Timestamp, f64)>) -> Self {
        points.retain(|point| point.1.is_finite());
        if !points.is_sorted_by_key(|point| point.0) {
            points.sort_by_key(|point| point.0);
        }
        Self {
            metric,
            origin: points.last().map(|point| point.0).unwrap_or_default(),
            step_ms: usual_distance_ms(&points),
            points,
        }
    }

    /// Horizons count from `origin` instead: a rollup's point lies before the newest sample in it, or after.
    #[must_use]
    pub fn counted_from(self, origin: Timestamp) -> Self {
        Self { origin, ..self }
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Its points, oldest first.
    pub(super) fn points(&self) -> &[(Timestamp, f64)] {
        &self.points
    }

    /// The moment that horizons count from.
    pub(super) fn origin(&self) -> Timestamp {
        self.origin
    }

    /// The usual distance of two points, in milliseconds; 0 when there are fewer than two.
    pub(super) fn step_ms(&self) -> f64 {
        self.step_ms
    }
}

/// The mean distance of neighbours, without those beyond 1.5 medians: a night between two runs must not pass for the
/// sampling interval, and the median alone drifts off a jittered clock.
fn usual_distance_ms(points: &[(Timestamp, f64)]) -> f64 {
    let pairs = points.iter().zip(points.iter().skip(1));
    let distances = pairs.map(|(a, b)| b.0.as_millis().saturating_sub(a.0.as_millis()));
    let (shortest, mut longest) = distances.clone().fold((i64::MAX, 0), |(least, most), ms| {
        (least.min(ms), most.max(ms))
    });
    if longest > with_half(shortest) {
        // Only then can any distance be beyond 1.5 medians.
        let mut sorted: Vec<i64> = distances.clone().collect();
        let middle = sorted.len().saturating_sub(1) / 2;
        longest = with_half(*sorted.select_nth_unstable(middle).1);
    }
    let (sum, count) = distances
        .filter(|&ms| ms <= longest)
        .fold((0.0, 0.0), |(sum, count), ms| {
            (sum + ms as f64, count + 1.0)
        });
    if count > 0.0 { sum / count } else { 0.0 }
}

fn with_half(ms: i64) -> i64 {
    ms.saturating_add(ms / 2)
}

/// The mean of the points that fell into one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    /// Buckets since the oldest one; whole, and increasing along a series.
    pub(super) position: f64,
    /// In the metric's unit.
    pub(super) value: f64,
}

/// The means of buckets that are `width` milliseconds wide; the newest ends half a step after the newest point.
pub(super) fn buckets_of(
    points: &[(Timestamp, f64)],
    step_ms: f64,
    width: f64,
) -> Option<Vec<Bucket>> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let age = |at: Timestamp| {
        let behind = last.as_millis().saturating_sub(at.as_millis()) as f64;
        // Not negative, so cutting off the fraction is rounding down, without a call on processors that cannot round.
        ((behind + step_ms / 2.0) / width) as i64 as f64
    };
    let oldest = age(first);
    let mut buckets: Vec<Bucket> = Vec::with_capacity(points.len());
    let mut open = Mean::default();
    let mut open_age = oldest;
    for &(at, value) in points {
        let age = age(at);
        if age != open_age {
            buckets.push(open.bucket(oldest - open_age));
            (open, open_age) = (Mean::default(), age);
        }
        open.add(value);
    }
    buckets.push(open.bucket(oldest - open_age));
    Some(buckets)
}

/// A mean that is exact for equal values, because it sums their distances from the first.
#[derive(Debug, Default)]
struct Mean {
    first: f64,
    excess: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        if self.count == 0.0 {
            self.first = value;
        }
        self.excess += value - self.first;
        self.count += 1.0;
    }

    fn bucket(&self, position: f64) -> Bucket {
        Bucket {
            position,
            value: self.first + self.excess / self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(i64, f64)]) -> Series {
        let at = |&(millis, value): &(i64, f64)| (Timestamp::from_millis(millis), value);
        Series::new(Metric::CpuPercent, points.iter().map(at).collect())
    }

    fn buckets(points: &[(i64, f64)], width_ms: f64) -> Vec<Bucket> {
        let series = series(points);
        buckets_of(
            series.points(),
            series.step_ms(),
            width_ms.max(series.step_ms()),
        )
        .unwrap()
    }

    #[test]
    fn a_bucket_is_the_mean_of_what_fell_into_it() {
        let points: Vec<_> = (0..600).map(|n| (n * 1000, n as f64)).collect();
        let buckets = buckets(&points, 6_000.0);
        assert_eq!(buckets.len(), 100);
        assert_eq!(buckets.last().unwrap().value, 596.5);
    }

    #[test]
    fn a_jittered_clock_neither_joins_nor_skips_buckets() {
        let points: Vec<_> = (0..200)
            .map(|n| (n * 1000 + [0, 90, -80, 30][n as usize % 4], 1.0))
            .collect();
        let buckets = buckets(&points, 1_000.0);
        assert_eq!(buckets.len(), 200);
        assert_eq!(buckets.last().unwrap().position, 199.0);
    }

    #[test]
    fn a_gap_leaves_a_distance_and_no_bucket() {
        let points: Vec<_> = (0..100).chain(400..500).map(|n| (n * 1000, 1.0)).collect();
        let buckets = buckets(&points, 1_000.0);
        assert_eq!(buckets.len(), 200);
        let positions: Vec<f64> = buckets.iter().map(|bucket| bucket.position).collect();
        assert_eq!((positions[99], positions[100]), (99.0, 400.0));
    }

    #[test]
    fn irregular_equal_and_unsorted_times_are_survived() {
        let points = [(5_000, 2.0), (0, 1.0), (5_000, 4.0), (5_001, f64::NAN)];
        let made = buckets(&points, 3_000.0);
        assert_eq!(made.last().unwrap().value, 3.0);
        assert_eq!(buckets(&[(7, 1.0), (7, 3.0)], 1_000.0).len(), 1);
    }
}

//! What each tier keeps, and which one is forecast from.

use super::*;
use crate::rolled_up::rolled_up;

fn sample(seconds: i64, cpu_percent: Option<f64>) -> ServiceMetrics {
    ServiceMetrics {
        cpu_percent,
        ..ServiceMetrics::at(Timestamp::from_millis(seconds * 1000), 1)
    }
}

fn history(seconds: impl Iterator<Item = i64>) -> MetricsHistory {
    let samples = seconds.map(|second| sample(second, Some(second as f64)));
    rolled_up(samples.collect())
}

#[test]
fn every_tier_keeps_at_most_its_capacity_and_drops_the_oldest() {
    let history = history((0..1_500).map(|n| n * 900));
    for tier in Tier::ALL {
        let series = history.series(Metric::CpuPercent, tier);
        assert_eq!(series.len(), TIER_CAPACITY, "{tier:?}");
        assert_eq!(series.last().unwrap().1, 1_499.0 * 900.0);
        assert_eq!(series.first().unwrap().1, 500.0 * 900.0);
    }
}

#[test]
fn gaps_survive_in_every_tier() {
    let mut samples: Vec<_> = (0..60).map(|n| sample(n, Some(n as f64))).collect();
    samples.extend([sample(70, None), sample(300, Some(3.0))]);
    let history = rolled_up(samples);
    let raw = history.series(Metric::CpuPercent, Tier::Raw);
    assert_eq!(raw.len(), 61);
    let minutes = history.series(Metric::CpuPercent, Tier::Minute);
    let at: Vec<i64> = minutes.iter().map(|point| point.0.as_millis()).collect();
    assert_eq!(at, [30_000, 330_000]);
}

#[test]
fn a_late_sample_is_put_where_it_belongs() {
    let history = history([0, 2, 61, 1].into_iter());
    let raw = history.series(Metric::CpuPercent, Tier::Raw);
    assert!(raw.is_sorted_by_key(|point| point.0), "{raw:?}");
    assert_eq!(history.latest().unwrap().cpu_percent, Some(61.0));
    assert_eq!(
        history.series(Metric::CpuPercent, Tier::Minute),
        [
            (Timestamp::from_millis(30_000), 1.0),
            (Timestamp::from_millis(90_000), 61.0)
        ]
    );
}

#[test]
fn stored_parts_may_come_unsorted() {
    let parts = vec![sample(5, Some(5.0)), sample(1, None), sample(3, Some(3.0))];
    let rollups = vec![
        Rollup::empty(Timestamp::from_millis(60_000)),
        Rollup::empty(Timestamp::from_millis(0)),
    ];
    let history = MetricsHistory::from_parts(parts, rollups, Vec::new());
    let seconds: Vec<i64> = history
        .samples()
        .map(|sample| sample.sampled_at.as_millis() / 1000)
        .collect();
    assert_eq!(seconds, [1, 3, 5]);
    assert!(
        history
            .rollups(Tier::Minute)
            .is_sorted_by_key(|rollup| rollup.start)
    );
}

#[test]
fn a_horizon_uses_the_finest_tier_that_covers_four_of_it() {
    let history = history(0..7_200);
    let minutes = |minutes: u64| history.tier_for_horizon(Duration::from_secs(60 * minutes));
    assert_eq!(minutes(4), Tier::Raw);
    assert_eq!(minutes(5), Tier::Minute);
    assert_eq!(minutes(29), Tier::Minute);
    assert_eq!(
        minutes(600),
        Tier::Minute,
        "no tier covers it: the longest span"
    );
}

#[test]
fn two_samples_around_a_full_minute_do_not_span_minutes() {
    let history = history([59, 60, 61].into_iter());
    assert_eq!(
        history.tier_for_horizon(Duration::from_secs(300)),
        Tier::Raw
    );
}

#[test]
fn recent_samples_include_the_one_before_the_window() {
    let history = history(0..100);
    let recent = history.recent(Duration::from_secs(10), Timestamp::from_millis(99_000));
    assert_eq!(recent.first().unwrap().cpu_percent, Some(88.0));
    assert_eq!(recent.len(), 12);
}

#[test]
fn the_peak_is_remembered_after_the_raw_sample_is_gone() {
    let load = |second| if second == 0 { 99.0 } else { 1.0 };
    let samples = (0..=1_000).map(|second| sample(second, Some(load(second))));
    let history = rolled_up(samples.collect());
    assert_eq!(history.peak(Metric::CpuPercent), Some(99.0));
    assert_eq!(history.peak(Metric::MemoryMb), None);
}

//! Limits that are coming, limits that are not, and what must not be said about either.

use super::*;
use crate::rolled_up::rolled_up;
use crate::{
    Allotment, AutoScaleConfig, Fleet, HealthLimits, LimitedMemory, MetricsHistory, ServiceMetrics,
};

const HORIZON: Duration = Duration::from_secs(300);

/// One sample every ten seconds.
fn history(count: i64, load: impl Fn(f64) -> (f64, f64)) -> MetricsHistory {
    let mut made = Vec::new();
    for n in 0..count {
        let mut sample = ServiceMetrics::at(Timestamp::from_millis(n * 10_000), 1);
        let (memory, requests) = load(n as f64 / 6.0);
        sample.memory_mb = Some(memory);
        sample.request_rate = Some(requests);
        made.push(sample);
    }
    rolled_up(made)
}

fn alerts_of(history: &MetricsHistory, memory_limit_mb: f64, instances: u32) -> Vec<Alert> {
    let scale = AutoScaleConfig::default();
    let service = ManagedService {
        name: "api",
        history,
        scale: &scale,
        limits: HealthLimits {
            memory_limit_mb,
            ..HealthLimits::default()
        },
        allotment: Allotment::default(),
        fleet: Fleet {
            instances,
            ..Fleet::default()
        },
        memory: LimitedMemory::default(),
        pool: None,
    };
    let auto = Auto::default();
    let prediction = LoadPrediction::of(&LoadPrediction::METRICS, history, HORIZON, &auto).unwrap();
    alerts(&service, &prediction, &auto)
}

fn minutes(duration: Option<Duration>) -> f64 {
    duration.unwrap().as_secs_f64() / 60.0
}

/// 2 MB a minute, with something on top that does not repeat soon.
fn leak(minute: f64) -> (f64, f64) {
    let wobble = (minute * 7.3).sin() + (minute * 3.1).cos();
    (400.0 + 2.0 * minute + wobble, 20.0)
}

#[test]
fn a_leak_is_announced_with_the_time_that_is_left() {
    let history = history(1_000, leak);
    let newest = history.latest().unwrap().memory_mb.unwrap();
    for left in [4.0, 23.0] {
        let alerts = alerts_of(&history, newest + 2.0 * left, 1);
        let [alert] = alerts.as_slice() else {
            panic!("{alerts:?}")
        };
        assert_eq!(
            (alert.kind, alert.metric),
            (LimitKind::Metric, Metric::MemoryMb)
        );
        assert!(alert.is_earned, "{alert:?}");
        let reached = minutes(alert.reached_in);
        assert!((reached - left).abs() < 0.25 * left, "{left}: {alert:?}");
        assert!(minutes(alert.earliest) <= reached, "{alert:?}");
        assert!(
            alert
                .latest
                .is_none_or(|latest| minutes(Some(latest)) >= reached)
        );
    }
}

#[test]
fn beyond_the_reach_nothing_is_said() {
    // 167 minutes of history reach 27 minutes ahead.
    let history = history(1_000, leak);
    let newest = history.latest().unwrap().memory_mb.unwrap();
    assert_eq!(alerts_of(&history, newest + 2.0 * 60.0, 1), []);
    assert_eq!(alerts_of(&history, newest + 2_000.0, 1), []);
}

#[test]
fn what_is_at_its_limit_needs_no_forecast() {
    let history = history(3, |_| (512.0, 1.0));
    let alerts = alerts_of(&history, 500.0, 1);
    let [alert] = alerts.as_slice() else {
        panic!("{alerts:?}")
    };
    assert_eq!(
        (alert.reached_in, alert.model),
        (Some(Duration::ZERO), None)
    );
}

#[test]
fn a_forecast_that_is_muted_says_nothing() {
    // Levels that stay for a while, then change: nothing beats the last value. The limit is a hair away.
    let mut state = 1_u32;
    let mut level = 500.0;
    let mut levels = Vec::new();
    for n in 0..1_000 {
        if n % 170 == 0 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            level += f64::from(state >> 8) / f64::from(1 << 20) - 8.0;
        }
        levels.push(level);
    }
    let history = history(1_000, |minute| {
        (levels[(minute * 6.0).round() as usize], 1.0)
    });
    let newest = levels[999];
    let prediction = LoadPrediction::of(
        &LoadPrediction::METRICS,
        &history,
        HORIZON,
        &Auto::default(),
    )
    .unwrap();
    assert!(prediction.get(Metric::MemoryMb).unwrap().muted);
    assert_eq!(alerts_of(&history, newest + 0.1, 1), []);
}

#[test]
fn growing_load_will_need_more_than_the_most_instances() {
    let history = history(1_000, |minute| {
        (50.0, 550.0 + 2.5 * minute + (minute * 7.3).sin())
    });
    // 966 requests/s now; ten instances take 1000.
    let alerts = alerts_of(&history, 1_024.0, 8);
    let [alert] = alerts.as_slice() else {
        panic!("{alerts:?}")
    };
    assert_eq!(alert.kind, LimitKind::Instances { max: 10 });
    assert_eq!((alert.metric, alert.limit), (Metric::RequestRate, 1_000.0));
    let reached = minutes(alert.reached_in);
    assert!((reached - 13.5).abs() < 4.0, "{alert:?}");
    assert_eq!(alerts_of(&history, 1_024.0, 0), [], "a stopped service");
}

//! What the decisions cost: `cargo bench -p clnrm-decide --bench decisions`.

#![allow(missing_docs, clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use clnrm_decide::{
    Allotment, Auto, AutoScaleConfig, Fleet, HealthLimits, LimitedMemory, LoadPrediction,
    ManagedService, Metric, MetricsHistory, PoolDemand, PoolReport, Requested, ResourcePool,
    Rollup, ScalingInputs, Series, ServiceManager, ServiceMetrics, Tier, Timestamp, decide,
};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../tests/decisions/rolled_up.rs"]
mod rolled_up;

const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// A thousand samples, `step` seconds apart.
fn history(step: i64) -> MetricsHistory {
    let sample = |n: i64| {
        let wave = (n * 37 % 101) as f64 / 101.0;
        ServiceMetrics {
            cpu_percent: Some(40.0 + 20.0 * wave),
            memory_mb: Some(300.0 + wave),
            request_rate: Some(75.0 + 10.0 * wave),
            response_time_ms: Some(12.0 + wave),
            error_rate: Some(0.01 * wave),
            ..ServiceMetrics::at(Timestamp::from_millis(n * step * 1_000), 1)
        }
    };
    rolled_up::rolled_up((0..1_000).map(sample).collect())
}

fn prediction(criterion: &mut Criterion) {
    for step in [1, 60] {
        let history = history(step);
        let series = Series::new(
            Metric::CpuPercent,
            history.series(Metric::CpuPercent, Tier::Raw),
        );
        criterion.bench_function(
            &format!("prediction/tournament on 1000 samples every {step} s"),
            |bencher| bencher.iter(|| Auto::default().forecast(black_box(&series), FIVE_MINUTES)),
        );
        criterion.bench_function(
            &format!("prediction/five tournaments on 1000 samples every {step} s"),
            |bencher| bencher.iter(|| predict(black_box(&history))),
        );
    }
}

fn predict(history: &MetricsHistory) -> LoadPrediction {
    let metrics = &LoadPrediction::METRICS;
    LoadPrediction::of(metrics, history, FIVE_MINUTES, &Auto::default()).expect("enough data")
}

fn scaling(criterion: &mut Criterion) {
    let config = AutoScaleConfig::default();
    let idle = |n: i64| ServiceMetrics {
        cpu_percent: Some(5.0),
        memory_mb: Some(40.0),
        request_rate: Some(20.0),
        ..ServiceMetrics::at(Timestamp::from_millis(n * 1_000), 2)
    };
    let samples: Vec<ServiceMetrics> = (0..=60).map(idle).collect();
    let prediction = predict(&history(1));
    let fleet = Fleet {
        instances: 2,
        ..Fleet::default()
    };
    let now = Timestamp::from_millis(60_000);
    criterion.bench_function("scaling decision on a window of 60 samples", |bencher| {
        bencher.iter(|| {
            let samples = black_box(&samples);
            let prediction = Some(&prediction);
            decide(ScalingInputs::gather(
                &config,
                samples,
                prediction,
                fleet.clone(),
                now,
            ))
        });
    });
}

fn everything(criterion: &mut Criterion) {
    for step in [1, 60] {
        let (history, scale) = (history(step), AutoScaleConfig::default());
        let service = ManagedService {
            name: "service",
            history: &history,
            scale: &scale,
            limits: HealthLimits::default(),
            allotment: Allotment::default(),
            fleet: Fleet {
                instances: 2,
                ..Fleet::default()
            },
            memory: LimitedMemory::default(),
            pool: Some(PoolReport {
                instances: ResourcePool::default(),
                demand: PoolDemand::default(),
                warm: None,
            }),
        };
        let requested = Requested {
            horizon: FIVE_MINUTES,
            predict_load: true,
            auto_scale: true,
            optimize_resources: true,
        };
        let now = Timestamp::from_millis(999 * step * 1_000);
        criterion.bench_function(
            &format!("assess with everything, 1000 samples every {step} s"),
            |bencher| {
                bencher.iter(|| ServiceManager { requested, now }.assess(black_box(&service)));
            },
        );
    }
}

criterion_group!(benches, prediction, scaling, everything);
criterion_main!(benches);

//! What the decisions cost: `cargo bench -p clnrm-decide --bench decisions`.

#![allow(missing_docs, clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use clnrm_decide::Timestamp;
use clnrm_decide::{
    Allotment, Auto, AutoScaleConfig, Ema, Fleet, HealthLimits, LimitedMemory, LoadPrediction,
    Metric, MetricsHistory, PoolCounts, PoolDemand, Requested, ScalingInputs, Series,
    SeriesForecaster, ServiceMetrics, ServiceView, Tier, assess, decide,
};
use criterion::{Criterion, criterion_group, criterion_main};

const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// A thousand samples, `step` seconds apart.
fn history(step: i64) -> MetricsHistory {
    let mut history = MetricsHistory::new();
    for n in 0..1_000_i64 {
        let wave = (n * 37 % 101) as f64 / 101.0;
        history.push(ServiceMetrics {
            cpu_percent: Some(40.0 + 20.0 * wave),
            memory_mb: Some(300.0 + wave),
            request_rate: Some(75.0 + 10.0 * wave),
            response_time_ms: Some(12.0 + wave),
            error_rate: Some(0.01 * wave),
            ..ServiceMetrics::at(Timestamp::from_millis(n * step * 1_000), 1)
        });
    }
    history
}

fn prediction(criterion: &mut Criterion) {
    for step in [1, 60] {
        let history = history(step);
        criterion.bench_function(
            &format!("prediction/series and value of 1000 samples every {step} s"),
            |bencher| {
                let points = history.series(Metric::CpuPercent, Tier::Raw);
                bencher.iter(|| {
                    let series = Series::new(Metric::CpuPercent, black_box(points.clone()));
                    Ema.value(&series, FIVE_MINUTES)
                });
            },
        );
        let series = Series::new(
            Metric::CpuPercent,
            history.series(Metric::CpuPercent, Tier::Raw),
        );
        let mut value = |name: &str, horizon| {
            criterion.bench_function(
                &format!("prediction/{name} of 1000 samples every {step} s"),
                |bencher| {
                    bencher.iter(|| Ema.value(black_box(&series), horizon));
                },
            );
        };
        value("value", FIVE_MINUTES);
        value("value, widest grid,", Duration::from_secs(1));
        criterion.bench_function(
            &format!("prediction/value, interval and skill of 1000 samples every {step} s"),
            |bencher| bencher.iter(|| Ema.forecast(black_box(&series), FIVE_MINUTES)),
        );
        criterion.bench_function(
            &format!("prediction/tournament on 1000 samples every {step} s"),
            |bencher| bencher.iter(|| Auto.forecast(black_box(&series), FIVE_MINUTES)),
        );
        criterion.bench_function(
            &format!("prediction/five tournaments on 1000 samples every {step} s"),
            |bencher| bencher.iter(|| LoadPrediction::of(black_box(&history), FIVE_MINUTES, &Auto)),
        );
        criterion.bench_function(
            &format!("prediction/five metrics of 1000 samples every {step} s"),
            |bencher| bencher.iter(|| LoadPrediction::of(black_box(&history), FIVE_MINUTES, &Ema)),
        );
    }
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
    let prediction = LoadPrediction::of(&history(1), FIVE_MINUTES, &Auto).expect("enough data");
    let inputs = ScalingInputs {
        config: &config,
        samples: &samples,
        prediction: Some(&prediction),
        instances: 2,
        leased: 0,
        newest_start: None,
        past_actions: &[],
        instance_cap: None,
        now: Timestamp::from_millis(60_000),
    };
    criterion.bench_function("scaling decision on a window of 60 samples", |bencher| {
        bencher.iter(|| decide(black_box(&inputs)));
    });
}

fn everything(criterion: &mut Criterion) {
    for step in [1, 60] {
        let (history, scale) = (history(step), AutoScaleConfig::default());
        let view = ServiceView {
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
            pool: Some((PoolCounts::default(), PoolDemand::default())),
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
                bencher.iter(|| assess(black_box(&view), &requested, now));
            },
        );
    }
}

criterion_group!(benches, prediction, scaling, everything);
criterion_main!(benches);

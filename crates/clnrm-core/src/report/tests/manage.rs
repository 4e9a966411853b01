//! The `ai-manage` report of the specification's own examples, made of the records of a pass.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{NOW, milliseconds};
use crate::manage::{ManagePass, PassedService, ScalingOutcome};
use crate::report::human::manage::manage;
use crate::report::human::tests::{PLAIN, VERBOSE, rendered};
use crate::report::manage::document::ManageReport;
use crate::services::service_manager::cost::{CpuSize, RightSize, SavingsBasis};
use crate::services::service_manager::forecast::{Basis, ModelName, ModelScore};
use crate::services::service_manager::{
    Assessment, AutoScaleConfig, CostKind, CostRecommendation, Fleet, Forecast, Health,
    HealthStatus, LoadPrediction, Metric, PathStep, PoolDemand, PoolReport, ResourcePool,
    ScalingDecision, ScalingInputs, ServiceMetrics, Skill, Source, Sources, Tier, decide,
};

const HORIZON: Duration = Duration::from_secs(300);

pub(super) fn pass(services: Vec<PassedService>) -> ManagePass {
    ManagePass {
        generated_at: NOW,
        horizon: HORIZON,
        dry_run: false,
        currency: None,
        services,
        recommendations: None,
    }
}

/// The specification's service, measured and nothing else.
pub(super) fn service(name: &str) -> PassedService {
    let mut sources = Sources::default();
    sources.set(Metric::CpuPercent, Ok(Source::Procfs));
    PassedService {
        name: name.to_owned(),
        file: None,
        instances: 1,
        assessment: Assessment {
            current: Some(sample(45.2)),
            current_health: health(78.5, HealthStatus::Healthy),
            prediction: None,
            predicted_health: None,
            alerts: vec![],
            memory: None,
            scaling: None,
            pool: None,
            recommendations: vec![],
        },
        sources,
        impaired: vec![],
        scaling: None,
    }
}

pub(super) fn sample(cpu_percent: f64) -> ServiceMetrics {
    ServiceMetrics {
        cpu_percent: Some(cpu_percent),
        memory_mb: Some(312.0),
        memory_total_mb: Some(312.0),
        active_connections: Some(12.0),
        request_rate: Some(75.3),
        error_rate: Some(0.0),
        ..ServiceMetrics::at(NOW, 1)
    }
}

pub(super) fn health(score: f64, status: HealthStatus) -> Health {
    Health {
        score: Some(score),
        status,
        used: vec![Metric::CpuPercent, Metric::MemoryMb, Metric::ErrorRate],
    }
}

pub(super) fn predicted(value: f64, (lower, upper): (f64, f64), better_percent: f64) -> Forecast {
    let muted = better_percent <= 0.0;
    let relative_error = 1.0 - better_percent / 100.0;
    let score = |model, relative_error| ModelScore {
        model,
        relative_error,
    };
    let mut models = vec![
        score(ModelName::Ses, relative_error),
        score(ModelName::LastValue, 1.0),
    ];
    if muted {
        models.reverse();
    }
    Forecast {
        quantiles: Some([lower, lower, value, upper, upper]),
        model: if muted {
            ModelName::LastValue
        } else {
            ModelName::Ses
        },
        basis: Some(Basis::Tournament),
        muted,
        skill: Some(Skill {
            origins: 40,
            relative_error,
        }),
        models,
        ..unjudged(value)
    }
}

/// From too little history for more.
pub(super) fn unjudged(value: f64) -> Forecast {
    let step = PathStep {
        at: NOW + Duration::from_secs(25),
        value,
        quantiles: None,
    };
    Forecast {
        value,
        quantiles: None,
        path: vec![step],
        model: ModelName::LastValue,
        basis: Some(Basis::TooShort),
        muted: false,
        skill: None,
        models: vec![],
    }
}

pub(super) fn prediction(forecasts: BTreeMap<Metric, Forecast>) -> LoadPrediction {
    LoadPrediction {
        horizon: HORIZON,
        tier: Tier::Minute,
        history: Duration::from_secs(7_200),
        at: NOW + HORIZON,
        instances: 1,
        forecasts,
        not_enough_data: BTreeMap::new(),
        left_out: BTreeMap::new(),
    }
}

pub(super) fn with_prediction(mut service: PassedService) -> PassedService {
    let forecasts = [
        (Metric::CpuPercent, predicted(52.8, (49.0, 57.1), 12.0)),
        (Metric::MemoryMb, predicted(356.0, (340.0, 371.0), -8.4)),
        (Metric::RequestRate, unjudged(89.1)),
    ];
    service.assessment.prediction = Some(Ok(prediction(forecasts.into())));
    service.assessment.predicted_health = Some(health(74.0, HealthStatus::Healthy));
    service
}

/// What is decided about instances that use so much CPU for a minute.
pub(super) fn decision(instances: u32, cpu_percent: f64) -> ScalingDecision {
    let samples: Vec<ServiceMetrics> = (0..=70)
        .map(|ago| ServiceMetrics {
            sampled_at: NOW - Duration::from_secs(70 - ago),
            instances,
            memory_mb: Some(80.0),
            request_rate: None,
            ..sample(cpu_percent)
        })
        .collect();
    let fleet = Fleet {
        instances,
        ..Fleet::default()
    };
    let config = AutoScaleConfig::default();
    decide(ScalingInputs::gather(&config, &samples, None, fleet, NOW))
}

pub(super) fn scaled(
    mut service: PassedService,
    decision: ScalingDecision,
    outcome: ScalingOutcome,
) -> PassedService {
    service.instances = decision.from;
    service.assessment.scaling = Some(decision);
    service.scaling = Some(outcome);
    service
}

pub(super) fn done(instances_after: u32) -> ScalingOutcome {
    ScalingOutcome {
        performed: true,
        took: Some(milliseconds(38)),
        instances_after: Some(instances_after),
        error: None,
    }
}

pub(super) fn pool(available: u32, in_use: u32) -> PoolReport {
    PoolReport {
        instances: ResourcePool { available, in_use },
        demand: PoolDemand::default(),
        warm: None,
    }
}

fn recommendation(name: &str, kind: CostKind, percent: f64, priority: u8) -> CostRecommendation {
    CostRecommendation {
        service_name: name.to_owned(),
        kind,
        estimated_savings_percent: percent,
        priority,
        basis: SavingsBasis::RuleOfThumb,
        right_size: None,
        money_per_month: None,
    }
}

fn everything() -> ManagePass {
    let postgres = with_prediction(service("postgres"));
    let mut postgres = scaled(postgres, decision(1, 185.2), done(3));
    postgres.assessment.pool = Some(pool(3, 2));
    let mut redis = scaled(
        service("redis"),
        decision(1, 45.2),
        ScalingOutcome::default(),
    );
    redis.assessment.pool = Some(PoolReport {
        demand: PoolDemand {
            leases: 20,
            usually_leased: Some(2.0),
            arrivals_per_second: Some(0.5),
            start_time: Some(milliseconds(40)),
        },
        ..pool(4, 1)
    });
    let nginx = scaled(
        service("nginx"),
        decision(1, 65.0),
        ScalingOutcome::default(),
    );
    ManagePass {
        recommendations: Some(vec![
            recommendation("redis", CostKind::Downsize, 30.0, 5),
            recommendation("worker-queue", CostKind::ServerlessMigration, 40.0, 4),
        ]),
        ..pass(vec![postgres, redis, nginx])
    }
}

pub(super) fn text_of(pass: &ManagePass) -> String {
    rendered(|out| manage(out, &ManageReport::of(pass), PLAIN))
}

pub(super) fn verbose_text_of(pass: &ManagePass) -> String {
    rendered(|out| manage(out, &ManageReport::of(pass), VERBOSE))
}

#[test]
fn every_part_together() {
    let text = text_of(&everything());
    insta::assert_snapshot!(text, @r#"
    🤖 AI Service Management
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    📊 Collecting service metrics...
      ✓ postgres - CPU: 45.2%, Memory: 312MB, RPS: 75.3
      ✓ redis - CPU: 45.2%, Memory: 312MB, RPS: 75.3
      ✓ nginx - CPU: 45.2%, Memory: 312MB, RPS: 75.3

    🔮 Load Prediction (5min horizon):
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
      📦 postgres
         CPU: 45.2% → 52.8%  (90%: 49.0–57.1, ses, 12% better than last value)
         Memory: 312MB → 356MB  (90%: 340–371, last value (mean of 25 s), forecast muted: 8 % worse than last value over 40 origins)
         RPS: 75.3 → 89.1  (last value (mean of 25 s), not yet judged: too few samples)
         Health Score: 78.5/100  (from cpu, memory, errors)
         Predicted Health: ✅ Healthy  (74.0/100)

    ⚡ Auto-Scaling Analysis:
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
      📈 postgres - Scale UP by 2 instance(s)
         Reason: High resource utilization detected (CPU 185.2% > 70%)
         Done: 1 → 3 instances in 38 ms
      ✓ redis - No scaling needed  (Holding: all measured load is within the thresholds)
      ✓ nginx - No scaling needed  (Holding: CPU 65.0% is within 10 % of 70%)

    🎯 Resource Optimization:
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
      📦 postgres Resource Pool:
         Size: 3 available, 2 in-use
         Utilization: 40.0%
      📦 redis Resource Pool:
         Size: 4 available, 1 in-use
         Utilization: 20.0%
         💡 Consider reducing pool size (low utilization)
         Advised size: 3  (95th percentile of concurrent leases, resets included: 2 of 20 leases; plus 0.500 leases/s × 40 ms start time = 2.02, rounded up)

    💰 Cost Optimization Recommendations:
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
      1. redis - Downsize (Priority: 5/5)
         Service is significantly under-utilized. Consider reducing instance size.
         💰 Estimated savings: 30%  (rule of thumb)

      2. worker-queue - Serverless Migration (Priority: 4/5)
         Low consistent load. Consider migrating to serverless architecture.
         💰 Estimated savings: 40%  (rule of thumb)
    "#);
}

/// Each line of the specification's examples is the beginning of a line of ours, in the same order.
#[test]
fn the_lines_of_the_specification_are_all_there() {
    let expected = [
        "🤖 AI Service Management",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "📊 Collecting service metrics...",
        "  ✓ postgres - CPU: 45.2%, Memory: 312MB, RPS: 75.3",
        "🔮 Load Prediction (5min horizon):",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "  📦 postgres",
        "     CPU: 45.2% → 52.8%",
        "     Memory: 312MB → 356MB",
        "     RPS: 75.3 → 89.1",
        "     Health Score: 78.5/100",
        "     Predicted Health: ✅ Healthy",
        "⚡ Auto-Scaling Analysis:",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "  📈 postgres - Scale UP by 2 instance(s)",
        "     Reason: High resource utilization detected",
        "  ✓ redis - No scaling needed",
        "  ✓ nginx - No scaling needed",
        "🎯 Resource Optimization:",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "  📦 postgres Resource Pool:",
        "     Size: 3 available, 2 in-use",
        "     Utilization: 40.0%",
        "     💡 Consider reducing pool size (low utilization)",
        "💰 Cost Optimization Recommendations:",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "  1. redis - Downsize (Priority: 5/5)",
        "     Service is significantly under-utilized. Consider reducing instance size.",
        "     💰 Estimated savings: 30%",
        "",
        "  2. worker-queue - Serverless Migration (Priority: 4/5)",
        "     Low consistent load. Consider migrating to serverless architecture.",
        "     💰 Estimated savings: 40%",
    ];
    let text = text_of(&everything());
    let mut lines = text.lines();
    for line in expected {
        assert!(
            lines.any(|ours| ours.starts_with(line)),
            "missing, or out of order: {line:?}\n{text}"
        );
    }
}

#[test]
fn verbose_adds_lines_and_changes_none() {
    let plain = text_of(&everything());
    let verbose = verbose_text_of(&everything());
    let mut lines = verbose.lines();
    for line in plain.lines() {
        assert!(lines.any(|ours| ours == line), "{line:?}");
    }
    for addition in [
        "     Response time: n/a, Errors: 0.0%",
        "     Connections: 12, Network: n/a",
        "     Sources: cpu_percent from procfs",
        "     Error of each model, that of repeating the last value being 1:",
        "       CPU           ses 0.88, last value 1.00  (40 origins)",
        "       Memory        last value 1.00, ses 1.08  (40 origins)",
        "     Proposal: CPU 185.2% of 70% asks for 3",
    ] {
        assert!(verbose.lines().any(|line| line == addition), "{addition:?}");
    }
}

#[test]
fn a_computed_saving_shows_its_arithmetic() {
    let downsize = CostRecommendation {
        basis: SavingsBasis::Computed,
        right_size: Some(RightSize {
            cpus: Some(CpuSize {
                allotted: 2.0,
                percentile_95: 0.36,
                percentile_99: 0.38,
                peak: 0.38,
                recommended: 0.414,
                throttled_share: 0.0,
            }),
            memory_mb: None,
        }),
        money_per_month: Some(46.31),
        ..recommendation("redis", CostKind::Downsize, 79.3, 5)
    };
    let pass = ManagePass {
        currency: Some("EUR".to_owned()),
        recommendations: Some(vec![downsize]),
        ..pass(vec![service("redis")])
    };
    let text = text_of(&pass);
    let (_, section) = text.split_once("1. redis").expect("it is there");
    insta::assert_snapshot!(section, @r#"
    - Downsize (Priority: 5/5)
        Service is significantly under-utilized. Consider reducing instance size.
        💰 Estimated savings: 79%  (CPU 2.000 cores → 0.414 cores (95th percentile 0.360 + 15%, 99th 0.380, at least 0.025; peak 0.380, 0.0% of the seconds would be throttled), 46.31 EUR a month; 46.31 per month)
    "#);
}

//! The `ai-manage` report of the specification's own examples.

use std::collections::BTreeMap;

use super::NOW;
use crate::manage::manage_report::{
    ComparedModel, CurrentMetrics, ForecastBasis, ForecastReport, HealthBand, HealthReport,
    HealthValue, ManageReport, PoolSummary, PredictedValue, Prediction, Recommendation,
    ScalingKind, ScalingReport, ServiceReport, ServiceState, SkillReport,
};
use crate::report::human::manage::manage;
use crate::report::human::tests::{PLAIN, VERBOSE, rendered};

pub(super) fn report(services: Vec<ServiceReport>) -> ManageReport {
    ManageReport {
        schema: ManageReport::SCHEMA,
        generated_at: NOW,
        horizon_minutes: 5,
        dry_run: false,
        services,
        recommendations: None,
    }
}

/// The specification's service, measured and nothing else.
pub(super) fn service(name: &str) -> ServiceReport {
    ServiceReport {
        name: name.to_owned(),
        file: None,
        state: ServiceState::Running,
        instances: 1,
        current: Some(CurrentMetrics {
            sampled_at: NOW,
            cpu_percent: Some(45.2),
            memory_mb: Some(312.0),
            memory_total_mb: Some(312.0),
            network_mb_per_s: None,
            active_connections: Some(12.0),
            request_rate: Some(75.3),
            response_time_ms: None,
            error_rate: Some(0.0),
        }),
        sources: BTreeMap::from([("cpu_percent".to_owned(), "procfs".to_owned())]),
        absent: BTreeMap::new(),
        prediction: None,
        health: HealthReport {
            current: health(78.5, HealthBand::Healthy),
            predicted: None,
        },
        scaling: None,
        pool: None,
        alerts: vec![],
        time_to_limit: vec![],
    }
}

pub(super) fn health(score: f64, status: HealthBand) -> HealthValue {
    HealthValue {
        score: Some(score),
        status,
        used: ["cpu", "memory", "errors"].map(str::to_owned).to_vec(),
    }
}

pub(super) fn predicted(value: f64, interval: (f64, f64), better_percent: f64) -> PredictedValue {
    let is_muted = better_percent <= 0.0;
    let compared = |model: &str, relative_error| ComparedModel {
        model: model.to_owned(),
        relative_error: Some(relative_error),
    };
    let last_value = compared("last value", 1.0);
    let ses = compared("ses", 1.0 - better_percent / 100.0);
    PredictedValue {
        lower: Some(interval.0),
        upper: Some(interval.1),
        model: if is_muted { "last value" } else { "ses" }.to_owned(),
        basis: Some(ForecastBasis::Tournament),
        muted: is_muted,
        skill: Some(SkillReport {
            better_than_last_value_percent: better_percent,
            origins: 40,
        }),
        models: match is_muted {
            true => vec![last_value, ses],
            false => vec![ses, last_value],
        },
        ..unjudged(value)
    }
}

/// From too little history for more.
pub(super) fn unjudged(value: f64) -> PredictedValue {
    PredictedValue {
        value,
        lower: None,
        upper: None,
        quantiles: None,
        step_seconds: Some(25.0),
        path: vec![],
        model: "last value".to_owned(),
        basis: Some(ForecastBasis::TooShort),
        muted: false,
        skill: None,
        models: vec![],
        left_out_values: 0,
    }
}

pub(super) fn with_prediction(mut service: ServiceReport) -> ServiceReport {
    service.prediction = Some(Prediction::Forecast(Box::new(ForecastReport {
        model: "ses".to_owned(),
        history_seconds: 7_200,
        cpu_percent: Some(predicted(52.8, (49.0, 57.1), 12.0)),
        memory_mb: Some(predicted(356.0, (340.0, 371.0), -8.4)),
        request_rate: Some(unjudged(89.1)),
        response_time_ms: None,
        error_rate: None,
    })));
    service.health.predicted = Some(health(74.0, HealthBand::Healthy));
    service
}

pub(super) fn scaling(action: ScalingKind, from: u32, to: u32) -> ScalingReport {
    ScalingReport {
        action,
        by: from.abs_diff(to),
        from,
        to,
        reason: "High resource utilization detected (CPU 85.2% > 70%)".to_owned(),
        proposals: vec!["CPU 85.2% of 70% asks for 3 instances".to_owned()],
        limits_applied: vec!["at most 10 instances".to_owned()],
        performed: true,
        took_ms: Some(38),
        instances_after: Some(to),
        error: None,
    }
}

pub(super) fn no_scaling(reason: &str) -> ScalingReport {
    ScalingReport {
        reason: reason.to_owned(),
        performed: false,
        took_ms: None,
        instances_after: None,
        ..scaling(ScalingKind::None, 1, 1)
    }
}

fn recommendation(name: &str, title: &str, description: &str) -> Recommendation {
    Recommendation {
        service_name: name.to_owned(),
        kind: title.to_lowercase().replace(' ', "_"),
        title: title.to_owned(),
        description: description.to_owned(),
        estimated_savings_percent: 30.0,
        priority: 5,
        basis: "rule_of_thumb".to_owned(),
        arithmetic: None,
        estimated_savings_per_month: None,
    }
}

fn everything() -> ManageReport {
    let mut postgres = with_prediction(service("postgres"));
    postgres.scaling = Some(scaling(ScalingKind::ScaleUp, 1, 3));
    postgres.pool = Some(PoolSummary {
        available: 3,
        in_use: 2,
        utilization: Some(0.4),
        advice: Some("Consider reducing pool size (low utilization)".to_owned()),
        advised_size: Some(2),
        advice_basis: Some("95th percentile of concurrent leases 2, 0 more per start".to_owned()),
        size: None,
        hit_rate: None,
        wait_saved_ms: None,
        idle_memory_mb: None,
    });
    let mut redis = service("redis");
    redis.scaling = Some(no_scaling(""));
    let mut nginx = service("nginx");
    nginx.scaling = Some(no_scaling("every metric is within 10% of its threshold"));
    let downsize = recommendation(
        "redis",
        "Downsize",
        "Service is significantly under-utilized. Consider reducing instance size.",
    );
    let serverless = Recommendation {
        estimated_savings_percent: 40.0,
        priority: 4,
        basis: "computed".to_owned(),
        arithmetic: Some("p95 0.10 cores × 1.15 of 0.20 allotted".to_owned()),
        estimated_savings_per_month: Some(4.2),
        ..recommendation(
            "worker-queue",
            "Serverless Migration",
            "Low consistent load. Consider migrating to serverless architecture.",
        )
    };
    ManageReport {
        recommendations: Some(vec![downsize, serverless]),
        ..report(vec![postgres, redis, nginx])
    }
}

#[test]
fn every_part_together() {
    let text = rendered(|out| manage(out, &everything(), PLAIN));
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
         Reason: High resource utilization detected (CPU 85.2% > 70%)
         Done: 1 → 3 instances in 38 ms
      ✓ redis - No scaling needed
      ✓ nginx - No scaling needed  (every metric is within 10% of its threshold)

    🎯 Resource Optimization:
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
      📦 postgres Resource Pool:
         Size: 3 available, 2 in-use
         Utilization: 40.0%
         💡 Consider reducing pool size (low utilization)
         Advised size: 2  (95th percentile of concurrent leases 2, 0 more per start)

    💰 Cost Optimization Recommendations:
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
      1. redis - Downsize (Priority: 5/5)
         Service is significantly under-utilized. Consider reducing instance size.
         💰 Estimated savings: 30%  (rule of thumb)

      2. worker-queue - Serverless Migration (Priority: 4/5)
         Low consistent load. Consider migrating to serverless architecture.
         💰 Estimated savings: 40%  (p95 0.10 cores × 1.15 of 0.20 allotted; 4.20 per month)
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
    let text = rendered(|out| manage(out, &everything(), PLAIN));
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
    let plain = rendered(|out| manage(out, &everything(), PLAIN));
    let verbose = rendered(|out| manage(out, &everything(), VERBOSE));
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
        "     Proposal: CPU 85.2% of 70% asks for 3 instances",
        "     Limit: at most 10 instances",
    ] {
        assert!(verbose.lines().any(|line| line == addition), "{addition:?}");
    }
}

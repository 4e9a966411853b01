//! An assessment as the report shows it. Pure.

use std::collections::BTreeMap;

use super::decide::Decided;
use super::forecast_view::{field, prediction, sentence, time_to_limit};
use super::manage_report::{
    CurrentMetrics, HealthBand, HealthReport, HealthValue, PoolSummary, Recommendation,
    ScalingKind, ScalingReport, ServiceReport,
};
use crate::services::service_manager::cost::{
    CpuSize, LEAST_CPUS, LEAST_MEMORY_MB, MemorySize, SavingsBasis,
};
use crate::services::service_manager::{
    CostKind, CostRecommendation, Health, HealthStatus, MemoryAlert, Metric, PoolDemand,
    PoolReport, ScalingAction, ScalingDecision, ServiceMetrics, Sources,
};

/// One service's part of the report; `scaling` is filled in once it was carried out.
pub(super) fn service(decided: &Decided, file: Option<String>) -> ServiceReport {
    let Decided {
        row,
        live,
        assessment,
        sources,
        ..
    } = decided;
    let (sources, absent) = sources.as_ref().map(names).unwrap_or_default();
    ServiceReport {
        name: row.name.clone(),
        file,
        state: ServiceReport::state_of(live),
        instances: u32::try_from(live.len()).unwrap_or(u32::MAX),
        current: assessment.current.as_ref().map(current),
        sources,
        absent,
        prediction: assessment.prediction.as_ref().map(prediction),
        health: HealthReport {
            current: health(&assessment.current_health),
            predicted: assessment.predicted_health.as_ref().map(health),
        },
        scaling: None,
        pool: assessment.pool.as_ref().map(pool),
        alerts: alerts(decided),
        time_to_limit: assessment.alerts.iter().map(time_to_limit).collect(),
    }
}

fn pool(pool: &PoolReport) -> PoolSummary {
    let advised_size = pool.demand.advised_size();
    let worth = pool.warm.map(|warm| warm.worth);
    PoolSummary {
        available: pool.instances.available,
        in_use: pool.instances.in_use,
        utilization: pool.instances.utilization(),
        advice: pool.advice().map(|advice| advice.to_string()),
        advised_size,
        advice_basis: advised_size.map(|_| pool_basis(&pool.demand)),
        size: pool.warm.map(|warm| warm.size),
        hit_rate: worth.and_then(|worth| worth.hit_rate),
        wait_saved_ms: worth.and_then(|worth| worth.wait_saved_ms),
        idle_memory_mb: worth.and_then(|worth| worth.idle_memory_mb),
    }
}

fn pool_basis(demand: &PoolDemand) -> String {
    let arrivals = demand.arrivals_per_second.unwrap_or_default();
    let start = demand.start_time.unwrap_or_default();
    let leased = demand.usually_leased.unwrap_or_default();
    format!(
        "95th percentile of concurrent leases, resets included: {leased} of {} leases; plus {arrivals:.3} leases/s × {} ms start time = {:.2}, rounded up",
        demand.leases,
        start.as_millis(),
        leased + demand.arriving().unwrap_or_default()
    )
}

/// What is wrong now, then what may come.
fn alerts(decided: &Decided) -> Vec<String> {
    let assessment = &decided.assessment;
    let memory = assessment.memory.map(|alert| alert.to_string());
    let now = decided.impaired.iter().cloned().chain(memory);
    now.chain(assessment.alerts.iter().map(sentence)).collect()
}

/// A decision to leave the instances as they are, beside what more of them would not mend.
pub(super) fn beside_memory(scaling: ScalingReport, decided: &Decided) -> ScalingReport {
    match decided.assessment.memory {
        Some(alert @ MemoryAlert::TooLittle { .. }) if scaling.action == ScalingKind::None => {
            ScalingReport {
                reason: format!("{}; but {alert}", scaling.reason),
                ..scaling
            }
        }
        _ => scaling,
    }
}

fn names(sources: &Sources) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    (
        sources
            .measured()
            .map(|(metric, source)| (field(metric).to_owned(), source.to_string()))
            .collect(),
        sources
            .absent()
            .map(|(metric, reason)| (field(metric).to_owned(), reason.to_string()))
            .collect(),
    )
}

fn current(sample: &ServiceMetrics) -> CurrentMetrics {
    CurrentMetrics {
        sampled_at: sample.sampled_at,
        cpu_percent: sample.cpu_percent,
        memory_mb: sample.memory_mb,
        memory_total_mb: sample.memory_total_mb,
        network_mb_per_s: sample.network_mb_per_s,
        active_connections: sample.active_connections,
        request_rate: sample.request_rate,
        response_time_ms: sample.response_time_ms,
        error_rate: sample.error_rate,
    }
}

fn health(health: &Health) -> HealthValue {
    let word = |metric: &Metric| match metric {
        Metric::CpuPercent => "cpu",
        Metric::MemoryMb | Metric::MemoryTotalMb => "memory",
        Metric::ErrorRate => "errors",
        Metric::ResponseTimeMs => "response time",
        Metric::NetworkMbPerS => "network",
        Metric::ActiveConnections => "connections",
        Metric::RequestRate => "requests",
    };
    HealthValue {
        score: health.score,
        status: match health.status {
            HealthStatus::Healthy => HealthBand::Healthy,
            HealthStatus::Degraded => HealthBand::Degraded,
            HealthStatus::Unhealthy => HealthBand::Unhealthy,
            HealthStatus::Unknown => HealthBand::Unknown,
        },
        used: health
            .used
            .iter()
            .map(|metric| word(metric).to_owned())
            .collect(),
    }
}

/// A decision that nothing was done about yet.
pub(super) fn scaling(decision: &ScalingDecision) -> ScalingReport {
    let (action, by) = match decision.action {
        ScalingAction::ScaleUp { by } => (ScalingKind::ScaleUp, by),
        ScalingAction::ScaleDown { by } => (ScalingKind::ScaleDown, by),
        ScalingAction::NoAction => (ScalingKind::None, 0),
    };
    ScalingReport {
        action,
        by,
        from: decision.from,
        to: decision.to,
        reason: decision.reason.to_string(),
        proposals: decision.proposals.iter().map(ToString::to_string).collect(),
        limits_applied: decision
            .limits_applied
            .iter()
            .map(ToString::to_string)
            .collect(),
        performed: false,
        took_ms: None,
        instances_after: None,
        error: None,
    }
}

/// A stopped service.
pub(super) fn nothing_to_scale() -> ScalingReport {
    ScalingReport {
        action: ScalingKind::None,
        by: 0,
        from: 0,
        to: 0,
        reason: "stopped; nothing to scale".to_owned(),
        proposals: Vec::new(),
        limits_applied: Vec::new(),
        performed: false,
        took_ms: None,
        instances_after: None,
        error: None,
    }
}

/// One recommendation with its arithmetic.
pub(super) fn recommendation(found: &CostRecommendation, currency: Option<&str>) -> Recommendation {
    let kind = match found.kind {
        CostKind::Downsize => "downsize",
        CostKind::Optimize => "optimize",
        CostKind::ServerlessMigration => "serverless_migration",
        CostKind::PoolOptimization => "pool_optimization",
    };
    let arithmetic = found.right_size.as_ref().map(|right_size| {
        let parts = [
            right_size.cpus.as_ref().map(cpu_arithmetic),
            right_size.memory_mb.as_ref().map(memory_arithmetic),
            found
                .money_per_month
                .map(|money| format!("{money:.2} {} a month", currency.unwrap_or("of money"))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    });
    Recommendation {
        service_name: found.service_name.clone(),
        kind: kind.to_owned(),
        title: found.kind.to_string(),
        description: found.kind.description().to_owned(),
        estimated_savings_percent: found.estimated_savings_percent,
        priority: found.priority,
        basis: match found.basis {
            SavingsBasis::RuleOfThumb => "rule_of_thumb".to_owned(),
            SavingsBasis::Computed => "computed".to_owned(),
        },
        arithmetic,
        estimated_savings_per_month: found.money_per_month,
    }
}

fn cpu_arithmetic(size: &CpuSize) -> String {
    format!(
        "CPU {:.3} cores → {:.3} cores (95th percentile {:.3} + 15%, 99th {:.3}, at least {LEAST_CPUS}; peak {:.3}, \
         {:.1}% of the seconds would be throttled)",
        size.allotted,
        size.recommended,
        size.percentile_95,
        size.percentile_99,
        size.peak,
        100.0 * size.throttled_share
    )
}

fn memory_arithmetic(size: &MemorySize) -> String {
    format!(
        "memory {:.0} MB → {:.0} MB (peak {:.0} MB + 15%, at least {LEAST_MEMORY_MB} MB)",
        size.allotted, size.recommended, size.peak
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_shows_the_peak_and_what_would_be_throttled() {
        let cpus = CpuSize {
            allotted: 2.0,
            percentile_95: 0.01,
            percentile_99: 0.02,
            peak: 1.9,
            recommended: 0.025,
            throttled_share: 0.0033,
        };
        assert_eq!(
            cpu_arithmetic(&cpus),
            "CPU 2.000 cores → 0.025 cores (95th percentile 0.010 + 15%, 99th 0.020, at least 0.025; peak 1.900, 0.3% of \
             the seconds would be throttled)"
        );
        let memory = MemorySize {
            allotted: 512.0,
            peak: 0.4,
            recommended: 16.0,
        };
        assert_eq!(
            memory_arithmetic(&memory),
            "memory 512 MB → 16 MB (peak 0 MB + 15%, at least 16 MB)"
        );
    }
}

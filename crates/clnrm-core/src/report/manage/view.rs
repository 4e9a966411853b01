//! From the records of a pass to its report.

use super::document::{
    HealthReport, ManageReport, PoolSummary, Recommendation, ScalingReport, ServiceReport,
    ServiceState,
};
use super::forecast::{Prediction, TimeToLimit};
use super::{advice, alert, reason};
use crate::manage::{ManagePass, PassedService, ScalingOutcome};
use crate::services::service_manager::{
    CostRecommendation, MemoryAlert, PoolReport, ScalingAction,
};

impl ManageReport {
    /// The report of one pass.
    pub fn of(pass: &ManagePass) -> Self {
        let currency = pass.currency.as_deref();
        let found = pass.recommendations.as_ref();
        Self {
            schema: Self::SCHEMA,
            generated_at: pass.generated_at,
            horizon_minutes: pass.horizon.as_secs() / 60,
            dry_run: pass.dry_run,
            services: pass.services.iter().map(service).collect(),
            recommendations: found.map(|found| {
                let found = found.iter();
                found.map(|found| recommendation(found, currency)).collect()
            }),
        }
    }
}

fn service(passed: &PassedService) -> ServiceReport {
    let assessment = &passed.assessment;
    ServiceReport {
        name: passed.name.clone(),
        file: passed.file.as_ref().map(|file| file.display().to_string()),
        state: match passed.instances {
            0 => ServiceState::Stopped,
            _ => ServiceState::Running,
        },
        instances: passed.instances,
        current: assessment.current,
        sources: passed.sources.clone(),
        prediction: assessment.prediction.as_ref().map(Prediction::of),
        health: HealthReport {
            current: assessment.current_health.clone(),
            predicted: assessment.predicted_health.clone(),
        },
        scaling: passed
            .scaling
            .as_ref()
            .map(|outcome| scaling(passed, outcome)),
        pool: assessment.pool.as_ref().map(pool),
        alerts: alerts(passed),
        time_to_limit: assessment.alerts.iter().map(TimeToLimit::of).collect(),
    }
}

/// What is wrong now, then what may come.
fn alerts(passed: &PassedService) -> Vec<String> {
    let sentence = |(instance, condition)| format!("{instance} is {condition}");
    let impaired = passed
        .impaired
        .iter()
        .map(|(id, found)| sentence((id, found)));
    let memory = passed.assessment.memory.iter().map(alert::memory);
    let limits = passed.assessment.alerts.iter().map(alert::limit);
    impaired.chain(memory).chain(limits).collect()
}

fn scaling(passed: &PassedService, outcome: &ScalingOutcome) -> ScalingReport {
    let decision = passed.assessment.scaling.as_ref();
    let action = decision.map_or(ScalingAction::NoAction, |decision| decision.action);
    let why = match decision {
        Some(decision) => reason::reason(&decision.reason),
        None => "stopped; nothing to scale".to_owned(),
    };
    let (from, to) = decision.map_or((0, 0), |decision| (decision.from, decision.to));
    let proposals = decision.map_or(&[][..], |decision| &decision.proposals);
    let limits = decision.map_or(&[][..], |decision| &decision.limits_applied);
    ScalingReport {
        action,
        by: from.abs_diff(to),
        from,
        to,
        reason: match (action, &passed.assessment.memory) {
            // What more instances would not mend.
            (ScalingAction::NoAction, Some(memory @ MemoryAlert::TooLittle { .. })) => {
                format!("{why}; but {}", alert::memory(memory))
            }
            _ => why,
        },
        proposals: proposals.iter().map(reason::proposal).collect(),
        limits_applied: limits.iter().map(reason::limit).collect(),
        performed: outcome.performed,
        took_ms: outcome
            .took
            .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        instances_after: outcome.instances_after,
        error: outcome.error.as_ref().map(ToString::to_string),
    }
}

fn pool(pool: &PoolReport) -> PoolSummary {
    let advised_size = pool.demand.advised_size();
    let worth = pool.warm.map(|warm| warm.worth);
    PoolSummary {
        available: pool.instances.available,
        in_use: pool.instances.in_use,
        utilization: pool.instances.utilization(),
        advice: pool.advice().map(advice::pool),
        advised_size,
        advice_basis: advised_size.map(|_| advice::pool_basis(&pool.demand)),
        size: pool.warm.map(|warm| warm.size),
        hit_rate: worth.and_then(|worth| worth.hit_rate),
        wait_saved_ms: worth.and_then(|worth| worth.wait_saved_ms),
        idle_memory_mb: worth.and_then(|worth| worth.idle_memory_mb),
    }
}

fn recommendation(found: &CostRecommendation, currency: Option<&str>) -> Recommendation {
    Recommendation {
        service_name: found.service_name.clone(),
        kind: found.kind,
        description: advice::description(found.kind),
        estimated_savings_percent: found.estimated_savings_percent,
        priority: found.priority,
        basis: found.basis,
        arithmetic: advice::arithmetic(found, currency),
        estimated_savings_per_month: found.money_per_month,
    }
}

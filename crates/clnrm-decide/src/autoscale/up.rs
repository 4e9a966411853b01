//! Whether load calls for more instances, and for how many.

use super::bounds::Bounds;
use super::config::TOLERANCE;
use super::decision::Draft;
use super::evidence::per_instance;
use super::fleet::PastAction;
use super::inputs::ScalingInputs;
use super::reason::{Crossing, HoldReason, Limit, Proposal, Reason};
use crate::{Metric, ServiceMetrics};

/// Memory per instance must fall to this share before it is shown that memory divides over instances.
const MEMORY_FELL_TO: f64 = 0.9;

/// What memory may still do for this service.
#[derive(Debug, Clone, Copy)]
enum MemoryTrigger {
    /// No step was taken for it since memory was last low: it may add one instance.
    OneStep,
    /// The last step lowered memory per instance: it counts like any other metric.
    Divides,
    /// The last step did not: it no longer counts.
    DoesNotDivide { before_mb: f64, now_mb: f64 },
}

/// More instances and why; `None` = load is not high; or why nothing at all may happen.
pub(super) fn consider(
    inputs: &ScalingInputs,
    bounds: &Bounds,
    newest: &ServiceMetrics,
    draft: &mut Draft,
) -> Result<Option<(u32, Reason)>, HoldReason> {
    let memory = memory_trigger(inputs, newest);
    draft.proposals = proposals(inputs, newest, memory);
    if draft.proposals.is_empty() {
        return Err(HoldReason::NoMetrics);
    }
    let crossings: Vec<Crossing> = draft
        .proposals
        .iter()
        .filter(|proposal| proposal.desired > inputs.fleet.instances)
        .map(Proposal::crossing)
        .collect();
    note_memory(memory, &draft.proposals, &mut draft.limits_applied);
    if crossings.is_empty() {
        return hold_near_threshold(memory, &draft.proposals).map(|()| None);
    }

    let wanted = draft.proposals.iter().map(|proposal| proposal.desired);
    let desired = wanted.max().unwrap_or(inputs.fleet.instances);
    if desired > bounds.max {
        draft.limits_applied.push(bounds.max_limit);
    }
    if inputs.fleet.instances >= bounds.max {
        return Err(HoldReason::AtMaximum {
            max: bounds.max,
            desired,
        });
    }
    let desired = desired.min(bounds.max);
    if let Some(elapsed) = inputs.cooling(PastAction::is_increase) {
        let cooldown = inputs.config.cooldown;
        draft.limits_applied.push(Limit::CoolDown {
            remaining: cooldown.saturating_sub(elapsed),
        });
        return Err(HoldReason::CoolDown {
            elapsed,
            cooldown,
            desired,
        });
    }
    draft.memory_before_mb = crossings
        .iter()
        .find(|crossing| crossing.metric == Metric::MemoryMb)
        .and(newest.memory_mb);
    Ok(Some((desired, Reason::HighUtilization { crossings })))
}

/// The metrics that can add instances, with their thresholds.
pub(super) fn thresholds(inputs: &ScalingInputs) -> [(Metric, f64); 3] {
    [
        (Metric::CpuPercent, inputs.config.cpu_up_percent),
        (Metric::MemoryMb, inputs.config.memory_up_mb),
        (Metric::RequestRate, inputs.config.request_rate_up),
    ]
}

/// The 90 % quantile of a metric's forecast per instance, if it has earned its say.
pub(super) fn predicted(
    inputs: &ScalingInputs,
    metric: Metric,
    measured_instances: u32,
) -> Option<f64> {
    let value = inputs.forecasts.get(&metric).copied().flatten()?.upper;
    Some(match metric {
        Metric::RequestRate => value / f64::from(measured_instances.max(1)),
        _ => value,
    })
}

fn proposals(
    inputs: &ScalingInputs,
    newest: &ServiceMetrics,
    memory: MemoryTrigger,
) -> Vec<Proposal> {
    let measured = newest.instances;
    let proposal = |(metric, threshold)| {
        let mut proposal = Proposal {
            metric,
            current: per_instance(newest, metric)?,
            predicted: predicted(inputs, metric, measured),
            threshold,
            desired: inputs.fleet.instances,
        };
        let ratio = proposal.crossing().value / threshold;
        if ratio > 1.0 + TOLERANCE {
            let one_more = inputs.fleet.instances.saturating_add(1);
            proposal.desired = match (metric, memory) {
                (Metric::MemoryMb, MemoryTrigger::DoesNotDivide { .. }) => inputs.fleet.instances,
                (Metric::MemoryMb, MemoryTrigger::OneStep) => one_more,
                _ => instances_for(f64::from(measured) * ratio).max(one_more),
            };
        }
        Some(proposal)
    };
    thresholds(inputs)
        .into_iter()
        .filter_map(proposal)
        .collect()
}

/// `exact`, rounded up, but not for a rounding error: 3.0000000000000004 are three instances.
fn instances_for(exact: f64) -> u32 {
    (exact - 1e-9).ceil() as u32 // saturates at u32::MAX
}

fn memory_trigger(inputs: &ScalingInputs, newest: &ServiceMetrics) -> MemoryTrigger {
    let Some((step, before_mb)) = inputs.fleet.memory_step() else {
        return MemoryTrigger::OneStep;
    };
    // Instances are removed only while memory is below its down threshold: so it did fall.
    let lowered_since = inputs
        .fleet
        .past_actions
        .iter()
        .any(|action| action.at > step.at && action.is_decrease());
    match newest.memory_mb {
        _ if lowered_since => MemoryTrigger::OneStep,
        Some(now_mb) if now_mb > before_mb * MEMORY_FELL_TO => {
            MemoryTrigger::DoesNotDivide { before_mb, now_mb }
        }
        _ => MemoryTrigger::Divides,
    }
}

/// Says what memory was kept from doing, where it is high.
fn note_memory(memory: MemoryTrigger, proposals: &[Proposal], limits: &mut Vec<Limit>) {
    let is_high = |proposal: &Proposal| {
        proposal.metric == Metric::MemoryMb
            && proposal.crossing().value > proposal.threshold * (1.0 + TOLERANCE)
    };
    if proposals.iter().any(is_high) {
        match memory {
            MemoryTrigger::OneStep => limits.push(Limit::MemoryOneStep),
            MemoryTrigger::DoesNotDivide { .. } => limits.push(Limit::MemoryDoesNotDivide),
            MemoryTrigger::Divides => {}
        }
    }
}

/// Nothing asks for more; but whatever is at its threshold forbids fewer, too.
fn hold_near_threshold(memory: MemoryTrigger, proposals: &[Proposal]) -> Result<(), HoldReason> {
    for proposal in proposals {
        let crossing = proposal.crossing();
        if crossing.value < crossing.threshold * (1.0 - TOLERANCE) {
            continue;
        }
        return Err(match (proposal.metric, memory) {
            (Metric::MemoryMb, MemoryTrigger::DoesNotDivide { before_mb, now_mb }) => {
                HoldReason::MemoryDoesNotDivide { before_mb, now_mb }
            }
            _ => HoldReason::NearThreshold { crossing },
        });
    }
    Ok(())
}

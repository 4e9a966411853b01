//! When to add or remove instances, and why.
//!
//! Deliberately absent: carrying it out. [`decide`] says what should be; whoever acts records a [`PastAction`], so that
//! the cool-down holds across invocations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::forecast::LoadPrediction;
use super::metrics::ServiceMetrics;
use crate::Timestamp;

mod bounds;
mod down;
mod evidence;
mod reason;
#[cfg(test)]
mod tests;
mod up;

pub use reason::{Crossing, HoldReason, InstanceCap, Limit, Reason};
pub use up::Proposal;

use bounds::Bounds;
use evidence::Evidence;

/// A value closer to its threshold than this share of it changes nothing (the tolerance of the Kubernetes HPA).
const TOLERANCE: f64 = 0.1;

/// Thresholds and limits of one service's scaling. All thresholds are per instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AutoScaleConfig {
    /// Fewest instances.
    pub min_instances: u32,
    /// Most instances.
    pub max_instances: u32,
    /// Add instances above this CPU, in percent of the allotment.
    pub cpu_up_percent: f64,
    /// CPU must be below this before an instance is removed.
    pub cpu_down_percent: f64,
    /// Add instances above this memory, in MB per instance.
    pub memory_up_mb: f64,
    /// Memory must be below this before an instance is removed.
    pub memory_down_mb: f64,
    /// Add instances above this request rate, per second and instance.
    pub request_rate_up: f64,
    /// Least time between two scaling actions.
    pub cooldown: Duration,
}

/// The defaults of the specification.
impl Default for AutoScaleConfig {
    fn default() -> Self {
        Self {
            min_instances: 1,
            max_instances: 10,
            cpu_up_percent: 70.0,
            cpu_down_percent: 30.0,
            memory_up_mb: 512.0,
            memory_down_mb: 128.0,
            request_rate_up: 100.0,
            cooldown: Duration::from_secs(60),
        }
    }
}

impl AutoScaleConfig {
    /// The time that evidence must come from: samples older than this decide nothing.
    pub fn evidence_window(&self) -> Duration {
        evidence::window(self)
    }
}

/// Everything that one decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct ScalingInputs<'a> {
    /// Thresholds and limits.
    pub config: &'a AutoScaleConfig,
    /// Recent samples, oldest first, at least those of [`AutoScaleConfig::evidence_window`] and the one before
    /// (see [`super::MetricsHistory::recent`]). Older ones do no harm.
    pub samples: &'a [ServiceMetrics],
    /// The forecast. It counts for the metrics where it has earned it.
    pub prediction: Option<&'a LoadPrediction>,
    /// Live instances, those that are starting included.
    pub instances: u32,
    /// How many of them are leased.
    pub leased: u32,
    /// The instance that was started last.
    pub newest_start: Option<InstanceStart>,
    /// What was done before, in any order. Only the last of each kind matters.
    pub past_actions: &'a [PastAction],
    /// What allows fewer instances than configured.
    pub instance_cap: Option<InstanceCap>,
    /// The present moment.
    pub now: Timestamp,
}

/// When an instance was started and how long a start takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceStart {
    /// When it was started.
    pub started_at: Timestamp,
    /// The measured time from start to ready; `None` = not measured yet.
    pub start_time: Option<Duration>,
}

impl InstanceStart {
    fn ready_at(self) -> Timestamp {
        self.started_at + self.start_time.unwrap_or_default()
    }
}

/// A scaling action that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PastAction {
    /// When.
    pub at: Timestamp,
    /// Instances before.
    pub from: u32,
    /// Instances after.
    pub to: u32,
    /// Memory per instance before, in MB, if memory was one of its triggers (see [`ScalingDecision::memory_before_mb`]).
    pub memory_before_mb: Option<f64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ScalingAction {
    /// Start instances.
    ScaleUp {
        /// How many.
        by: u32,
    },
    /// Drain and stop instances, idle ones first.
    ScaleDown {
        /// How many.
        by: u32,
    },
    /// Nothing.
    #[serde(rename = "none")]
    NoAction,
}

/// A decision and what led to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingDecision {
    /// Instances now.
    pub from: u32,
    /// Instances wanted.
    pub to: u32,
    /// The difference.
    #[serde(flatten)]
    pub action: ScalingAction,
    /// Why. Displays as one sentence.
    pub reason: Reason,
    /// What each measured metric asked for; empty where the decision did not get to them.
    pub proposals: Vec<Proposal>,
    /// The limits that changed or withheld that, in the order of application.
    pub limits_applied: Vec<Limit>,
    /// Memory per instance in MB, where memory is one of the triggers of a scale-up: to be recorded with the action.
    pub memory_before_mb: Option<f64>,
    /// What it was decided from, besides the history.
    pub inputs: DecisionInputs,
}

/// The inputs of a decision, as reports show them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionInputs {
    /// When it was decided.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub decided_at: Timestamp,
    /// The newest sample, usable or not.
    pub newest_sample: Option<ServiceMetrics>,
    /// Leased instances.
    pub leased: u32,
    /// The last scaling action.
    pub last_action: Option<PastAction>,
    /// Thresholds and limits.
    pub config: AutoScaleConfig,
}

/// What one stage of the decision came to.
#[derive(Debug, Default)]
struct Draft {
    proposals: Vec<Proposal>,
    limits_applied: Vec<Limit>,
    memory_before_mb: Option<f64>,
}

/// Decides how many instances a service should have.
///
/// In this order: bounds are corrected at once; without evidence nothing happens; load that is too high adds; load that
/// was low throughout the window removes one.
pub fn decide(inputs: &ScalingInputs<'_>) -> ScalingDecision {
    let mut draft = Draft::default();
    let (to, reason) = settle(inputs, &mut draft);
    let action = if to > inputs.instances {
        ScalingAction::ScaleUp {
            by: to - inputs.instances,
        }
    } else if to < inputs.instances {
        ScalingAction::ScaleDown {
            by: inputs.instances - to,
        }
    } else {
        ScalingAction::NoAction
    };
    ScalingDecision {
        from: inputs.instances,
        to,
        action,
        reason,
        proposals: draft.proposals,
        limits_applied: draft.limits_applied,
        memory_before_mb: draft.memory_before_mb,
        inputs: DecisionInputs {
            decided_at: inputs.now,
            newest_sample: inputs.samples.last().copied(),
            leased: inputs.leased,
            last_action: inputs
                .past_actions
                .iter()
                .max_by_key(|action| action.at)
                .copied(),
            config: inputs.config.clone(),
        },
    }
}

/// The wanted number of instances and why.
fn settle(inputs: &ScalingInputs<'_>, draft: &mut Draft) -> (u32, Reason) {
    let bounds = Bounds::of(inputs);
    if let Some(correction) = bounds.correct(inputs, draft) {
        return correction;
    }
    let decided = Evidence::gather(inputs).and_then(|evidence| {
        match up::consider(inputs, &bounds, &evidence, draft)? {
            Some(increase) => Ok(increase),
            None => down::consider(inputs, &bounds, &evidence, draft),
        }
    });
    decided.unwrap_or_else(|why| (inputs.instances, Reason::Hold { why }))
}

impl ScalingInputs<'_> {
    /// The time since the last action that counts, if the cool-down still runs.
    fn cooling(&self, counts: impl Fn(&PastAction) -> bool) -> Option<Duration> {
        self.past_actions
            .iter()
            .filter(|action| counts(action))
            .map(|action| evidence::distance(self.now, action.at))
            .min()
            .filter(|elapsed| *elapsed < self.config.cooldown)
    }
}

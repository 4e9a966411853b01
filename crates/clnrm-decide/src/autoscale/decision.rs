//! What was decided, as a record.

use serde::{Deserialize, Serialize};

use super::inputs::ScalingInputs;
use super::reason::{Limit, Proposal, Reason};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ScalingAction {
    ScaleUp {
        by: u32,
    },
    /// Drain and stop instances, idle ones first.
    ScaleDown {
        by: u32,
    },
    #[serde(rename = "none")]
    NoAction,
}

/// A decision and all that led to it: a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingDecision {
    /// [`ScalingDecision::VERSION`], unless an older clnrm recorded it.
    pub version: u32,
    pub from: u32,
    pub to: u32,
    #[serde(flatten)]
    pub action: ScalingAction,
    pub reason: Reason,
    /// What each measured metric asked for; empty where the decision did not get to them.
    pub proposals: Vec<Proposal>,
    /// The limits that changed or withheld that, in the order of application.
    pub limits_applied: Vec<Limit>,
    /// Memory per instance in MB, where memory is one of the triggers of a scale-up: to be recorded with the action.
    pub memory_before_mb: Option<f64>,
    /// What it was decided from.
    pub inputs: ScalingInputs,
}

impl ScalingDecision {
    /// Of what such a record holds, and of how it is decided from that.
    pub const VERSION: u32 = 1;
}

/// What one stage of the decision came to.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) proposals: Vec<Proposal>,
    pub(super) limits_applied: Vec<Limit>,
    pub(super) memory_before_mb: Option<f64>,
}

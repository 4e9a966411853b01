//! When to add or remove instances, and why.
//!
//! Deliberately absent: carrying it out. [`decide`] says what should be; whoever acts records a [`PastAction`], so that
//! the cool-down holds across invocations.

mod bounds;
mod config;
mod decision;
mod down;
mod evidence;
mod fleet;
mod inputs;
mod reason;
#[cfg(test)]
mod tests;
mod up;

pub use config::AutoScaleConfig;
pub use decision::{ScalingAction, ScalingDecision};
pub use evidence::{Evidence, Peak};
pub use fleet::{Fleet, InstanceCap, InstanceStart, PastAction};
pub use inputs::ScalingInputs;
pub use reason::{Crossing, HoldReason, Limit, Proposal, Reason};

use bounds::Bounds;
use decision::Draft;

/// Decides how many instances a service should have.
///
/// In this order: bounds are corrected at once; without evidence nothing happens; load that is too high adds; load that
/// was low throughout the window removes one.
pub fn decide(inputs: ScalingInputs) -> ScalingDecision {
    let mut draft = Draft::default();
    let from = inputs.fleet.instances;
    let (to, reason) = settle(&inputs, &mut draft);
    let action = if to > from {
        ScalingAction::ScaleUp { by: to - from }
    } else if to < from {
        ScalingAction::ScaleDown { by: from - to }
    } else {
        ScalingAction::NoAction
    };
    ScalingDecision {
        version: ScalingDecision::VERSION,
        from,
        to,
        action,
        reason,
        proposals: draft.proposals,
        limits_applied: draft.limits_applied,
        memory_before_mb: draft.memory_before_mb,
        inputs,
    }
}

/// The wanted number of instances and why.
fn settle(inputs: &ScalingInputs, draft: &mut Draft) -> (u32, Reason) {
    let bounds = Bounds::of(inputs);
    if let Some(correction) = bounds.correct(&inputs.fleet, draft) {
        return correction;
    }
    let decided = inputs.usable_sample().and_then(|newest| {
        match up::consider(inputs, &bounds, newest, draft)? {
            Some(increase) => Ok(increase),
            None => down::consider(inputs, &bounds, newest, draft),
        }
    });
    decided.unwrap_or_else(|why| (inputs.fleet.instances, Reason::Hold { why }))
}

//! How few and how many instances a service may have.

use super::decision::Draft;
use super::fleet::Fleet;
use super::inputs::ScalingInputs;
use super::reason::{HoldReason, Limit, Reason};

/// The bounds of one decision; `min <= max`.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
    /// What sets `max`.
    pub(super) max_limit: Limit,
}

impl Bounds {
    pub(super) fn of(inputs: &ScalingInputs) -> Self {
        let configured = inputs.config.max_instances;
        let (max, max_limit) = match inputs.fleet.instance_cap {
            Some(cap) if cap.max_instances() < configured => {
                (cap.max_instances(), Limit::InstanceCap { cap })
            }
            _ => (configured, Limit::MaxInstances { max: configured }),
        };
        Self {
            min: inputs.config.min_instances.min(max),
            max,
            max_limit,
        }
    }

    /// The way back into the bounds: at once, cool-down or not, but never through a lease.
    pub(super) fn correct(&self, fleet: &Fleet, draft: &mut Draft) -> Option<(u32, Reason)> {
        if fleet.instances < self.min {
            draft
                .limits_applied
                .push(Limit::MinInstances { min: self.min });
            return Some((self.min, Reason::BelowMinimum { min: self.min }));
        }
        if fleet.instances <= self.max {
            return None;
        }
        draft.limits_applied.push(self.max_limit);
        let leased = fleet.leased.min(fleet.instances);
        if leased <= self.max {
            return Some((self.max, Reason::AboveMaximum { max: self.max }));
        }
        draft.limits_applied.push(Limit::Leased { leased });
        if leased < fleet.instances {
            return Some((leased, Reason::AboveMaximum { max: self.max }));
        }
        let why = HoldReason::AllLeased { leased };
        Some((fleet.instances, Reason::Hold { why }))
    }
}

//! The instances of a service, and what was done about their number before.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The instances of a service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Fleet {
    /// Live instances, those that are starting included; 0 = the service is stopped.
    pub instances: u32,
    /// How many of them are leased.
    pub leased: u32,
    /// The instance that was started last.
    pub newest_start: Option<InstanceStart>,
    /// What allows fewer instances than configured.
    pub instance_cap: Option<InstanceCap>,
    /// What was done before, in any order. Only the last of each kind matters.
    pub past_actions: Vec<PastAction>,
    /// Instances that are paused, are being restarted or fail their own check.
    pub not_serving: u32,
}

/// Why a service cannot have as many instances as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum InstanceCap {
    /// The test file fixes the port, and only one process can listen on it.
    FixedPort { port: u16 },
}

impl InstanceCap {
    /// The most instances that this allows.
    pub const fn max_instances(self) -> u32 {
        match self {
            Self::FixedPort { .. } => 1,
        }
    }
}

/// When an instance was started and how long a start takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStart {
    #[serde(with = "crate::rfc3339")]
    pub started_at: Timestamp,
    /// The measured time from start to ready; `None` = not measured yet.
    pub start_time: Option<Duration>,
}

/// A scaling action that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PastAction {
    #[serde(with = "crate::rfc3339")]
    pub at: Timestamp,
    pub from: u32,
    pub to: u32,
    /// Memory per instance before, in MB, if memory was one of its triggers (see
    /// [`super::ScalingDecision::memory_before_mb`]).
    pub memory_before_mb: Option<f64>,
}

impl PastAction {
    pub(super) fn is_increase(&self) -> bool {
        self.to > self.from
    }

    pub(super) fn is_decrease(&self) -> bool {
        self.to < self.from
    }
}

impl Fleet {
    /// When the newest instance is ready. Nothing was started in the future: where the clock was set back, that start is
    /// over.
    pub(super) fn ready_at(&self, now: Timestamp) -> Option<Timestamp> {
        let start = self.newest_start.filter(|start| start.started_at <= now)?;
        Some(start.started_at + start.start_time.unwrap_or_default())
    }

    /// The last increase for the sake of memory, and what memory per instance was before.
    pub(super) fn memory_step(&self) -> Option<(&PastAction, f64)> {
        self.past_actions
            .iter()
            .filter(|action| action.is_increase())
            .filter_map(|action| Some((action, action.memory_before_mb?)))
            .max_by_key(|step| step.0.at)
    }

    /// Leaves out the actions that no decision at `now` looks at: of a long history four are enough.
    pub(super) fn with_what_counts(mut self, now: Timestamp) -> Self {
        let actions = || self.past_actions.iter();
        let nearest = |is: fn(&PastAction) -> bool| {
            actions()
                .filter(|action| is(action))
                .min_by_key(|action| distance(now, action.at))
        };
        let newest_decrease = actions()
            .filter(|action| action.is_decrease())
            .max_by_key(|action| action.at);
        let mut counts: Vec<PastAction> = Vec::with_capacity(4);
        let found = [
            nearest(PastAction::is_increase),
            nearest(|action| !action.is_increase()),
            self.memory_step().map(|step| step.0),
            newest_decrease,
        ];
        for action in found.into_iter().flatten() {
            if !counts.contains(action) {
                counts.push(*action);
            }
        }
        self.past_actions = counts;
        self
    }
}

/// How far two moments lie apart: a clock that was set back must neither age nor renew a sample for hours.
pub(super) fn distance(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_keeps_its_distance() {
        let (a, b) = (Timestamp::from_millis(0), Timestamp::from_millis(9_000));
        assert_eq!(distance(a, b), distance(b, a));
    }
}

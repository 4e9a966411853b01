//! What one decision is made from.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::AutoScaleConfig;
use super::evidence::Evidence;
use super::fleet::{Fleet, PastAction, distance};
use super::reason::HoldReason;
use crate::{LoadPrediction, Metric, ServiceMetrics, Timestamp, UsedForecast};

/// Everything that one decision is made from, by value: [`super::decide`] comes to the same from it at any time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingInputs {
    #[serde(with = "crate::rfc3339")]
    pub now: Timestamp,
    pub config: AutoScaleConfig,
    /// The instances that there are, and the past actions that still count.
    pub fleet: Fleet,
    pub evidence: Evidence,
    /// The metrics that the history knows, each with its forecast where that has earned its say.
    pub forecasts: BTreeMap<Metric, Option<UsedForecast>>,
}

impl ScalingInputs {
    /// Keeps of `samples` (see [`Evidence::of`]), of the forecast and of the fleet's past what a decision rests on.
    pub fn gather(
        config: &AutoScaleConfig,
        samples: &[ServiceMetrics],
        prediction: Option<&LoadPrediction>,
        fleet: Fleet,
        now: Timestamp,
    ) -> Self {
        Self {
            now,
            config: config.clone(),
            evidence: Evidence::of(samples, config, &fleet, now),
            fleet: fleet.with_what_counts(now),
            forecasts: prediction.map(LoadPrediction::used).unwrap_or_default(),
        }
    }

    /// The time since the last action that counts, if the cool-down still runs.
    pub(super) fn cooling(&self, counts: impl Fn(&PastAction) -> bool) -> Option<Duration> {
        self.fleet
            .past_actions
            .iter()
            .filter(|action| counts(action))
            .map(|action| distance(self.now, action.at))
            .min()
            .filter(|elapsed| *elapsed < self.config.cooldown)
    }

    /// The newest sample, if it may be used to decide; or why it may not.
    pub(super) fn usable_sample(&self) -> Result<&ServiceMetrics, HoldReason> {
        let newest = self.evidence.newest.as_ref();
        let newest = newest.ok_or(HoldReason::NoSamples)?;
        let window = self.config.evidence_window();
        let age = distance(self.now, newest.sampled_at);
        if age > window {
            return Err(HoldReason::StaleSamples { age, window });
        }
        let instances = self.fleet.instances;
        if newest.instances < instances {
            return Err(HoldReason::NotAllMeasured {
                measured: newest.instances,
                instances,
            });
        }
        match self.fleet.ready_at(self.now) {
            Some(ready_at) if newest.sampled_at < ready_at => Err(HoldReason::Starting {
                remaining: ready_at.since(self.now),
            }),
            _ => Ok(newest),
        }
    }
}

//! Why a scaling decision is what it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fleet::InstanceCap;
use crate::Metric;

/// The one reason that settled a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// At least one metric is above its threshold.
    HighUtilization {
        crossings: Vec<Crossing>,
    },
    /// CPU and memory were low throughout the window.
    LowUtilization {
        /// Their peaks in the window.
        crossings: Vec<Crossing>,
        window: Duration,
    },
    /// There are fewer instances than allowed.
    BelowMinimum {
        min: u32,
    },
    /// There are more instances than allowed.
    AboveMaximum {
        max: u32,
    },
    Hold {
        why: HoldReason,
    },
}

/// Why nothing is done. Every value is per instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum HoldReason {
    NoSamples,
    /// The newest sample is too old.
    StaleSamples {
        age: Duration,
        /// How old it may be.
        window: Duration,
    },
    /// The newest sample does not cover every instance: some are still starting.
    NotAllMeasured {
        measured: u32,
        instances: u32,
    },
    /// The newest instance is younger than the time that it takes to start.
    Starting {
        /// The rest of that time.
        remaining: Duration,
    },
    /// Neither CPU nor memory nor request rate was measured.
    NoMetrics,
    /// Nothing calls for a change.
    WithinThresholds,
    /// A value is so close to its threshold that a change would soon be taken back.
    NearThreshold {
        crossing: Crossing,
    },
    /// More is wanted, but the last increase is too recent.
    CoolDown {
        elapsed: Duration,
        cooldown: Duration,
        /// How many instances are wanted.
        desired: u32,
    },
    /// More is wanted, but the most allowed are running.
    AtMaximum {
        max: u32,
        desired: u32,
    },
    /// Only memory is high, and another instance did not lower it.
    MemoryDoesNotDivide {
        /// Memory per instance before the last instance was added for it, in MB.
        before_mb: f64,
        /// Memory per instance now, in MB.
        now_mb: f64,
    },
    /// Load is low, but the fewest allowed are running.
    AtMinimum {
        min: u32,
    },
    /// Load is low now, but a metric that would have to be low was not measured throughout.
    NotMeasured {
        metric: Metric,
    },
    /// Load is low now, but a part of the window was not measured.
    WindowNotCovered {
        /// What was measured, counted back from now.
        covered: Duration,
        window: Duration,
    },
    /// Load is low now, but was not throughout the window.
    RecentlyBusy {
        crossing: Crossing,
    },
    /// Load is low, but a forecast says that it will not stay so.
    ForecastHolds {
        crossing: Crossing,
    },
    /// Load is low, but one instance fewer would be too few.
    WouldNotFit {
        /// The load spread over one instance fewer.
        crossing: Crossing,
    },
    /// Load is low, but every instance is leased.
    AllLeased {
        leased: u32,
    },
}

/// A value held against a threshold. Units are those of the metric, per instance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    pub metric: Metric,
    pub value: f64,
    pub threshold: f64,
    /// Whether the value is the 90 % quantile of a forecast.
    pub is_predicted: bool,
}

/// What one metric asks for. Values are per instance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub metric: Metric,
    pub current: f64,
    /// The forecast's 90 % quantile, if it has earned its say.
    pub predicted: Option<f64>,
    pub threshold: f64,
    /// How many instances it asks for.
    pub desired: u32,
}

impl Proposal {
    /// The larger of current and predicted, against the threshold.
    pub fn crossing(&self) -> Crossing {
        let predicted = self.predicted.filter(|predicted| *predicted > self.current);
        Crossing {
            metric: self.metric,
            value: predicted.unwrap_or(self.current),
            threshold: self.threshold,
            is_predicted: predicted.is_some(),
        }
    }
}

/// A limit that changed or withheld what the metrics proposed, in the order of application.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "limit", rename_all = "snake_case")]
pub enum Limit {
    MinInstances {
        min: u32,
    },
    MaxInstances {
        max: u32,
    },
    /// Something about the service allows fewer than configured.
    InstanceCap {
        cap: InstanceCap,
    },
    CoolDown {
        /// What is left of it.
        remaining: Duration,
    },
    /// Memory adds one instance, and no more until that is shown to lower memory per instance.
    MemoryOneStep,
    /// Memory does not divide over instances; it is no longer a trigger for this service.
    MemoryDoesNotDivide,
    /// Instances are removed one at a time.
    OneAtATime,
    /// Leased instances are never removed.
    Leased {
        leased: u32,
    },
}

//! Thresholds and limits of scaling.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A value closer to its threshold than this share of it changes nothing (the tolerance of the Kubernetes HPA).
pub(super) const TOLERANCE: f64 = 0.1;

/// With a shorter cool-down (or none) samples may still be this old: the interval at which `--watch` looks by default.
const SHORTEST_WINDOW: Duration = Duration::from_secs(15);

/// Thresholds and limits of one service's scaling. All thresholds are per instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AutoScaleConfig {
    pub min_instances: u32,
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
        self.cooldown.max(SHORTEST_WINDOW)
    }
}

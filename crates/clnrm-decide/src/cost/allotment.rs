//! What a service is given, and what was measured of its use.

use serde::{Deserialize, Serialize};

use crate::{Metric, MetricsHistory};

/// Fewest samples that a recommendation is based on.
pub(super) const SAMPLES_NEEDED: usize = 30;

/// What a service is given and what that costs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Allotment {
    /// CPU of one instance in cores; `None` = not stated.
    pub cpus: Option<f64>,
    /// Memory of one instance in MB (10⁶ bytes); `None` = not stated.
    pub memory_mb: Option<f64>,
    /// Price of one core for one hour; `None` = not set.
    pub cpu_hour: Option<f64>,
    /// Price of one GB (10⁹ bytes) for one hour; `None` = not set.
    pub gb_hour: Option<f64>,
}

/// The raw values of a metric, if there are enough.
pub(super) fn measured(history: &MetricsHistory, metric: Metric) -> Option<Vec<f64>> {
    let values: Vec<f64> = history
        .samples()
        .filter_map(|sample| sample.get(metric))
        .collect();
    (values.len() >= SAMPLES_NEEDED).then_some(values)
}

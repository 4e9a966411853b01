//! What was measured of one service at one time.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::forecast::Range;
use crate::Timestamp;

/// One sample of one service. A field that could not be measured is `None`, never zero.
///
/// Shapes and units: `cpu_percent` is relative to the allotted CPU (100 = all of it, may exceed 100) and,
/// like `memory_mb` (10⁶ bytes, resident), a mean over the instances. The other fields are totals of the service.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ServiceMetrics {
    /// When the sample was taken (the end of the interval that rates span).
    pub sampled_at: Timestamp,
    /// How many running instances the sample covers.
    pub instances: u32,
    /// CPU in percent of the allotment, mean over the instances.
    pub cpu_percent: Option<f64>,
    /// Resident memory in MB (10⁶ bytes), mean over the instances.
    pub memory_mb: Option<f64>,
    /// Resident memory in MB (10⁶ bytes), sum over the instances.
    pub memory_total_mb: Option<f64>,
    /// Bytes exchanged with clients, both directions, in MB (10⁶ bytes) per second.
    pub network_mb_per_s: Option<f64>,
    /// Open client connections.
    pub active_connections: Option<f64>,
    /// Requests per second.
    pub request_rate: Option<f64>,
    /// Mean response time over the sampling interval, in milliseconds.
    pub response_time_ms: Option<f64>,
    /// Share of requests that failed, 0..=1.
    pub error_rate: Option<f64>,
}

/// Names one measured field of [`ServiceMetrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// See [`ServiceMetrics::cpu_percent`].
    CpuPercent,
    /// See [`ServiceMetrics::memory_mb`].
    MemoryMb,
    /// See [`ServiceMetrics::memory_total_mb`].
    MemoryTotalMb,
    /// See [`ServiceMetrics::network_mb_per_s`].
    NetworkMbPerS,
    /// See [`ServiceMetrics::active_connections`].
    ActiveConnections,
    /// See [`ServiceMetrics::request_rate`].
    RequestRate,
    /// See [`ServiceMetrics::response_time_ms`].
    ResponseTimeMs,
    /// See [`ServiceMetrics::error_rate`].
    ErrorRate,
}

/// A measured value was NaN or infinite; it is rejected where it enters.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{metric:?} is {value}, which is not a measurement")]
pub struct NotFinite {
    /// The field that was being set.
    pub metric: Metric,
    /// The value that was refused.
    pub value: f64,
}

impl Metric {
    /// Every metric, in the order in which reports list them.
    pub const ALL: [Self; 8] = [
        Self::CpuPercent,
        Self::MemoryMb,
        Self::MemoryTotalMb,
        Self::NetworkMbPerS,
        Self::ActiveConnections,
        Self::RequestRate,
        Self::ResponseTimeMs,
        Self::ErrorRate,
    ];

    /// Its place in [`Metric::ALL`], for tables with one entry per metric.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The values that make sense: 0 or more, and at most 1 for a share.
    pub(crate) const fn range(self) -> Range {
        Range {
            lower: 0.0,
            upper: match self {
                Self::ErrorRate => 1.0,
                _ => f64::MAX,
            },
        }
    }
}

impl ServiceMetrics {
    /// An empty sample: nothing has been measured yet.
    pub fn at(sampled_at: Timestamp, instances: u32) -> Self {
        Self {
            sampled_at,
            instances,
            ..Self::default()
        }
    }

    /// The value of one field.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::CpuPercent => self.cpu_percent,
            Metric::MemoryMb => self.memory_mb,
            Metric::MemoryTotalMb => self.memory_total_mb,
            Metric::NetworkMbPerS => self.network_mb_per_s,
            Metric::ActiveConnections => self.active_connections,
            Metric::RequestRate => self.request_rate,
            Metric::ResponseTimeMs => self.response_time_ms,
            Metric::ErrorRate => self.error_rate,
        }
    }

    /// Sets one field, refusing NaN and infinity.
    pub fn set(&mut self, metric: Metric, value: Option<f64>) -> Result<(), NotFinite> {
        if let Some(value) = value.filter(|value| !value.is_finite()) {
            return Err(NotFinite { metric, value });
        }
        let field = match metric {
            Metric::CpuPercent => &mut self.cpu_percent,
            Metric::MemoryMb => &mut self.memory_mb,
            Metric::MemoryTotalMb => &mut self.memory_total_mb,
            Metric::NetworkMbPerS => &mut self.network_mb_per_s,
            Metric::ActiveConnections => &mut self.active_connections,
            Metric::RequestRate => &mut self.request_rate,
            Metric::ResponseTimeMs => &mut self.response_time_ms,
            Metric::ErrorRate => &mut self.error_rate,
        };
        *field = value;
        Ok(())
    }

    /// Requests per second that one instance serves: what thresholds are compared with.
    pub fn request_rate_per_instance(&self) -> Option<f64> {
        self.request_rate
            .map(|rate| rate / f64::from(self.instances.max(1)))
    }
}

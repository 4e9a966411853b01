//! What was measured of one service at one time.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::forecast::Range;
use crate::Timestamp;

/// Every metric stands here once: its variant, its name (of the field, in JSON, of the column), what it is, and the
/// largest value that makes sense. The words for people are a table of `report`. A new one comes last, because the place of
/// each is on record, and needs a column of its own in `raw_samples`, last as well; rollups need nothing.
macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident = $field:ident, at most $most:expr;)*) => {
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
            $($(#[$doc])* pub $field: Option<f64>,)*
        }

        /// Names one measured field of [`ServiceMetrics`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Metric {
            $($(#[$doc])* $variant,)*
        }

        impl Metric {
            /// Every metric, in the order in which reports list them.
            pub const ALL: [Self; [$(stringify!($field)),*].len()] = [$(Self::$variant),*];

            /// Its field's name, which is also its name in JSON and that of its column.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field),)*
                }
            }

            /// The values that make sense: 0 or more, and at most 1 for a share.
            pub(crate) const fn range(self) -> Range {
                let upper = match self {
                    $(Self::$variant => $most,)*
                };
                Range { lower: 0.0, upper }
            }
        }

        impl ServiceMetrics {
            /// The value of one field.
            pub fn get(&self, metric: Metric) -> Option<f64> {
                match metric {
                    $(Metric::$variant => self.$field,)*
                }
            }

            fn field_mut(&mut self, metric: Metric) -> &mut Option<f64> {
                match metric {
                    $(Metric::$variant => &mut self.$field,)*
                }
            }
        }
    };
}

metrics! {
    /// CPU in percent of the allotment, mean over the instances.
    CpuPercent = cpu_percent, at most f64::MAX;
    /// Resident memory in MB (10⁶ bytes), mean over the instances.
    MemoryMb = memory_mb, at most f64::MAX;
    /// Resident memory in MB (10⁶ bytes), sum over the instances.
    MemoryTotalMb = memory_total_mb, at most f64::MAX;
    /// Bytes exchanged with clients, both directions, in MB (10⁶ bytes) per second.
    NetworkMbPerS = network_mb_per_s, at most f64::MAX;
    ActiveConnections = active_connections, at most f64::MAX;
    RequestRate = request_rate, at most f64::MAX;
    /// Mean response time over the sampling interval, in milliseconds.
    ResponseTimeMs = response_time_ms, at most f64::MAX;
    /// Share of requests that failed, 0..=1.
    ErrorRate = error_rate, at most 1.0;
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
    /// Its place in [`Metric::ALL`], for tables with one entry per metric.
    pub(crate) const fn index(self) -> usize {
        self as usize
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

    /// Sets one field, refusing NaN and infinity.
    pub fn set(&mut self, metric: Metric, value: Option<f64>) -> Result<(), NotFinite> {
        if let Some(value) = value.filter(|value| !value.is_finite()) {
            return Err(NotFinite { metric, value });
        }
        *self.field_mut(metric) = value;
        Ok(())
    }

    /// Requests per second that one instance serves: what thresholds are compared with.
    pub fn request_rate_per_instance(&self) -> Option<f64> {
        self.request_rate
            .map(|rate| rate / f64::from(self.instances.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_metric_is_that_of_its_field_and_in_json() {
        let sample = serde_json::to_value(ServiceMetrics::default()).unwrap();
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            assert!(sample.get(metric.name()).is_some(), "{metric:?}");
        }
    }
}

//! Words and units of a metric, the one table of them. Its name in JSON and in columns is [`Metric::name`].

use crate::services::service_manager::Metric;

/// How people read a metric.
pub(crate) struct MetricWords {
    /// At the beginning of a line.
    pub(crate) label: &'static str,
    pub(crate) noun: &'static str,
    /// As a part of health.
    pub(crate) part: &'static str,
    unit: Unit,
}

struct Unit {
    suffix: &'static str,
    decimals: usize,
    /// What a value is multiplied by.
    factor: f64,
}

pub(crate) const fn words(metric: Metric) -> MetricWords {
    let (label, noun, part, suffix, decimals) = match metric {
        Metric::CpuPercent => ("CPU", "CPU", "cpu", "%", 1),
        Metric::MemoryMb => ("Memory", "memory", "memory", "MB", 0),
        Metric::MemoryTotalMb => ("Total memory", "total memory", "memory", "MB", 0),
        Metric::NetworkMbPerS => ("Network", "network", "network", " MB/s", 2),
        Metric::ActiveConnections => ("Connections", "connections", "connections", "", 0),
        Metric::RequestRate => ("RPS", "RPS", "requests", "", 1),
        Metric::ResponseTimeMs => ("Response time", "response time", "response time", " ms", 1),
        Metric::ErrorRate => ("Errors", "error rate", "errors", "%", 1),
    };
    let factor = match metric {
        Metric::ErrorRate => 100.0,
        _ => 1.0,
    };
    MetricWords {
        label,
        noun,
        part,
        unit: Unit {
            suffix,
            decimals,
            factor,
        },
    }
}

impl MetricWords {
    /// `45.2%`, `312MB`, `75.3`.
    pub(crate) fn value(&self, value: f64) -> String {
        self.bound(value) + self.unit.suffix
    }

    /// The same without its unit, where that stands on the line already.
    pub(crate) fn bound(&self, value: f64) -> String {
        format!("{:.*}", self.unit.decimals, value * self.unit.factor)
    }

    /// A threshold as it was written: `70%`, `512MB`, `100`.
    pub(super) fn as_written(&self, value: f64) -> String {
        format!("{}{}", value * self.unit.factor, self.unit.suffix)
    }

    /// A limit in a sentence: `100%`, `512 MB`.
    pub(super) fn limit(&self, value: f64) -> String {
        let suffix = self.unit.suffix;
        let space = if suffix == "MB" { " " } else { "" };
        format!("{:.0}{space}{suffix}", value * self.unit.factor)
    }
}

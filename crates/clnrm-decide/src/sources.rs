//! Where the fields of a sample come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::absent::{Absent, Measured};
use crate::metrics::Metric;
use crate::source::Source;

/// Where each metric of a [`ServiceMetrics`](crate::ServiceMetrics) comes from, or why it is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sources(BTreeMap<Metric, Measured<Source>>);

impl Sources {
    /// Says where one metric comes from, or why it is absent.
    pub fn set(&mut self, metric: Metric, source: Measured<Source>) {
        self.0.insert(metric, source);
    }

    /// Where one metric comes from, or why it is absent.
    pub fn get(&self, metric: Metric) -> Measured<Source> {
        self.0
            .get(&metric)
            .cloned()
            .unwrap_or(Err(Absent::NoSource))
    }

    /// The metrics that were measured, with their source.
    pub fn measured(&self) -> impl Iterator<Item = (Metric, &Source)> + '_ {
        self.0
            .iter()
            .filter_map(|(metric, source)| Some((*metric, source.as_ref().ok()?)))
    }

    /// The metrics that are absent, with the reason.
    pub fn absent(&self) -> impl Iterator<Item = (Metric, &Absent)> + '_ {
        self.0
            .iter()
            .filter_map(|(metric, source)| Some((*metric, source.as_ref().err()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_as_they_always_were() {
        let mut sources = Sources::default();
        sources.set(Metric::CpuPercent, Ok(Source::Procfs));
        sources.set(Metric::RequestRate, Ok(Source::server("redis")));
        let reason = Absent::NotExposed {
            source_name: Source::server("nginx"),
        };
        sources.set(Metric::ErrorRate, Err(reason));
        let json = r#"{"cpu_percent":{"Ok":"procfs"},"request_rate":{"Ok":"redis"},"error_rate":{"Err":{"not_exposed":{"source_name":"nginx"}}}}"#;
        assert_eq!(serde_json::to_string(&sources).unwrap(), json);
        assert_eq!(serde_json::from_str::<Sources>(json).unwrap(), sources);
        assert!(serde_json::from_str::<Sources>(r#"{"cpu_percent":{"Err":"gone"}}"#).is_err());
    }
}

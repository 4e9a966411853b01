//! Samples at three resolutions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metrics::{Metric, ServiceMetrics};
use crate::clock::Timestamp;

/// A resolution of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// As sampled.
    Raw,
    /// One minute.
    Minute,
    /// Fifteen minutes.
    QuarterHour,
}

impl Tier {
    fn width(self) -> Duration {
        match self {
            Self::Raw => Duration::from_millis(1),
            Self::Minute => Duration::from_secs(60),
            Self::QuarterHour => Duration::from_secs(900),
        }
    }
}

/// One metric over a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Least value.
    pub min: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Greatest value.
    pub max: f64,
    /// Newest value.
    pub last: f64,
    /// How many samples had a value.
    pub count: u32,
}

/// All samples of one bucket of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollup {
    /// Where the bucket starts.
    pub start: Timestamp,
    /// How many samples it holds.
    pub count: u32,
    /// The most instances that any of them covers.
    pub instances_max: u32,
    summaries: [Option<Summary>; Metric::ALL.len()],
}

impl Rollup {
    /// An empty bucket.
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            count: 0,
            instances_max: 0,
            summaries: [None; Metric::ALL.len()],
        }
    }

    /// Where the bucket that `at` falls into starts.
    pub fn bucket_start(tier: Tier, at: Timestamp) -> Timestamp {
        let width = i64::try_from(tier.width().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(at.as_millis() - at.as_millis().rem_euclid(width))
    }

    /// The summary of one metric; `None` = no sample had it.
    pub fn get(&self, metric: Metric) -> Option<Summary> {
        self.summaries.get(metric as usize).copied().flatten()
    }

    /// Sets the summary of one metric.
    pub fn set(&mut self, metric: Metric, summary: Option<Summary>) {
        if let Some(slot) = self.summaries.get_mut(metric as usize) {
            *slot = summary;
        }
    }

    /// Takes one more sample in.
    pub fn fold(&mut self, sample: &ServiceMetrics) {
        self.count += 1;
        self.instances_max = self.instances_max.max(sample.instances);
        for metric in Metric::ALL {
            let Some(value) = sample.get(metric) else {
                continue;
            };
            let summary = self.get(metric).map_or(
                Summary {
                    min: value,
                    mean: value,
                    max: value,
                    last: value,
                    count: 1,
                },
                |before| Summary {
                    min: before.min.min(value),
                    mean: before.mean + (value - before.mean) / f64::from(before.count + 1),
                    max: before.max.max(value),
                    last: value,
                    count: before.count + 1,
                },
            );
            self.set(metric, Some(summary));
        }
    }
}

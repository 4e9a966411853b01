//! Which samples may be used to decide, and what they show.
//!
//! Deliberately absent: guessing. What was not measured, is stale, or was seen before the newest instance was ready shows nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::AutoScaleConfig;
use super::fleet::{Fleet, distance};

use crate::{LoadPrediction, Metric, ServiceMetrics, Timestamp};

/// A window is covered when no stretch longer than this share of it is without a sample.
const LONGEST_GAP_DIVISOR: u32 = 3;

/// What was measured lately, as far as a decision rests on it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The newest sample, usable or not; `None` = nothing was measured.
    pub newest: Option<ServiceMetrics>,
    /// How much of the window the usable samples cover without a long gap, counted back from now.
    pub covered: Duration,
    /// The peaks in the window, of the metrics that any of its usable samples has; `None` = another lacks it.
    pub peaks: BTreeMap<Metric, Option<Peak>>,
}

/// The largest values of one metric in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Of an instance: what thresholds are compared with.
    pub per_instance: f64,
    pub total: f64,
}

impl Evidence {
    /// What `samples` show, oldest first: at least those of [`AutoScaleConfig::evidence_window`] and the one before (see
    /// [`crate::MetricsHistory::recent`]). Older ones do no harm.
    pub fn of(
        samples: &[ServiceMetrics],
        config: &AutoScaleConfig,
        fleet: &Fleet,
        now: Timestamp,
    ) -> Self {
        let window = config.evidence_window();
        let ready_at = fleet.ready_at(now);
        let usable: Vec<&ServiceMetrics> = samples
            .iter()
            .filter(|sample| sample.instances >= fleet.instances)
            .filter(|sample| ready_at.is_none_or(|ready_at| sample.sampled_at >= ready_at))
            .collect();
        // The sample just before the window shows that the window is covered from its beginning.
        let is_inside = |sample: &ServiceMetrics| distance(now, sample.sampled_at) <= window;
        let older = usable
            .iter()
            .take_while(|sample| !is_inside(sample))
            .count();
        let inside = usable.iter().skip(older).filter(|sample| is_inside(sample));
        let mut peaks = BTreeMap::new();
        for metric in LoadPrediction::SCALED {
            let values: Vec<Option<Peak>> = inside
                .clone()
                .map(|sample| Peak::of(sample, metric))
                .collect();
            if values.iter().any(Option::is_some) {
                let highest = values
                    .into_iter()
                    .reduce(|one, other| Some(one?.or(other?)));
                peaks.insert(metric, highest.flatten());
            }
        }
        Self {
            newest: samples.last().copied(),
            covered: covered(&usable, now, window),
            peaks,
        }
    }

    /// The peak of a metric; `None` when any sample of the window lacks it.
    pub(super) fn peak(&self, metric: Metric) -> Option<Peak> {
        self.peaks.get(&metric).copied().flatten()
    }
}

impl Peak {
    fn of(sample: &ServiceMetrics, metric: Metric) -> Option<Self> {
        let per_instance = per_instance(sample, metric)?;
        Some(Self {
            per_instance,
            total: per_instance * f64::from(sample.instances.max(1)),
        })
    }

    fn or(self, other: Self) -> Self {
        Self {
            per_instance: self.per_instance.max(other.per_instance),
            total: self.total.max(other.total),
        }
    }
}

fn covered(samples: &[&ServiceMetrics], now: Timestamp, window: Duration) -> Duration {
    let longest_gap = window / LONGEST_GAP_DIVISOR;
    let mut reached = now;
    for sample in samples.iter().rev() {
        if reached.since(sample.sampled_at) > longest_gap {
            break;
        }
        reached = sample.sampled_at.min(reached);
    }
    now.since(reached).min(window)
}

/// A metric of one sample, per instance: what thresholds are compared with.
pub(super) fn per_instance(sample: &ServiceMetrics, metric: Metric) -> Option<f64> {
    match metric {
        Metric::RequestRate => sample.request_rate_per_instance(),
        _ => sample.get(metric),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(seconds: &[i64]) -> Vec<ServiceMetrics> {
        seconds
            .iter()
            .map(|second| ServiceMetrics::at(Timestamp::from_millis(second * 1_000), 1))
            .collect()
    }

    fn covered_seconds(seconds: &[i64], now: i64) -> u64 {
        let samples = samples(seconds);
        let samples: Vec<&ServiceMetrics> = samples.iter().collect();
        let now = Timestamp::from_millis(now * 1_000);
        covered(&samples, now, Duration::from_secs(60)).as_secs()
    }

    #[test]
    fn coverage_ends_at_the_first_long_gap() {
        assert_eq!(covered_seconds(&[0, 15, 30, 45, 60], 60), 60);
        assert_eq!(covered_seconds(&[0, 30, 45, 60], 60), 30);
        assert_eq!(covered_seconds(&[0, 10, 20, 30], 60), 0);
        assert_eq!(covered_seconds(&[-600, 60], 60), 0);
        assert_eq!(covered_seconds(&[-5, 13, 31, 49], 60), 60);
    }
}

//! Which samples may be used to decide, and what they show.
//!
//! Deliberately absent: guessing. What was not measured, is stale, or was seen before the newest instance was ready shows nothing.

use std::time::Duration;

use super::{AutoScaleConfig, HoldReason, ScalingInputs};
use crate::Timestamp;
use crate::{Metric, ServiceMetrics};

/// With a shorter cool-down (or none) samples may still be this old: the interval at which `--watch` looks by default.
const SHORTEST_WINDOW: Duration = Duration::from_secs(15);

/// A window is covered when no stretch longer than this share of it is without a sample.
const LONGEST_GAP_DIVISOR: u32 = 3;

/// The usable samples of one decision.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The newest usable sample.
    pub(super) newest: &'a ServiceMetrics,
    /// All usable samples of the window, oldest first; `newest` is the last.
    pub(super) window: Vec<&'a ServiceMetrics>,
    /// How much of the window they cover without a long gap, counted back from now.
    pub(super) covered: Duration,
}

/// The span that evidence must come from.
pub(super) fn window(config: &AutoScaleConfig) -> Duration {
    config.cooldown.max(SHORTEST_WINDOW)
}

impl<'a> Evidence<'a> {
    /// The evidence in `inputs`, or why there is none.
    pub(super) fn gather(inputs: &ScalingInputs<'a>) -> Result<Self, HoldReason> {
        let newest = inputs.samples.last().ok_or(HoldReason::NoSamples)?;
        let window = window(inputs.config);
        let age = distance(inputs.now, newest.sampled_at);
        if age > window {
            return Err(HoldReason::StaleSamples { age, window });
        }
        if newest.instances < inputs.instances {
            return Err(HoldReason::NotAllMeasured {
                measured: newest.instances,
                instances: inputs.instances,
            });
        }
        // Nothing was started in the future: the clock was set back, and that start is over.
        let newest_start = inputs
            .newest_start
            .filter(|start| start.started_at <= inputs.now);
        if let Some(start) = newest_start
            && newest.sampled_at < start.ready_at()
        {
            return Err(HoldReason::Starting {
                remaining: start.ready_at().since(inputs.now),
            });
        }
        let usable: Vec<_> = inputs
            .samples
            .iter()
            .filter(|sample| sample.instances >= inputs.instances)
            .filter(|sample| newest_start.is_none_or(|start| sample.sampled_at >= start.ready_at()))
            .collect();
        // The sample just before the window shows that the window is covered from its beginning.
        let inside = |sample: &ServiceMetrics| distance(inputs.now, sample.sampled_at) <= window;
        let outside = usable.iter().take_while(|sample| !inside(sample)).count();
        let covered = covered(&usable, inputs.now, window);
        let window = usable
            .get(outside..)
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|sample| inside(sample))
            .collect();
        Ok(Self {
            newest,
            window,
            covered,
        })
    }

    /// The largest value of a metric in the window; `None` when any sample of it lacks the metric.
    pub(super) fn peak(&self, value: impl Fn(&ServiceMetrics) -> Option<f64>) -> Option<f64> {
        self.window
            .iter()
            .try_fold(f64::NEG_INFINITY, |peak, sample| {
                Some(value(sample)?.max(peak))
            })
    }
}

/// How far two moments lie apart: a clock that was set back must neither age nor renew a sample for hours.
pub(super) fn distance(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
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

    #[test]
    fn a_clock_that_was_set_back_keeps_its_distance() {
        let (a, b) = (Timestamp::from_millis(0), Timestamp::from_millis(9_000));
        assert_eq!(distance(a, b), distance(b, a));
    }
}

//! The forecasts of one service: what is shown, what may be acted on, and from which part of the history it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{Forecast, UsedForecast};
use super::wild::Proportion;
use super::{Auto, NotEnoughData, SAMPLES_NEEDED, Series};
use crate::Timestamp;
use crate::history::{HORIZONS_COVERED, MetricsHistory};
use crate::metrics::{Metric, ServiceMetrics};
use crate::rollup::{Rollup, Summary, Tier};

/// The forecasts of one service at one horizon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPrediction {
    /// How far ahead of the newest sample.
    pub horizon: Duration,
    /// The resolution that was forecast from.
    pub tier: Tier,
    /// How far the history goes back that was forecast from.
    pub history: Duration,
    /// The moment that is predicted: the newest sample's time plus the horizon.
    #[serde(with = "crate::rfc3339")]
    pub at: Timestamp,
    /// The instances of the newest sample.
    pub instances: u32,
    /// One forecast for each metric with enough samples.
    pub forecasts: BTreeMap<Metric, Forecast>,
    /// The metrics that were measured, but too rarely.
    pub not_enough_data: BTreeMap<Metric, NotEnoughData>,
    /// How many values of a metric are out of all proportion to the others, and were not forecast from.
    pub left_out: BTreeMap<Metric, u32>,
}

impl LoadPrediction {
    /// The metrics that are predicted: those that are shown, scaled on, or part of health.
    pub const METRICS: [Metric; 5] = [
        Metric::CpuPercent,
        Metric::MemoryMb,
        Metric::RequestRate,
        Metric::ResponseTimeMs,
        Metric::ErrorRate,
    ];

    /// Those of them that scaling looks at.
    pub const SCALED: [Metric; 3] = [Metric::CpuPercent, Metric::MemoryMb, Metric::RequestRate];

    /// Predicts those of `metrics` that `history` has. [`NotEnoughData`] when not one of them has enough samples.
    pub fn of(
        metrics: &[Metric],
        history: &MetricsHistory,
        horizon: Duration,
        forecaster: &Auto,
    ) -> Result<Self, NotEnoughData> {
        let missing = |have| NotEnoughData {
            have,
            need: SAMPLES_NEEDED,
        };
        let newest = history.latest().ok_or(missing(0))?;
        let tier = history.tier_for_horizon(horizon);
        let mut prediction = Self {
            horizon,
            tier,
            history: Duration::ZERO,
            at: newest.sampled_at + horizon,
            instances: newest.instances,
            forecasts: BTreeMap::new(),
            not_enough_data: BTreeMap::new(),
            left_out: BTreeMap::new(),
        };
        for &metric in metrics {
            let Some(seen) = Seen::of(history, metric, tier) else {
                continue;
            };
            prediction.history = prediction.history.max(seen.since);
            if seen.left_out > 0 {
                prediction.left_out.insert(metric, seen.left_out);
            }
            match forecaster.forecast(&seen.series, horizon) {
                Ok(forecast) => {
                    prediction.forecasts.insert(metric, forecast);
                }
                Err(reason) => {
                    prediction.not_enough_data.insert(metric, reason);
                }
            }
        }
        if prediction.forecasts.is_empty() {
            let most = prediction.not_enough_data.values().map(|few| few.have);
            return Err(missing(most.max().unwrap_or(0)));
        }
        Ok(prediction)
    }

    /// The forecast of one metric.
    pub fn get(&self, metric: Metric) -> Option<&Forecast> {
        self.forecasts.get(&metric)
    }

    /// What a scaling decision may use: of every metric that the history knows the forecast, if that is earned here.
    pub fn used(&self) -> BTreeMap<Metric, Option<UsedForecast>> {
        let earned = |forecast: &Forecast| {
            Some(UsedForecast {
                upper: forecast.upper(),
                model: forecast.model,
                skill: forecast.skill.filter(|_| forecast.is_earned())?,
            })
        };
        let known = self.forecasts.keys().chain(self.not_enough_data.keys());
        known
            .filter(|metric| Self::SCALED.contains(metric))
            .map(|metric| (*metric, self.get(*metric).and_then(earned)))
            .collect()
    }

    /// Whether it rests on less than four horizons of history, in which little can repeat.
    pub fn has_short_history(&self) -> bool {
        self.history < self.horizon.saturating_mul(HORIZONS_COVERED)
    }

    /// The expected values as one sample, e.g. for the predicted health.
    pub fn expected(&self) -> ServiceMetrics {
        let mut sample = ServiceMetrics::at(self.at, self.instances);
        for (metric, forecast) in &self.forecasts {
            // Refused only if it is not finite; then it stays absent, as anything that is not a number must.
            let _ = sample.set(*metric, Some(forecast.value));
        }
        sample
    }
}

/// One metric at one resolution.
struct Seen {
    series: Series,
    /// How far it goes back.
    since: Duration,
    /// How many values were left out because they are out of all proportion.
    left_out: u32,
}

impl Seen {
    /// `None` = it was never measured.
    fn of(history: &MetricsHistory, metric: Metric, tier: Tier) -> Option<Self> {
        let newest = history.latest()?.sampled_at;
        let (mut points, mut left_out) = in_proportion(history, metric, tier);
        if let Some(width) = tier.width() {
            // The newest rollup has only begun, perhaps with a single sample: as long a time before the newest sample
            // says more.
            let has_it = |rollup: &&Rollup| rollup.get(metric).is_some();
            let begun = history.rollups(tier).rev().find(has_it)?.start + width / 2;
            let (recent, wild) = mean_since(history, metric, newest - width);
            if let Some(mean) = recent {
                points.pop_if(|last| last.0 == begun);
                points.push((begun, mean));
                left_out.retain(|at| *at != begun);
            }
            left_out.extend(wild);
        }
        Some(Self {
            since: newest.since(points.first()?.0),
            series: Series::new(metric, points).counted_from(newest),
            left_out: u32::try_from(left_out.len()).unwrap_or(u32::MAX),
        })
    }
}

/// One metric at one resolution, oldest first, without what is out of all proportion, and the times of that.
fn in_proportion(
    history: &MetricsHistory,
    metric: Metric,
    tier: Tier,
) -> (Vec<(Timestamp, f64)>, Vec<Timestamp>) {
    let points = history.series(metric, tier);
    let Some(bounds) = Proportion::violated_by(points.iter().map(|point| point.1)) else {
        return (points, Vec::new());
    };
    let seen = history.summaries(metric, tier).into_iter();
    let (wild, kept): (Vec<_>, Vec<_>) = seen.partition(|(_, seen)| bounds.is_broken_by(seen));
    (
        kept.into_iter().map(|(at, seen)| (at, seen.mean)).collect(),
        wild.into_iter().map(|(at, _)| at).collect(),
    )
}

/// The mean of a metric over the raw samples after `moment` (`None` = it was not measured since), and the times of those
/// that were left out of it.
fn mean_since(
    history: &MetricsHistory,
    metric: Metric,
    moment: Timestamp,
) -> (Option<f64>, Vec<Timestamp>) {
    let values = history.samples().filter_map(|sample| sample.get(metric));
    let bounds = Proportion::violated_by(values);
    let recent = history.samples().rev();
    let recent = recent.take_while(|sample| sample.sampled_at > moment);
    let (mut mean, mut wild) = (None, Vec::new());
    for (at, value) in recent.filter_map(|sample| Some((sample.sampled_at, sample.get(metric)?))) {
        match &mut mean {
            _ if bounds.is_some_and(|bounds| !bounds.holds(value)) => wild.push(at),
            None => mean = Some(Summary::of(value)),
            Some(mean) => mean.fold(value),
        }
    }
    (mean.map(|mean| mean.mean), wild)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rolled_up::rolled_up;

    fn history(samples: i64) -> MetricsHistory {
        let mut made = Vec::new();
        for second in 0..samples {
            let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1000), 2);
            sample.cpu_percent = Some(20.0);
            sample.memory_mb = (second % 2 == 0).then_some(64.0);
            made.push(sample);
        }
        rolled_up(made)
    }

    fn predict(
        history: &MetricsHistory,
        horizon: Duration,
    ) -> Result<LoadPrediction, NotEnoughData> {
        LoadPrediction::of(&LoadPrediction::METRICS, history, horizon, &Auto::default())
    }

    #[test]
    fn too_few_samples_say_how_many_there_are() {
        let horizon = Duration::from_secs(300);
        for have in 0..3 {
            assert_eq!(
                predict(&history(have), horizon),
                Err(NotEnoughData {
                    have: have as u32,
                    need: 3
                })
            );
        }
    }

    #[test]
    fn each_metric_stands_for_itself() {
        let prediction = predict(&history(4), Duration::from_secs(60)).unwrap();
        assert_eq!(prediction.get(Metric::CpuPercent).unwrap().value, 20.0);
        assert_eq!(prediction.get(Metric::MemoryMb), None);
        assert_eq!(
            prediction.not_enough_data.get(&Metric::MemoryMb),
            Some(&NotEnoughData { have: 2, need: 3 })
        );
        assert!(
            !prediction
                .not_enough_data
                .contains_key(&Metric::RequestRate)
        );
        let expected = prediction.expected();
        assert_eq!(expected.sampled_at.as_millis(), 63_000);
        assert_eq!(
            (expected.instances, expected.cpu_percent, expected.memory_mb),
            (2, Some(20.0), None)
        );
    }

    /// A noisy rate of 18 to 22 (the newest comes last) in which some values, counted from the newest, are others.
    fn with_wild(samples: i64, wild: &[(i64, f64)]) -> MetricsHistory {
        let mut made = Vec::new();
        for second in 0..samples {
            let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1000), 1);
            let noise = (second * 37 % 101) as f64 / 25.0;
            let found = wild.iter().find(|(ago, _)| samples - 1 - ago == second);
            let other = found.map(|(_, value)| *value);
            sample.request_rate = Some(other.unwrap_or(18.0 + noise));
            sample.memory_mb = Some(other.unwrap_or(60.0));
            made.push(sample);
        }
        rolled_up(made)
    }

    fn made(history: &MetricsHistory) -> LoadPrediction {
        predict(history, Duration::from_secs(300)).unwrap()
    }

    #[test]
    fn a_wild_value_or_two_do_not_move_a_forecast() {
        // 3000 samples are forecast from by the minute.
        let lengths = [8, 20, 100, 600, 3_000];
        let kinds: [&[(i64, f64)]; 6] = [
            &[(3, 1e6)],
            &[(0, 1e6)],
            &[(7, 1e12)],
            &[(0, 1e6), (1, 1e6)],
            &[(2, 1e6), (7, 5e5)],
            &[(0, 1e6), (5, 0.0)],
        ];
        for samples in lengths {
            for wild in kinds {
                if samples < 10 && wild.len() > 1 {
                    continue;
                }
                let made = made(&with_wild(samples, wild));
                for (metric, about, reach) in [
                    (Metric::RequestRate, 20.0, 3.0),
                    (Metric::MemoryMb, 60.0, 0.01),
                ] {
                    let forecast = made.get(metric).unwrap();
                    let ends = forecast.interval().map_or([forecast.value; 2], |interval| {
                        [interval.lower, interval.upper]
                    });
                    for value in [forecast.value, ends[0], ends[1]] {
                        let is_near = (value - about).abs() < reach;
                        assert!(is_near, "{metric:?} of {samples}, {wild:?}: {forecast:?}");
                    }
                    assert!(made.left_out.contains_key(&metric));
                }
            }
        }
    }

    #[test]
    fn an_older_wild_value_spoils_one_rollup_alone() {
        let made = made(&with_wild(3_000, &[(1_500, 1e6)]));
        assert_eq!(made.tier, Tier::Minute);
        assert_eq!(made.left_out.get(&Metric::RequestRate), Some(&1));
        let forecast = made.get(Metric::RequestRate).unwrap();
        assert!((forecast.value - 20.0).abs() < 1.0, "{forecast:?}");
        assert!(forecast.upper() < 22.0, "{forecast:?}");
    }

    #[test]
    fn what_stays_or_comes_again_is_load() {
        let plain = made(&with_wild(600, &[]));
        assert!(plain.left_out.is_empty());
        let shift: Vec<(i64, f64)> = (0..100).map(|ago| (ago, 2_000.0)).collect();
        let bursts: Vec<(i64, f64)> = (0..24).map(|n| (n * 25, 95.0)).collect();
        for load in [&shift[..], &shift[..3], &bursts] {
            let made = made(&with_wild(600, load));
            assert!(made.left_out.is_empty(), "{load:?}");
        }
        let shifted = made(&with_wild(600, &shift));
        assert!(shifted.get(Metric::RequestRate).unwrap().value > 100.0);
        let burst = made(&with_wild(600, &bursts));
        assert!(burst.get(Metric::RequestRate).unwrap().value > 22.0);
    }
}

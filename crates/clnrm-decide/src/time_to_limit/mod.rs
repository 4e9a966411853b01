//! When a service will run into a limit: the moments at which the forecast path and its edges cross it.
//!
//! Deliberately absent: extrapolation. What no path reaches is not said, and a forecast that is muted says nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::autoscale::InstanceCap;
use super::forecast::{Auto, Forecast, LoadPrediction, ModelName};
use super::history::MetricsHistory;
use super::managed_service::ManagedService;
use super::metrics::{Metric, ServiceMetrics};
use crate::Timestamp;

/// Limits are looked for so far ahead, or to the horizon if that is farther.
const FARTHEST: Duration = Duration::from_secs(60 * 60);
/// And no farther than this share of the history: in twelve steps that makes 72 values, enough to judge the models on.
const SHARE_OF_HISTORY: u32 = 6;
/// All of the allotted CPU.
const CPU_LIMIT_PERCENT: f64 = 100.0;
/// From this share of failed requests on the specification recommends to optimize.
const ERROR_RATE_LIMIT: f64 = 0.05;

/// A limit that a metric has reached or is forecast to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What kind of limit it is.
    #[serde(flatten)]
    pub kind: LimitKind,
    /// The metric that reaches it.
    pub metric: Metric,
    /// The limit, in the metric's unit.
    pub limit: f64,
    pub current: f64,
    /// When the median path crosses the limit (zero: the newest sample is there already); `None` = not within `reach`.
    pub reached_in: Option<Duration>,
    /// When the upper edge of the 90 % interval does.
    pub earliest: Option<Duration>,
    /// When the lower edge does.
    pub latest: Option<Duration>,
    /// How far ahead was looked.
    pub reach: Duration,
    /// Whose forecast it is; `None` = nothing had to be forecast.
    pub model: Option<ModelName>,
    /// Whether the forecast has been better than the last value on this history; if not, there is too little to judge.
    pub is_earned: bool,
}

/// What kind of limit a metric runs into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LimitKind {
    Metric,
    /// The load that the most instances allowed can take.
    Instances {
        max: u32,
    },
}

/// A limit that is looked at.
#[derive(Debug, Clone, Copy)]
struct Limited {
    kind: LimitKind,
    metric: Metric,
    limit: f64,
}

/// The limits that are reached, or that a forecast reaches; of the instances only what needs too many first.
pub(super) fn alerts(
    service: &ManagedService<'_>,
    prediction: &LoadPrediction,
    forecaster: &Auto,
) -> Vec<Alert> {
    let Some(current) = service.history.latest() else {
        return Vec::new();
    };
    let outlook = Outlook {
        history: service.history,
        near: prediction,
        forecaster,
        reach: reach(service.history, prediction.horizon),
    };
    let alert = |limited: Limited| outlook.alert(limited, current.get(limited.metric)?);
    let mut found: Vec<Alert> = own_limits(service).into_iter().filter_map(alert).collect();
    let instances = instance_limits(service, current).into_iter();
    let first = instances
        .filter_map(alert)
        .min_by_key(|alert| (alert.reached_in.unwrap_or(Duration::MAX), alert.earliest));
    found.extend(first);
    found
}

/// How far ahead limits are looked for.
pub(super) fn reach(history: &MetricsHistory, horizon: Duration) -> Duration {
    (history.longest_span() / SHARE_OF_HISTORY)
        .min(FARTHEST)
        .max(horizon)
}

fn own_limits(service: &ManagedService<'_>) -> [Limited; 4] {
    [
        (Metric::CpuPercent, CPU_LIMIT_PERCENT),
        (Metric::MemoryMb, service.limits.memory_limit_mb),
        (Metric::ErrorRate, ERROR_RATE_LIMIT),
        (Metric::ResponseTimeMs, service.limits.response_target_ms),
    ]
    .map(|(metric, limit)| Limited {
        kind: LimitKind::Metric,
        metric,
        limit,
    })
}

/// The load from which on more instances than allowed would be wanted. Memory does not count: it need not divide.
fn instance_limits(service: &ManagedService<'_>, current: &ServiceMetrics) -> Vec<Limited> {
    if service.fleet.instances == 0 {
        return Vec::new();
    }
    let configured = service.scale.max_instances;
    let cap = service.fleet.instance_cap.map(InstanceCap::max_instances);
    let max = cap.map_or(configured, |cap| cap.min(configured));
    let capacity = f64::from(max);
    let share = capacity / f64::from(current.instances.max(1));
    [
        (Metric::CpuPercent, service.scale.cpu_up_percent * share),
        (
            Metric::RequestRate,
            service.scale.request_rate_up * capacity,
        ),
    ]
    .map(|(metric, limit)| Limited {
        kind: LimitKind::Instances { max },
        metric,
        limit,
    })
    .to_vec()
}

/// What there is to look ahead with.
#[derive(Debug)]
struct Outlook<'a> {
    history: &'a MetricsHistory,
    near: &'a LoadPrediction,
    forecaster: &'a Auto,
    reach: Duration,
}

impl Outlook<'_> {
    fn alert(&self, limited: Limited, current: f64) -> Option<Alert> {
        let Limited {
            kind,
            metric,
            limit,
        } = limited;
        let at_limit = Alert {
            kind,
            metric,
            limit,
            current,
            reached_in: Some(Duration::ZERO),
            earliest: None,
            latest: None,
            reach: self.reach,
            model: None,
            is_earned: false,
        };
        if current >= limit {
            // More load than all instances can take is for the scaling decision to say.
            return (kind == LimitKind::Metric).then_some(at_limit);
        }
        let near = self.near.get(metric).filter(|made| may_speak(made));
        // Where the models were judged and failed, what is not judged has no say.
        let has_say = |made: &Forecast| may_speak(made) && (near.is_some() || made.is_earned());
        let far = self.far(metric, limit).filter(has_say);
        let way = Way {
            near,
            far: far.as_ref(),
            horizon: self.near.horizon,
            newest: (self.near.at - self.near.horizon, current),
            limit,
        };
        let reached_in = way.crossed_in(MEDIAN);
        let earliest = way.crossed_in(UPPER).or(reached_in)?;
        let is_near = earliest <= way.horizon && way.near.is_some();
        let spoken = way.far.filter(|_| !is_near).or(way.near)?;
        Some(Alert {
            reached_in,
            earliest: Some(earliest),
            latest: way.crossed_in(LOWER),
            model: Some(spoken.model),
            is_earned: spoken.is_earned(),
            ..at_limit
        })
    }

    /// The forecast as far as the history supports it, where that is beyond the horizon and the limit is not out of the
    /// question: farther above the highest value than this is above the lowest, in four times as long.
    fn far(&self, metric: Metric, limit: f64) -> Option<Forecast> {
        if self.reach <= self.near.horizon {
            return None;
        }
        let tier = self.history.tier_for_horizon(self.reach);
        let points = self.history.series(metric, tier);
        let values = points.iter().map(|point| point.1);
        let (lowest, highest) = values.fold((f64::MAX, f64::MIN), |(lowest, highest), value| {
            (lowest.min(value), highest.max(value))
        });
        if limit > highest + (highest - lowest) {
            return None;
        }
        let made = LoadPrediction::of(&[metric], self.history, self.reach, self.forecaster).ok()?;
        made.get(metric).cloned()
    }
}

/// A muted forecast says nothing. One that cannot be judged yet may, and the report says that it is not judged.
fn may_speak(forecast: &Forecast) -> bool {
    let is_judged_worse = forecast.skill.is_some() && !forecast.is_earned();
    !forecast.muted && !is_judged_worse && forecast.quantiles.is_some()
}

/// Places in [`super::forecast::LEVELS`].
const LOWER: usize = 0;
const MEDIAN: usize = 2;
const UPPER: usize = 4;

/// The paths of one metric towards a limit: in fine steps to the horizon, in coarse ones beyond.
#[derive(Debug)]
struct Way<'a> {
    near: Option<&'a Forecast>,
    far: Option<&'a Forecast>,
    horizon: Duration,
    newest: (Timestamp, f64),
    limit: f64,
}

impl Way<'_> {
    /// When the path of one quantile crosses the limit.
    fn crossed_in(&self, level: usize) -> Option<Duration> {
        let within = self.near.and_then(|near| self.crossing(near, level));
        within.or_else(|| {
            let beyond = self.crossing(self.far?, level)?;
            // Where there is a finer path, it has said that the limit is not crossed before the horizon.
            let least = self.near.map_or(Duration::ZERO, |_| self.horizon);
            Some(beyond.max(least))
        })
    }

    /// Straight from step to step. A step's value is a mean, and stands for the step's middle.
    fn crossing(&self, forecast: &Forecast, level: usize) -> Option<Duration> {
        let (newest, mut before) = self.newest;
        let (mut begin, mut from) = (newest, Duration::ZERO);
        for step in &forecast.path {
            let value = *step.quantiles?.get(level)?;
            let middle = begin.since(newest) + step.at.since(begin) / 2;
            if value >= self.limit {
                let share = (self.limit - before) / (value - before);
                return Some(from + middle.saturating_sub(from).mul_f64(share.clamp(0.0, 1.0)));
            }
            (begin, from, before) = (step.at, middle, value);
        }
        None
    }
}

#[cfg(test)]
mod tests;

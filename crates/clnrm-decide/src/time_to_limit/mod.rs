//! When a service will run into a limit: the moments at which the forecast path and its edges cross it.
//!
//! Deliberately absent: extrapolation. What no path reaches is not said, and a forecast that is muted says nothing.

use std::time::Duration;

use serde::Serialize;

use super::assess::ServiceView;
use super::autoscale::InstanceCap;
use super::forecast::{AutoOnce, Forecast, LoadPrediction, ModelName, as_seconds};
use super::history::MetricsHistory;
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Alert {
    /// What kind of limit it is.
    #[serde(flatten)]
    pub kind: LimitKind,
    /// The metric that reaches it.
    pub metric: Metric,
    /// The limit, in the metric's unit.
    pub limit: f64,
    /// The newest sample.
    pub current: f64,
    /// When the median path crosses the limit (zero: the newest sample is there already); `None` = not within `reach`.
    #[serde(rename = "reached_in_seconds", serialize_with = "as_optional_seconds")]
    pub reached_in: Option<Duration>,
    /// When the upper edge of the 90 % interval does.
    #[serde(rename = "earliest_seconds", serialize_with = "as_optional_seconds")]
    pub earliest: Option<Duration>,
    /// When the lower edge does.
    #[serde(rename = "latest_seconds", serialize_with = "as_optional_seconds")]
    pub latest: Option<Duration>,
    /// How far ahead was looked.
    #[serde(rename = "reach_seconds", serialize_with = "as_seconds")]
    pub reach: Duration,
    /// Whose forecast it is; `None` = nothing had to be forecast.
    pub model: Option<ModelName>,
    /// Whether the forecast has been better than the last value on this history; if not, there is too little to judge.
    pub is_earned: bool,
}

/// What kind of limit a metric runs into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LimitKind {
    /// The metric's own.
    Metric,
    /// The load that the most instances allowed can take.
    Instances {
        /// The most allowed.
        max: u32,
    },
}

pub(super) fn as_optional_seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => as_seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
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
    view: &ServiceView<'_>,
    prediction: &LoadPrediction,
    forecaster: &AutoOnce,
) -> Vec<Alert> {
    let Some(current) = view.history.latest() else {
        return Vec::new();
    };
    let outlook = Outlook {
        history: view.history,
        near: prediction,
        forecaster,
        reach: reach(view.history, prediction.horizon),
    };
    let alert = |limited: Limited| outlook.alert(limited, current.get(limited.metric)?);
    let mut found: Vec<Alert> = own_limits(view).into_iter().filter_map(alert).collect();
    let instances = instance_limits(view, current).into_iter();
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

fn own_limits(view: &ServiceView<'_>) -> [Limited; 4] {
    [
        (Metric::CpuPercent, CPU_LIMIT_PERCENT),
        (Metric::MemoryMb, view.limits.memory_limit_mb),
        (Metric::ErrorRate, ERROR_RATE_LIMIT),
        (Metric::ResponseTimeMs, view.limits.response_target_ms),
    ]
    .map(|(metric, limit)| Limited {
        kind: LimitKind::Metric,
        metric,
        limit,
    })
}

/// The load from which on more instances than allowed would be wanted. Memory does not count: it need not divide.
fn instance_limits(view: &ServiceView<'_>, current: &ServiceMetrics) -> Vec<Limited> {
    if view.fleet.instances == 0 {
        return Vec::new();
    }
    let configured = view.scale.max_instances;
    let cap = view.fleet.instance_cap.map(InstanceCap::max_instances);
    let max = cap.map_or(configured, |cap| cap.min(configured));
    let capacity = f64::from(max);
    let share = capacity / f64::from(current.instances.max(1));
    [
        (Metric::CpuPercent, view.scale.cpu_up_percent * share),
        (Metric::RequestRate, view.scale.request_rate_up * capacity),
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
    /// To the horizon.
    near: &'a LoadPrediction,
    forecaster: &'a AutoOnce,
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
        let made = LoadPrediction::of_metrics(&[metric], self.history, self.reach, self.forecaster)
            .ok()?;
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
    /// Below the limit.
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

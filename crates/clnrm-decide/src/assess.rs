//! One service, looked at from every side: the single path from what is known to what is reported.
//!
//! Deliberately absent: state. A thousand services are assessed one after another in the memory of one.

use std::time::Duration;

use serde::Serialize;

use super::autoscale::{
    AutoScaleConfig, InstanceCap, InstanceStart, PastAction, ScalingDecision, ScalingInputs, decide,
};
use super::cost::{self, Allotment, CostKind, CostRecommendation, recommend};
use super::forecast::{AutoOnce, LoadPrediction, NotEnoughData};
use super::health::{Health, HealthLimits, Trouble};
use super::history::{MetricsHistory, Tier, Wanted};
use super::memory::{LimitedMemory, MemoryAlert};
use super::metrics::{Metric, ServiceMetrics};
use super::pool::{PoolCounts, PoolDemand, PoolReport};
use super::time_to_limit::{self, Alert, alerts};
use crate::Timestamp;

/// What is asked of an assessment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    /// How far ahead to predict.
    pub horizon: Duration,
    /// Report predicted load, predicted health and alerts.
    pub predict_load: bool,
    /// Decide about scaling.
    pub auto_scale: bool,
    /// Report the pool and what could be saved.
    pub optimize_resources: bool,
}

/// The instances of a service.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fleet<'a> {
    /// Live instances, those that are starting included; 0 = the service is stopped.
    pub instances: u32,
    /// How many of them are leased.
    pub leased: u32,
    /// The instance that was started last.
    pub newest_start: Option<InstanceStart>,
    /// What allows fewer instances than configured.
    pub instance_cap: Option<InstanceCap>,
    /// What was done before.
    pub past_actions: &'a [PastAction],
    /// Instances that are paused, are being restarted or fail their own check.
    pub not_serving: u32,
}

/// Everything that is known of one service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceView<'a> {
    /// Its name.
    pub name: &'a str,
    /// What was measured.
    pub history: &'a MetricsHistory,
    /// Its thresholds and limits for scaling.
    pub scale: &'a AutoScaleConfig,
    /// What its health is held against.
    pub limits: HealthLimits,
    /// What it is given and what that costs.
    pub allotment: Allotment,
    /// Its instances.
    pub fleet: Fleet<'a>,
    /// The memory that each is let have.
    pub memory: LimitedMemory,
    /// Its pool and how that was used; `None` = it has no pool.
    pub pool: Option<(PoolCounts, PoolDemand<'a>)>,
}

/// The answer. What was not asked for is `None` or empty.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessment {
    /// The newest sample; `None` = nothing was measured.
    pub current: Option<ServiceMetrics>,
    /// The health that it shows.
    pub current_health: Health,
    /// The predicted load, or how many samples are missing.
    pub prediction: Option<Result<LoadPrediction, NotEnoughData>>,
    /// The health that the prediction shows.
    pub predicted_health: Option<Health>,
    /// The limits that are reached, or that forecasts reach.
    pub alerts: Vec<Alert>,
    /// What there is to say of memory; not only when a prediction is asked for.
    pub memory: Option<MemoryAlert>,
    /// What should happen to the number of instances; `None` also for a stopped service.
    pub scaling: Option<ScalingDecision>,
    /// The pool.
    pub pool: Option<PoolReport>,
    /// What could be saved, in the order of reports.
    pub recommendations: Vec<CostRecommendation>,
}

/// What an assessment of a service with so many instances looks at, as far as its raw samples and the spans of its tiers
/// tell.
pub fn wanted(history: &MetricsHistory, requested: &Requested, instances: u32) -> Wanted {
    let looks_ahead = requested.predict_load || (requested.auto_scale && instances > 0);
    let near = looks_ahead.then_some(requested.horizon);
    let far = requested
        .predict_load
        .then(|| time_to_limit::reach(history, requested.horizon));
    let tiers = [near, far].map(|ahead| Some(history.tier_for_horizon(ahead?)));
    Wanted {
        minute: tiers.contains(&Some(Tier::Minute)),
        quarter_hour: tiers.contains(&Some(Tier::QuarterHour)),
        peaks: requested.optimize_resources && cost::is_under_utilized(history),
    }
}

/// Assesses one service.
pub fn assess(view: &ServiceView<'_>, requested: &Requested, now: Timestamp) -> Assessment {
    let current = view.history.latest().copied();
    // Scaling looks ahead too, whether or not the prediction is to be shown.
    let metrics: &[Metric] = match (requested.predict_load, requested.auto_scale) {
        (true, _) => &LoadPrediction::METRICS,
        (false, true) if view.fleet.instances > 0 => &LoadPrediction::SCALED,
        (false, _) => &[],
    };
    let auto = AutoOnce::default();
    let prediction = (!metrics.is_empty())
        .then(|| LoadPrediction::of_metrics(metrics, view.history, requested.horizon, &auto));
    let expected = prediction.as_ref().and_then(|made| made.as_ref().ok());
    let scaling = (requested.auto_scale && view.fleet.instances > 0)
        .then(|| decide_scaling(view, expected, now));
    let shown = expected.filter(|_| requested.predict_load);
    let optimize = requested.optimize_resources;
    let pool = view
        .pool
        .filter(|_| optimize)
        .map(|(counts, demand)| PoolReport::of(counts, &demand));
    let trouble = Trouble {
        is_short_of_memory: view.memory.kills.is_some(),
        not_serving: view.fleet.not_serving,
        instances: view.fleet.instances,
    };
    let health = |sample: &ServiceMetrics| Health::troubled(sample, &view.limits, &trouble);
    Assessment {
        current_health: health(&current.unwrap_or_default()),
        predicted_health: shown.map(|made| health(&made.expected())),
        memory: view
            .memory
            .alert(current.and_then(|sample| sample.memory_mb)),
        alerts: shown
            .map(|made| alerts(view, made, &auto))
            .unwrap_or_default(),
        scaling,
        pool,
        recommendations: if optimize {
            let (instances, pool) = (view.fleet.instances, pool.as_ref());
            let mut found = recommend(view.name, view.history, &view.allotment, instances, pool);
            // What is in use after a kill is little because of it.
            found.retain(|found| found.kind != CostKind::Downsize || view.memory.kills.is_none());
            found
        } else {
            Vec::new()
        },
        prediction: prediction.filter(|_| requested.predict_load),
        current,
    }
}

/// Decides about the number of instances alone.
pub(super) fn decide_scaling(
    view: &ServiceView<'_>,
    prediction: Option<&LoadPrediction>,
    now: Timestamp,
) -> ScalingDecision {
    let samples = view.history.recent(view.scale.evidence_window(), now);
    decide(&ScalingInputs {
        config: view.scale,
        samples: &samples,
        prediction,
        instances: view.fleet.instances,
        leased: view.fleet.leased,
        newest_start: view.fleet.newest_start,
        past_actions: view.fleet.past_actions,
        instance_cap: view.fleet.instance_cap,
        now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> MetricsHistory {
        let mut history = MetricsHistory::new();
        for second in 0..120 {
            let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1_000), 2);
            sample.cpu_percent = Some(5.0);
            sample.memory_mb = Some(40.0);
            history.push(sample);
        }
        history
    }

    fn assess_with(instances: u32, requested: Requested) -> Assessment {
        let (history, scale) = (history(), AutoScaleConfig::default());
        let view = ServiceView {
            name: "cache",
            history: &history,
            scale: &scale,
            limits: HealthLimits::default(),
            allotment: Allotment::default(),
            fleet: Fleet {
                instances,
                ..Fleet::default()
            },
            memory: LimitedMemory::default(),
            pool: Some((
                PoolCounts {
                    available: 3,
                    in_use: 1,
                },
                PoolDemand::default(),
            )),
        };
        assess(&view, &requested, Timestamp::from_millis(119_500))
    }

    const NOTHING: Requested = Requested {
        horizon: Duration::from_secs(300),
        predict_load: false,
        auto_scale: false,
        optimize_resources: false,
    };

    #[test]
    fn a_part_that_was_not_asked_for_is_absent() {
        let nothing = assess_with(2, NOTHING);
        assert!(nothing.prediction.is_none() && nothing.predicted_health.is_none());
        assert!(nothing.scaling.is_none() && nothing.pool.is_none());
        assert_eq!(nothing.recommendations, []);
        assert!(nothing.current_health.score.is_some());
    }

    #[test]
    fn each_part_answers_when_it_is_asked_for() {
        let all = assess_with(
            2,
            Requested {
                predict_load: true,
                auto_scale: true,
                optimize_resources: true,
                ..NOTHING
            },
        );
        assert!(all.prediction.unwrap().is_ok());
        assert!(all.predicted_health.unwrap().score.is_some());
        assert_eq!(all.scaling.unwrap().to, 1);
        assert_eq!(all.pool.unwrap().utilization, Some(0.25));
        assert_eq!(all.recommendations.len(), 2);
    }

    #[test]
    fn a_stopped_service_is_reported_but_not_scaled() {
        let requested = Requested {
            auto_scale: true,
            ..NOTHING
        };
        assert_eq!(assess_with(0, requested).scaling, None);
        let serialized = serde_json::to_value(assess_with(2, requested)).unwrap();
        assert_eq!(serialized["scaling"]["action"], "scale_down");
        assert_eq!(serialized["scaling"]["by"], 1);
        assert_eq!(serialized["prediction"], serde_json::Value::Null);
    }
}

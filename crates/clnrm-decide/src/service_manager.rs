//! The services of a project, looked at from every side: what `ai-manage` drives.
//!
//! Deliberately absent: the services. A thousand are assessed one after another in the memory of one, and whoever drives
//! this reads of a history no more than is [`ServiceManager::wanted`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::autoscale::{ScalingDecision, ScalingInputs, decide};
use super::cost::{self, CostKind, CostRecommendation, recommend};
use super::forecast::{Auto, LoadPrediction, NotEnoughData};
use super::health::{Health, Trouble};
use super::history::{MetricsHistory, Wanted};
use super::managed_service::ManagedService;
use super::memory::MemoryAlert;
use super::metrics::{Metric, ServiceMetrics};
use super::pool::PoolReport;
use super::rollup::Tier;
use super::time_to_limit::{self, Alert, alerts};
use crate::Timestamp;

/// What is asked of an assessment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// How far ahead to predict.
    pub horizon: Duration,
    /// Report predicted load, predicted health and alerts.
    pub predict_load: bool,
    pub auto_scale: bool,
    /// Report the pool and what could be saved.
    pub optimize_resources: bool,
}

/// The answer. What was not asked for is `None` or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub pool: Option<PoolReport>,
    /// What could be saved, in the order of reports.
    pub recommendations: Vec<CostRecommendation>,
}

/// Answers what is asked about services, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct ServiceManager {
    pub requested: Requested,
    pub now: Timestamp,
}

impl ServiceManager {
    /// What an assessment of a service with so many instances looks at, as far as its raw samples and the spans of its
    /// tiers tell.
    pub fn wanted(&self, history: &MetricsHistory, instances: u32) -> Wanted {
        let requested = &self.requested;
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

    /// Everything that was asked for about one service: assessments and decisions out.
    pub fn assess(&self, service: &ManagedService<'_>) -> Assessment {
        let requested = &self.requested;
        let current = service.history.latest().copied();
        let is_scaled = requested.auto_scale && service.fleet.instances > 0;
        // Scaling looks ahead too, whether or not the prediction is to be shown.
        let metrics: &[Metric] = match requested.predict_load {
            true => &LoadPrediction::METRICS,
            false if is_scaled => &LoadPrediction::SCALED,
            false => &[],
        };
        let auto = Auto::default();
        let prediction = (!metrics.is_empty())
            .then(|| LoadPrediction::of(metrics, service.history, requested.horizon, &auto));
        let expected = prediction.as_ref().and_then(|made| made.as_ref().ok());
        let shown = expected.filter(|_| requested.predict_load);
        let health = |sample: &ServiceMetrics| predict_health(service, sample);
        Assessment {
            current_health: health(&current.unwrap_or_default()),
            predicted_health: shown.map(|made| health(&made.expected())),
            memory: service
                .memory
                .alert(current.and_then(|sample| sample.memory_mb)),
            alerts: shown
                .map(|made| alerts(service, made, &auto))
                .unwrap_or_default(),
            scaling: is_scaled.then(|| self.determine_scaling_action(service, expected)),
            pool: service.pool.filter(|_| requested.optimize_resources),
            recommendations: match requested.optimize_resources {
                true => generate_cost_recommendations(service),
                false => Vec::new(),
            },
            prediction: prediction.filter(|_| requested.predict_load),
            current,
        }
    }

    /// How many instances a service should have.
    pub fn determine_scaling_action(
        &self,
        service: &ManagedService<'_>,
        prediction: Option<&LoadPrediction>,
    ) -> ScalingDecision {
        let window = service.scale.evidence_window();
        decide(ScalingInputs::gather(
            service.scale,
            &service.history.recent(window, self.now),
            prediction,
            service.fleet.clone(),
            self.now,
        ))
    }
}

/// The health of a service that one sample shows, measured or expected.
fn predict_health(service: &ManagedService<'_>, sample: &ServiceMetrics) -> Health {
    let trouble = Trouble {
        is_short_of_memory: service.memory.kills.is_some(),
        not_serving: service.fleet.not_serving,
        instances: service.fleet.instances,
    };
    Health::troubled(sample, &service.limits, &trouble)
}

/// What could be saved, in the order of reports.
fn generate_cost_recommendations(service: &ManagedService<'_>) -> Vec<CostRecommendation> {
    let mut found = recommend(
        service.name,
        service.history,
        &service.allotment,
        service.fleet.instances,
        service.pool.as_ref(),
    );
    // What is in use after a kill is little because of it.
    found.retain(|found| found.kind != CostKind::Downsize || service.memory.kills.is_none());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rolled_up::rolled_up;
    use crate::{
        Allotment, AutoScaleConfig, Fleet, HealthLimits, LimitedMemory, PoolDemand, ResourcePool,
    };

    fn history() -> MetricsHistory {
        let mut made = Vec::new();
        for second in 0..120 {
            let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1_000), 2);
            sample.cpu_percent = Some(5.0);
            sample.memory_mb = Some(40.0);
            made.push(sample);
        }
        rolled_up(made)
    }

    fn assess_with(instances: u32, requested: Requested) -> Assessment {
        let (history, scale) = (history(), AutoScaleConfig::default());
        let service = ManagedService {
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
            pool: Some(PoolReport {
                instances: ResourcePool {
                    available: 3,
                    in_use: 1,
                },
                demand: PoolDemand::default(),
                warm: None,
            }),
        };
        let now = Timestamp::from_millis(119_500);
        ServiceManager { requested, now }.assess(&service)
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
        assert_eq!(all.pool.unwrap().instances.utilization(), Some(0.25));
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

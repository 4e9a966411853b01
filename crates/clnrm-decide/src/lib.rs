//! Pure data types and decisions: measurements in, decisions with their reasons out.
//!
//! Deliberately absent: async, files, network, environment, clock, randomness, logging.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

pub mod absent;
pub mod assess;
pub mod autoscale;
pub mod cost;
pub mod forecast;
pub mod health;
pub mod history;
pub mod memory;
pub mod metrics;
pub mod pool;
pub mod refill;
pub mod source;
pub mod sources;
mod statistics;
pub mod time_to_limit;
pub mod timestamp;

pub use absent::{Absent, Measured};
pub use assess::{Assessment, Fleet, Requested, ServiceView, assess, wanted};
pub use autoscale::{
    AutoScaleConfig, InstanceCap, InstanceStart, PastAction, ScalingAction, ScalingDecision,
    ScalingInputs, decide,
};
pub use cost::{Allotment, CostKind, CostRecommendation};
pub use forecast::{
    Auto, Chosen, Ema, Forecast, Forecaster, Interval, LastValue, LoadPrediction, NotEnoughData,
    PathStep, Series, SeriesForecaster, Skill, StepForecast, Steps, Window, choose,
};
pub use health::{Health, HealthLimits, HealthStatus};
pub use history::{MetricsHistory, Rollup, Summary, Tier, Unread, Wanted};
pub use memory::{LimitedMemory, MemoryAlert, MemoryKills};
pub use metrics::{Metric, NotFinite, ServiceMetrics};
pub use pool::{
    PoolAdvice, PoolCounts, PoolDemand, PoolReport, PoolUsage, PoolWorth, ResourcePool,
};
pub use refill::PoolSlots;
pub use source::Source;
pub use sources::Sources;
pub use time_to_limit::{Alert, LimitKind};
pub use timestamp::{NotATime, Timestamp, rfc3339};

/// The histories, pools and actions of several services, kept in memory, and the questions that can be asked about them.
///
/// Every answer comes from the same pure functions that a streaming caller uses directly (see [`assess()`]).
#[derive(Debug, Default)]
pub struct ServiceManager {
    services: BTreeMap<String, ManagedService>,
}

/// One service in a [`ServiceManager`]. Whoever acts keeps the fleet's fields up to date.
#[derive(Debug, Clone, Default)]
pub struct ManagedService {
    /// What was measured.
    pub history: MetricsHistory,
    /// Its thresholds and limits for scaling.
    pub scale: AutoScaleConfig,
    /// What its health is held against.
    pub limits: HealthLimits,
    /// What it is given and what that costs.
    pub allotment: Allotment,
    /// Its pool.
    pub pool: ResourcePool,
    /// Live instances, those that are starting included.
    pub instances: u32,
    /// The instance that was started last.
    pub newest_start: Option<InstanceStart>,
    /// What allows fewer instances than configured.
    pub instance_cap: Option<InstanceCap>,
    /// Scaling actions that were carried out.
    pub past_actions: Vec<PastAction>,
}

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServiceManagerError {
    /// No such service was added.
    #[error("there is no service `{service}`")]
    UnknownService {
        /// The name that was asked for.
        service: String,
    },
    /// There are too few samples.
    #[error("the load of `{service}` cannot be predicted")]
    NotEnoughData {
        /// The service.
        service: String,
        /// How many there are and how many it takes.
        source: NotEnoughData,
    },
}

impl ServiceManager {
    /// A manager without services.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of its services, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// The service of that name, added with defaults if it is new.
    pub fn service_mut(&mut self, name: &str) -> &mut ManagedService {
        self.services.entry(name.to_owned()).or_default()
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Result<&ManagedService, ServiceManagerError> {
        self.services
            .get(name)
            .ok_or_else(|| ServiceManagerError::UnknownService {
                service: name.to_owned(),
            })
    }

    /// Adds a sample to a service's history.
    pub fn record_metrics(&mut self, name: &str, sample: ServiceMetrics) {
        self.service_mut(name).history.push(sample);
    }

    /// What the load of a service will probably be.
    pub fn predict_load(
        &self,
        name: &str,
        horizon: Duration,
    ) -> Result<LoadPrediction, ServiceManagerError> {
        LoadPrediction::of(&self.service(name)?.history, horizon, &Ema).map_err(|source| {
            ServiceManagerError::NotEnoughData {
                service: name.to_owned(),
                source,
            }
        })
    }

    /// How many instances a service should have.
    pub fn determine_scaling_action(
        &self,
        name: &str,
        horizon: Duration,
        now: Timestamp,
    ) -> Result<ScalingDecision, ServiceManagerError> {
        let service = self.service(name)?;
        let prediction = LoadPrediction::of(&service.history, horizon, &Ema).ok();
        let view = service.view(name);
        Ok(assess::decide_scaling(&view, prediction.as_ref(), now))
    }

    /// The health that is to be expected of a service.
    pub fn predict_health(
        &self,
        name: &str,
        horizon: Duration,
    ) -> Result<Health, ServiceManagerError> {
        let expected = self.predict_load(name, horizon)?.expected();
        Ok(Health::of(&expected, &self.service(name)?.limits))
    }

    /// What could be saved over all services, most important first.
    pub fn generate_cost_recommendations(&self) -> Vec<CostRecommendation> {
        let mut found: Vec<CostRecommendation> = self
            .services
            .iter()
            .flat_map(|(name, service)| {
                let pool = PoolReport::of(service.pool.counts(), &PoolDemand::default());
                let (history, allotment) = (&service.history, &service.allotment);
                cost::recommend(name, history, allotment, service.instances, Some(&pool))
            })
            .collect();
        cost::sort(&mut found);
        found
    }

    /// Everything about one service.
    pub fn assess(
        &self,
        name: &str,
        requested: &Requested,
        now: Timestamp,
    ) -> Result<Assessment, ServiceManagerError> {
        Ok(assess(&self.service(name)?.view(name), requested, now))
    }
}

impl ManagedService {
    fn view<'a>(&'a self, name: &'a str) -> ServiceView<'a> {
        let counts = self.pool.counts();
        ServiceView {
            name,
            history: &self.history,
            scale: &self.scale,
            limits: self.limits,
            allotment: self.allotment,
            fleet: Fleet {
                instances: self.instances,
                leased: counts.in_use,
                newest_start: self.newest_start,
                instance_cap: self.instance_cap,
                past_actions: &self.past_actions,
                not_serving: 0,
            },
            memory: LimitedMemory::default(),
            pool: Some((counts, PoolDemand::default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HORIZON: Duration = Duration::from_secs(60);

    fn manager(cpu_percent: f64) -> ServiceManager {
        let mut manager = ServiceManager::new();
        for second in 0..100 {
            let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1_000), 1);
            sample.cpu_percent = Some(cpu_percent);
            sample.memory_mb = Some(50.0);
            manager.record_metrics("api", sample);
        }
        manager.service_mut("api").instances = 1;
        manager
    }

    #[test]
    fn answers_about_a_service_that_it_knows() {
        let manager = manager(90.0);
        let now = Timestamp::from_millis(99_000);
        let prediction = manager.predict_load("api", HORIZON).unwrap();
        assert_eq!(prediction.get(Metric::CpuPercent).unwrap().value, 90.0);
        let decision = manager
            .determine_scaling_action("api", HORIZON, now)
            .unwrap();
        assert_eq!(decision.action, ScalingAction::ScaleUp { by: 1 });
        let health = manager.predict_health("api", HORIZON).unwrap();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert_eq!(manager.generate_cost_recommendations(), []);
    }

    #[test]
    fn recommendations_of_all_services_are_ranked_together() {
        let mut manager = manager(5.0);
        let quiet = manager.service("api").unwrap().clone();
        *manager.service_mut("another") = quiet;
        let names: Vec<String> = manager
            .generate_cost_recommendations()
            .into_iter()
            .map(|found| found.service_name)
            .collect();
        assert_eq!(names, ["another", "api"]);
    }

    #[test]
    fn says_what_it_does_not_know() {
        let mut manager = manager(5.0);
        let error = manager.predict_load("x", HORIZON).unwrap_err();
        assert_eq!(error.to_string(), "there is no service `x`");
        manager.service_mut("new");
        let error = manager.predict_health("new", HORIZON).unwrap_err();
        assert!(matches!(error, ServiceManagerError::NotEnoughData { .. }));
    }
}

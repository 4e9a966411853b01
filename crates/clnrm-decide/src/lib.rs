//! Pure data types and decisions: measurements in, decisions with their reasons out.
//!
//! Deliberately absent: async, files, network, environment, clock, randomness, logging.

pub mod absent;
pub mod attempts;
pub mod autoscale;
pub mod cost;
pub mod forecast;
pub mod health;
pub mod history;
pub mod managed_service;
pub mod memory;
pub mod metrics;
pub mod pool;
pub mod refill;
#[cfg(test)]
#[path = "../tests/decisions/rolled_up.rs"]
mod rolled_up;
pub mod rollup;
pub mod service_manager;
pub mod source;
pub mod sources;
mod statistics;
pub mod time_to_limit;
pub mod timestamp;

pub use absent::{Absent, Measured};
pub use autoscale::{
    AutoScaleConfig, Evidence, Fleet, InstanceCap, InstanceStart, PastAction, ScalingAction,
    ScalingDecision, ScalingInputs, decide,
};
pub use cost::{Allotment, CostKind, CostRecommendation};
pub use forecast::{
    Auto, Chosen, Ema, Forecast, Forecaster, Interval, LastValue, LoadPrediction, NotEnoughData,
    PathStep, Series, Skill, StepForecast, Steps, UsedForecast, Window, choose,
};
pub use health::{Health, HealthLimits, HealthStatus};
pub use history::{MetricsHistory, Unread, Wanted};
pub use managed_service::ManagedService;
pub use memory::{LimitedMemory, MemoryAlert, MemoryKills};
pub use metrics::{Metric, NotFinite, ServiceMetrics};
pub use pool::{
    LeaseSpan, PoolAdvice, PoolDemand, PoolReport, PoolUsage, PoolWorth, ResourcePool, WarmPool,
};
pub use refill::PoolSlots;
pub use rollup::{Rollup, Summary, Tier};
pub use service_manager::{Assessment, Requested, ServiceManager};
pub use source::Source;
pub use sources::Sources;
pub use time_to_limit::{Alert, LimitKind};
pub use timestamp::{NotATime, Timestamp, rfc3339};

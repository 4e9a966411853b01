//! Pure data types and decisions: measurements in, decisions with their reasons out.
//!
//! Deliberately absent: async, files, network, environment, clock, randomness, logging.

pub mod autoscale;
pub mod cost;
pub mod forecast;
pub mod health;
pub mod history;
pub mod metrics;
pub mod pool;
mod statistics;

pub use autoscale::AutoScaleConfig;
pub use cost::{Allotment, CostKind, CostRecommendation};
pub use forecast::{
    Ema, Forecast, Forecaster, Interval, LastValue, LoadPrediction, NotEnoughData, Series, Skill,
};
pub use health::{Alert, Health, HealthLimits, HealthStatus};
pub use history::{MetricsHistory, Rollup, Summary, Tier};
pub use metrics::{Metric, NotFinite, ServiceMetrics};
pub use pool::{PoolAdvice, PoolCounts, PoolDemand, PoolReport, ResourcePool};

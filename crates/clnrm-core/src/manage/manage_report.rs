//! What one pass of `ai-manage` found, decided and did. JSON is this very struct (schema `clnrm.ai-manage/1`).

use std::collections::BTreeMap;

use serde::Serialize;

pub use super::forecast_report::{
    ComparedModel, ForecastBasis, ForecastReport, PathPoint, PredictedValue, Prediction, Quantiles,
    SampleCounts, SkillReport, TimeToLimit,
};
use crate::clock::{Timestamp, rfc3339};

/// The whole report. Parts that were not asked for are `None` (`null` in JSON).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManageReport {
    /// Always [`ManageReport::SCHEMA`].
    pub schema: &'static str,
    /// When the pass began.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub generated_at: Timestamp,
    /// How far ahead the predictions look.
    pub horizon_minutes: u64,
    /// `--dry-run`: decisions were made, nothing was done.
    pub dry_run: bool,
    /// One entry per selected service, by name.
    pub services: Vec<ServiceReport>,
    /// Sorted by priority, then savings, then name; `None` without `--optimize-resources`.
    pub recommendations: Option<Vec<Recommendation>>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// The test file that declares it, where two services share the name.
    pub file: Option<String>,
    /// Whether instances are running.
    pub state: ServiceState,
    /// Running instances.
    pub instances: u32,
    /// The newest sample; `None` when there never was one.
    pub current: Option<CurrentMetrics>,
    /// Metric → where it came from (`procfs`, `redis`, …).
    pub sources: BTreeMap<String, String>,
    /// Metric → why it is not there.
    pub absent: BTreeMap<String, String>,
    /// `None` without `--predict-load`.
    pub prediction: Option<Prediction>,
    /// Current and (with `--predict-load`) predicted health.
    pub health: HealthReport,
    /// `None` without `--auto-scale`.
    pub scaling: Option<ScalingReport>,
    /// `None` without `--optimize-resources`.
    pub pool: Option<PoolSummary>,
    /// Limits that are reached or that the forecast reaches, as sentences.
    pub alerts: Vec<String>,
    /// The same as values.
    pub time_to_limit: Vec<TimeToLimit>,
}

/// Whether a service has instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// At least one instance runs.
    Running,
    /// No instance runs; the report is from its history.
    Stopped,
}

/// The newest sample, `null` where it could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurrentMetrics {
    /// When it was taken.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub sampled_at: Timestamp,
    /// Percent of the allotted CPU, mean per instance.
    pub cpu_percent: Option<f64>,
    /// Resident MB (10⁶ bytes), mean per instance.
    pub memory_mb: Option<f64>,
    /// Resident MB of all instances.
    pub memory_total_mb: Option<f64>,
    /// MB per second exchanged with clients.
    pub network_mb_per_s: Option<f64>,
    /// Open client connections.
    pub active_connections: Option<f64>,
    /// Requests per second, all instances.
    pub request_rate: Option<f64>,
    /// Mean over the sampling interval.
    pub response_time_ms: Option<f64>,
    /// Share of requests that failed, 0..=1.
    pub error_rate: Option<f64>,
}

/// Health now and at the horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    /// Of the newest sample.
    pub current: HealthValue,
    /// Of the forecast; `None` without `--predict-load` or without a forecast.
    pub predicted: Option<HealthValue>,
}

/// A score and its band.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthValue {
    /// 0..=100; `None` when nothing was measured.
    pub score: Option<f64>,
    /// The band.
    pub status: HealthBand,
    /// Which components the score was made of.
    pub used: Vec<String>,
}

/// Bands of the health score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthBand {
    /// Above 70.
    Healthy,
    /// 40 to 70.
    Degraded,
    /// Below 40.
    Unhealthy,
    /// Nothing was measured.
    Unknown,
}

/// The scaling decision and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingReport {
    /// What was decided.
    pub action: ScalingKind,
    /// By how many instances; 0 for `none`.
    pub by: u32,
    /// Instances before.
    pub from: u32,
    /// Instances wanted.
    pub to: u32,
    /// One sentence.
    pub reason: String,
    /// Each metric's own proposal, as sentences.
    pub proposals: Vec<String>,
    /// Each limit that was applied, in order, as sentences.
    pub limits_applied: Vec<String>,
    /// Whether it was carried out.
    pub performed: bool,
    /// How long that took, readiness included.
    pub took_ms: Option<u64>,
    /// Instances that really run afterwards, where it was carried out (also in part).
    pub instances_after: Option<u32>,
    /// Why it could not be carried out.
    pub error: Option<String>,
}

/// Directions of scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingKind {
    /// Add instances.
    ScaleUp,
    /// Remove instances.
    ScaleDown,
    /// Leave them.
    None,
}

/// The pool of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolSummary {
    /// Running and free.
    pub available: u32,
    /// Leased to a test.
    pub in_use: u32,
    /// In use / all, 0..=1; `None` when there is no instance.
    pub utilization: Option<f64>,
    /// The seed's sentence, where one applies.
    pub advice: Option<String>,
    /// Advised number of instances, where the history allows one.
    pub advised_size: Option<u32>,
    /// The arithmetic behind it.
    pub advice_basis: Option<String>,
    /// Instances that are kept warm; `None` = the service has no pool.
    pub size: Option<u32>,
    /// The share of its newest leases that got a warm instance, 0..=1.
    pub hit_rate: Option<f64>,
    /// Waiting that warm instances saved those leases, against the median cold start.
    pub wait_saved_ms: Option<f64>,
    /// Resident MB of the instances that are free.
    pub idle_memory_mb: Option<f64>,
}

/// One cost recommendation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// The service.
    pub service_name: String,
    /// `downsize`, `optimize`, `serverless_migration` or `pool_optimization`.
    pub kind: String,
    /// The kind as reports print it, e.g. `Downsize`.
    #[serde(skip)]
    pub title: String,
    /// One or two sentences.
    pub description: String,
    /// Percent of the service's cost.
    pub estimated_savings_percent: f64,
    /// 1..=5, 5 first.
    pub priority: u8,
    /// `rule_of_thumb` or `computed`.
    pub basis: String,
    /// The arithmetic, where it was computed.
    pub arithmetic: Option<String>,
    /// Money per month, where the project states its prices.
    pub estimated_savings_per_month: Option<f64>,
}

impl ManageReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.ai-manage/1";
}

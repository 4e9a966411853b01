//! The report of `ai-manage`: what JSON shows, and what the text for people is rendered from.

use std::collections::BTreeMap;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::forecast::{Prediction, TimeToLimit};
use super::metric::words;
use crate::clock::{Timestamp, rfc3339};
use crate::services::service_manager::cost::SavingsBasis;
use crate::services::service_manager::{
    CostKind, Health, HealthStatus, Metric, ScalingAction, ServiceMetrics, Source, Sources,
};

/// The whole report. Parts that were not asked for are `None` (`null` in JSON).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManageReport {
    /// Always [`ManageReport::SCHEMA`].
    pub schema: &'static str,
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

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceReport {
    pub name: String,
    /// The test file that declares it, where two services share the name.
    pub file: Option<String>,
    pub state: ServiceState,
    pub instances: u32,
    /// The newest sample; `None` when there never was one.
    #[serde(serialize_with = "current")]
    pub current: Option<ServiceMetrics>,
    /// `sources`: metric → where it came from (`procfs`, `redis`, …); `absent`: metric → why it is not there.
    #[serde(flatten, serialize_with = "sources_and_absences")]
    pub sources: Sources,
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

/// Health now and at the horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    #[serde(serialize_with = "health")]
    pub current: Health,
    /// Of the forecast; `None` without `--predict-load` or without a forecast.
    #[serde(serialize_with = "optional_health")]
    pub predicted: Option<Health>,
}

/// The scaling decision and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingReport {
    #[serde(serialize_with = "action_name")]
    pub action: ScalingAction,
    /// By how many instances; 0 for `none`.
    pub by: u32,
    pub from: u32,
    pub to: u32,
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

/// The pool of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolSummary {
    pub available: u32,
    pub in_use: u32,
    /// In use / all, 0..=1; `None` when there is no instance.
    pub utilization: Option<f64>,
    /// The seed's sentence, where one applies.
    pub advice: Option<&'static str>,
    /// Advised number of instances, where the history allows one.
    pub advised_size: Option<u32>,
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

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    pub service_name: String,
    pub kind: CostKind,
    pub description: &'static str,
    /// Percent of the service's cost.
    pub estimated_savings_percent: f64,
    /// 1..=5, 5 first.
    pub priority: u8,
    pub basis: SavingsBasis,
    /// The arithmetic, where it was computed.
    pub arithmetic: Option<String>,
    /// Money per month, where the project states its prices.
    pub estimated_savings_per_month: Option<f64>,
}

impl ManageReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.ai-manage/1";
}

fn current<S: Serializer>(
    sample: &Option<ServiceMetrics>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Some(sample) = sample else {
        return serializer.serialize_none();
    };
    let mut map = serializer.serialize_map(Some(1 + Metric::ALL.len()))?;
    map.serialize_entry("sampled_at", &sample.sampled_at.to_string())?;
    for metric in Metric::ALL {
        map.serialize_entry(metric.name(), &sample.get(metric))?;
    }
    map.end()
}

fn sources_and_absences<S: Serializer>(
    sources: &Sources,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let measured = sources.measured();
    let measured: BTreeMap<&str, &Source> = measured
        .map(|(metric, source)| (metric.name(), source))
        .collect();
    let absent = sources.absent();
    let absent: BTreeMap<&str, String> = absent
        .map(|(metric, reason)| (metric.name(), reason.to_string()))
        .collect();
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("sources", &measured)?;
    map.serialize_entry("absent", &absent)?;
    map.end()
}

fn health<S: Serializer>(health: &Health, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Worded {
        score: Option<f64>,
        status: HealthStatus,
        used: Vec<&'static str>,
    }
    let used = health
        .used
        .iter()
        .map(|metric| words(*metric).part)
        .collect();
    Worded {
        score: health.score,
        status: health.status,
        used,
    }
    .serialize(serializer)
}

fn optional_health<S: Serializer>(
    predicted: &Option<Health>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match predicted {
        Some(predicted) => health(predicted, serializer),
        None => serializer.serialize_none(),
    }
}

fn action_name<S: Serializer>(action: &ScalingAction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match action {
        ScalingAction::ScaleUp { .. } => "scale_up",
        ScalingAction::ScaleDown { .. } => "scale_down",
        ScalingAction::NoAction => "none",
    })
}

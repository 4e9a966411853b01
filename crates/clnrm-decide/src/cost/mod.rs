//! What a service could save.
//!
//! Deliberately absent: precision that is not there. Without an allotment the savings are the specification's rules of
//! thumb and are labelled so.

use serde::{Deserialize, Serialize};

use super::history::MetricsHistory;
use super::metrics::Metric;
use super::pool::PoolReport;
use super::statistics::mean;

mod allotment;
mod right_size;

pub use allotment::Allotment;
pub use right_size::{CpuSize, LEAST_CPUS, LEAST_MEMORY_MB, MemorySize, RightSize};

use allotment::{SAMPLES_NEEDED, measured};
use right_size::CpuUse;

/// Hours of a month: 365 · 24 / 12.
const HOURS_PER_MONTH: f64 = 730.0;

/// What kind of saving it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostKind {
    /// CPU and memory are hardly used.
    Downsize,
    Optimize,
    ServerlessMigration,
    PoolOptimization,
}

impl CostKind {
    /// The specification's saving in percent, a rule of thumb.
    const fn rule_of_thumb_percent(self) -> f64 {
        match self {
            Self::Downsize => 30.0,
            Self::Optimize => 15.0,
            Self::ServerlessMigration => 40.0,
            Self::PoolOptimization => 20.0,
        }
    }

    const fn priority(self) -> u8 {
        match self {
            Self::Downsize => 5,
            Self::Optimize | Self::ServerlessMigration => 4,
            Self::PoolOptimization => 3,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostRecommendation {
    pub service_name: String,
    /// What kind of saving it is.
    pub kind: CostKind,
    pub estimated_savings_percent: f64,
    /// 1 to 5; 5 comes first.
    pub priority: u8,
    /// Where the saving comes from.
    pub basis: SavingsBasis,
    /// The numbers behind a computed saving; `None` = a rule of thumb.
    pub right_size: Option<RightSize>,
    /// The saving per month over all running instances, in the currency of the rates; `None` = it was not computed, no
    /// rate is set or nothing runs.
    pub money_per_month: Option<f64>,
}

/// Where a saving comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavingsBasis {
    /// A constant of the specification.
    RuleOfThumb,
    /// Computed from the allotment and the measured use.
    Computed,
}

/// The recommendations for one service with so many running instances, sorted.
pub fn recommend(
    service_name: &str,
    history: &MetricsHistory,
    allotment: &Allotment,
    instances: u32,
    pool: Option<&PoolReport>,
) -> Vec<CostRecommendation> {
    if history.len() < SAMPLES_NEEDED {
        return Vec::new();
    }
    let average = |metric| average(history, metric);
    let mut found = Vec::new();
    if is_under_utilized(history) {
        found.extend(downsize(service_name, history, allotment, instances));
    }
    if average(Metric::ErrorRate).is_some_and(|rate| rate > 0.05) {
        found.push(rule_of_thumb(service_name, CostKind::Optimize));
    }
    if average(Metric::RequestRate).is_some_and(|rate| rate < 10.0) {
        found.push(rule_of_thumb(service_name, CostKind::ServerlessMigration));
    }
    let idles = |pool: &PoolReport| {
        let utilization = pool.instances.utilization();
        pool.instances.available > 2
            && utilization.is_some_and(|share| share < 0.5)
            && pool.may_shrink()
    };
    if pool.is_some_and(idles) {
        found.push(rule_of_thumb(service_name, CostKind::PoolOptimization));
    }
    sort(&mut found);
    found
}

/// Whether less might do. Only then recommendations rest on peaks that are older than the raw samples.
pub(super) fn is_under_utilized(history: &MetricsHistory) -> bool {
    average(history, Metric::CpuPercent).is_some_and(|cpu| cpu < 20.0)
        && average(history, Metric::MemoryMb).is_some_and(|memory| memory < 100.0)
}

fn average(history: &MetricsHistory, metric: Metric) -> Option<f64> {
    measured(history, metric).and_then(|values| mean(&values))
}

/// By priority, then by savings, then by name.
pub fn sort(recommendations: &mut [CostRecommendation]) {
    recommendations.sort_by(|a, b| {
        let savings = b
            .estimated_savings_percent
            .total_cmp(&a.estimated_savings_percent);
        b.priority
            .cmp(&a.priority)
            .then(savings)
            .then_with(|| a.service_name.cmp(&b.service_name))
    });
}

fn rule_of_thumb(service_name: &str, kind: CostKind) -> CostRecommendation {
    CostRecommendation {
        service_name: service_name.to_owned(),
        kind,
        estimated_savings_percent: kind.rule_of_thumb_percent(),
        priority: kind.priority(),
        basis: SavingsBasis::RuleOfThumb,
        right_size: None,
        money_per_month: None,
    }
}

/// `None` where the allotment fits already: the stated one, or the default one less what the rule of thumb takes off.
fn downsize(
    service_name: &str,
    history: &MetricsHistory,
    allotment: &Allotment,
    instances: u32,
) -> Option<CostRecommendation> {
    let simple = rule_of_thumb(service_name, CostKind::Downsize);
    let cpu = CpuUse::of(history)?;
    if allotment.cpus.is_none() && allotment.memory_mb.is_none() {
        let left = 1.0 - simple.estimated_savings_percent / 100.0;
        return (cpu.needed() <= left).then_some(simple);
    }
    let right_size = RightSize::of(history, allotment, &cpu)?;
    let share = right_size.freed_share()?;
    (share > 0.0).then(|| CostRecommendation {
        estimated_savings_percent: 100.0 * share,
        basis: SavingsBasis::Computed,
        right_size: Some(right_size),
        money_per_month: money_per_month(&right_size, allotment, instances),
        ..simple
    })
}

fn money_per_month(right_size: &RightSize, allotment: &Allotment, instances: u32) -> Option<f64> {
    let [cpus, memory_mb] = right_size.pairs();
    let saved = |size: Option<(f64, f64)>, rate: Option<f64>| {
        let (allotted, recommended) = size?;
        Some((allotted - recommended) * rate?)
    };
    let cpu = saved(cpus, allotment.cpu_hour);
    let memory = saved(memory_mb, allotment.gb_hour.map(|rate| rate / 1000.0));
    let per_hour = cpu.into_iter().chain(memory).reduce(|a, b| a + b)?;
    (instances > 0).then(|| per_hour * HOURS_PER_MONTH * f64::from(instances))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::rolled_up::rolled_up;
    use crate::{PoolDemand, ResourcePool, ServiceMetrics};

    pub(super) fn history(samples: i64, fill: impl Fn(i64, &mut ServiceMetrics)) -> MetricsHistory {
        let mut made = Vec::new();
        for second in 0..samples {
            let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1_000), 1);
            fill(second, &mut sample);
            made.push(sample);
        }
        rolled_up(made)
    }

    fn idle(samples: i64) -> MetricsHistory {
        history(samples, |second, sample| {
            sample.cpu_percent = Some((second % 20) as f64);
            sample.memory_mb = Some(40.0);
        })
    }

    pub(super) fn kinds(found: &[CostRecommendation]) -> Vec<CostKind> {
        found
            .iter()
            .map(|recommendation| recommendation.kind)
            .collect()
    }

    #[test]
    fn each_kind_has_its_condition() {
        let busy = history(30, |_, sample| {
            sample.cpu_percent = Some(20.0);
            sample.memory_mb = Some(100.0);
            sample.error_rate = Some(0.05);
            sample.request_rate = Some(10.0);
        });
        let pool = |available, in_use| {
            let instances = ResourcePool { available, in_use };
            PoolReport {
                instances,
                demand: PoolDemand::default(),
                warm: None,
            }
        };
        let nothing = recommend("a", &busy, &Allotment::default(), 1, Some(&pool(2, 2)));
        assert_eq!(kinds(&nothing), []);

        let idle = history(30, |_, sample| {
            sample.cpu_percent = Some(19.9);
            sample.memory_mb = Some(99.9);
            sample.error_rate = Some(0.051);
            sample.request_rate = Some(9.9);
        });
        let all = recommend("a", &idle, &Allotment::default(), 1, Some(&pool(3, 2)));
        assert_eq!(
            kinds(&all),
            [
                CostKind::Downsize,
                CostKind::ServerlessMigration,
                CostKind::Optimize,
                CostKind::PoolOptimization
            ]
        );
        let figures: Vec<_> = all
            .iter()
            .map(|found| (found.estimated_savings_percent, found.priority))
            .collect();
        assert_eq!(figures, [(30.0, 5), (40.0, 4), (15.0, 4), (20.0, 3)]);
        assert!(
            all.iter()
                .all(|found| found.basis == SavingsBasis::RuleOfThumb)
        );
    }

    #[test]
    fn too_little_history_recommends_nothing() {
        let none = recommend("a", &idle(29), &Allotment::default(), 1, None);
        assert_eq!(none, []);
    }

    #[test]
    fn a_request_rate_that_was_not_measured_is_not_low() {
        let found = recommend("a", &idle(60), &Allotment::default(), 1, None);
        assert_eq!(kinds(&found), [CostKind::Downsize]);
    }

    #[test]
    fn with_an_allotment_the_saving_is_computed() {
        let allotment = Allotment {
            cpus: Some(2.0),
            memory_mb: Some(92.0),
            cpu_hour: Some(0.04),
            gb_hour: Some(0.005),
        };
        let found = recommend("a", &idle(200), &allotment, 3, None);
        let downsize = found.first().unwrap();
        // p95 of 0..20 is 18 % of 2 cores = 0.36; × 1.15 = 0.414, more than p99 (0.38). Memory 40 MB × 1.15 = 46 MB.
        let expected = 100.0 * ((1.0 - 0.414 / 2.0) + 0.5) / 2.0;
        assert!((downsize.estimated_savings_percent - expected).abs() < 1e-9);
        assert_eq!(downsize.basis, SavingsBasis::Computed);
        let money = (1.586 * 0.04 + 0.046 * 0.005) * 730.0 * 3.0;
        assert!((downsize.money_per_month.unwrap() - money).abs() < 1e-9);
    }

    #[test]
    fn an_allotment_that_fits_is_left_alone() {
        let allotment = Allotment {
            memory_mb: Some(45.0),
            ..Allotment::default()
        };
        assert_eq!(recommend("a", &idle(60), &allotment, 1, None), []);
    }

    #[test]
    fn recommendations_sort_by_priority_savings_and_name() {
        let mut found: Vec<_> = [
            ("b", CostKind::Optimize),
            ("b", CostKind::Downsize),
            ("a", CostKind::Downsize),
            ("c", CostKind::ServerlessMigration),
        ]
        .map(|(name, kind)| rule_of_thumb(name, kind))
        .into();
        sort(&mut found);
        let order: Vec<_> = found
            .iter()
            .map(|found| (found.service_name.as_str(), found.kind))
            .collect();
        assert_eq!(
            order,
            [
                ("a", CostKind::Downsize),
                ("b", CostKind::Downsize),
                ("c", CostKind::ServerlessMigration),
                ("b", CostKind::Optimize)
            ]
        );
    }
}

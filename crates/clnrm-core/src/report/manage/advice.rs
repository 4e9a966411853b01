//! What could be saved and how many instances there should be, as sentences.

use crate::services::service_manager::cost::{CpuSize, LEAST_CPUS, LEAST_MEMORY_MB, MemorySize};
use crate::services::service_manager::{CostKind, CostRecommendation, PoolAdvice, PoolDemand};

/// The kind of a recommendation, as the specification words it.
pub(crate) const fn title(kind: CostKind) -> &'static str {
    match kind {
        CostKind::Downsize => "Downsize",
        CostKind::Optimize => "Optimize",
        CostKind::ServerlessMigration => "Serverless Migration",
        CostKind::PoolOptimization => "Pool Optimization",
    }
}

/// What to do, in one or two sentences.
pub(super) const fn description(kind: CostKind) -> &'static str {
    match kind {
        CostKind::Downsize => {
            "Service is significantly under-utilized. Consider reducing instance size."
        }
        CostKind::Optimize => {
            "High error rate. Consider optimizing the service before adding resources."
        }
        CostKind::ServerlessMigration => {
            "Low consistent load. Consider migrating to serverless architecture."
        }
        CostKind::PoolOptimization => "Low resource pool utilization. Consider reducing pool size.",
    }
}

/// The numbers behind a computed saving.
pub(super) fn arithmetic(found: &CostRecommendation, currency: Option<&str>) -> Option<String> {
    let right_size = found.right_size.as_ref()?;
    let money = |money: f64| format!("{money:.2} {} a month", currency.unwrap_or("of money"));
    let parts = [
        right_size.cpus.as_ref().map(cpu_arithmetic),
        right_size.memory_mb.as_ref().map(memory_arithmetic),
        found.money_per_month.map(money),
    ];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn cpu_arithmetic(size: &CpuSize) -> String {
    format!(
        "CPU {:.3} cores → {:.3} cores (95th percentile {:.3} + 15%, 99th {:.3}, at least {LEAST_CPUS}; peak {:.3}, \
         {:.1}% of the seconds would be throttled)",
        size.allotted,
        size.recommended,
        size.percentile_95,
        size.percentile_99,
        size.peak,
        100.0 * size.throttled_share
    )
}

fn memory_arithmetic(size: &MemorySize) -> String {
    format!(
        "memory {:.0} MB → {:.0} MB (peak {:.0} MB + 15%, at least {LEAST_MEMORY_MB} MB)",
        size.allotted, size.recommended, size.peak
    )
}

/// What to do about a pool's size, as the specification words it.
pub(super) const fn pool(advice: PoolAdvice) -> &'static str {
    match advice {
        PoolAdvice::Reduce => "Consider reducing pool size (low utilization)",
        PoolAdvice::Increase => "Consider increasing pool size (high utilization)",
    }
}

/// The arithmetic of an advised size.
pub(super) fn pool_basis(demand: &PoolDemand) -> String {
    let arrivals = demand.arrivals_per_second.unwrap_or_default();
    let start = demand.start_time.unwrap_or_default();
    let leased = demand.usually_leased.unwrap_or_default();
    format!(
        "95th percentile of concurrent leases, resets included: {leased} of {} leases; plus {arrivals:.3} leases/s × {} ms start time = {:.2}, rounded up",
        demand.leases,
        start.as_millis(),
        leased + demand.arriving().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_shows_the_peak_and_what_would_be_throttled() {
        let cpus = CpuSize {
            allotted: 2.0,
            percentile_95: 0.01,
            percentile_99: 0.02,
            peak: 1.9,
            recommended: 0.025,
            throttled_share: 0.0033,
        };
        assert_eq!(
            cpu_arithmetic(&cpus),
            "CPU 2.000 cores → 0.025 cores (95th percentile 0.010 + 15%, 99th 0.020, at least 0.025; peak 1.900, 0.3% of \
             the seconds would be throttled)"
        );
        let memory = MemorySize {
            allotted: 512.0,
            peak: 0.4,
            recommended: 16.0,
        };
        assert_eq!(
            memory_arithmetic(&memory),
            "memory 512 MB → 16 MB (peak 0 MB + 15%, at least 16 MB)"
        );
    }
}

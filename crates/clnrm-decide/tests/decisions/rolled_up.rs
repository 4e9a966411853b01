//! A history as the store keeps it, for tests and benches: whoever includes this file has the types beside it.

use std::collections::BTreeMap;

use super::{MetricsHistory, Rollup, ServiceMetrics, Tier, Timestamp};

/// The samples in every tier.
pub(crate) fn rolled_up(samples: Vec<ServiceMetrics>) -> MetricsHistory {
    let rollups = |tier| {
        let mut rollups: BTreeMap<Timestamp, Rollup> = BTreeMap::new();
        for sample in &samples {
            let start = Rollup::bucket_start(tier, sample.sampled_at);
            let rollup = rollups.entry(start).or_insert_with(|| Rollup::empty(start));
            rollup.fold(sample);
        }
        rollups.into_values().collect()
    };
    let (minute, quarter_hour) = (rollups(Tier::Minute), rollups(Tier::QuarterHour));
    MetricsHistory::from_parts(samples, minute, quarter_hour)
}

//! How many instances a pool is to hold, from how it was used.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::definition::PoolSpec;
use crate::services::service_manager::PoolDemand;
use crate::store::{LeaseSpan, ServiceId, Store, StoreError};

/// Past leases and starts that are looked at.
pub(crate) const LOOK_BACK: u32 = 200;

/// How many instances a pool is to hold: as its file says, or as the measured use advises.
pub fn pool_size(store: &Store, service: ServiceId, pool: &PoolSpec) -> Result<u32, StoreError> {
    if pool.auto.is_none() {
        return Ok(pool.wanted(None));
    }
    let spans = store.lease_spans(service, LOOK_BACK)?;
    let demand = PoolDemand {
        concurrent_leases: &concurrency(&spans),
        arrivals_per_second: arrivals_per_second(&spans),
        start_time: median(store.start_durations(service, LOOK_BACK)?),
    };
    Ok(pool.wanted(demand.advised_size()))
}

pub(crate) fn median(mut durations: Vec<Duration>) -> Option<Duration> {
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied()
}

/// How many leases were held at the moment at which each began (itself included).
pub(crate) fn concurrency(spans: &[LeaseSpan]) -> Vec<u32> {
    let held_at = |at: Timestamp| {
        let held = spans
            .iter()
            .filter(|span| {
                span.acquired_at <= at && span.released_at.is_none_or(|released| released > at)
            })
            .count();
        u32::try_from(held.max(1)).unwrap_or(u32::MAX)
    };
    spans.iter().map(|span| held_at(span.acquired_at)).collect()
}

/// Over the time from the first to the last of them; `None` for fewer than two.
#[expect(clippy::cast_precision_loss, reason = "a few hundred leases")]
pub(crate) fn arrivals_per_second(spans: &[LeaseSpan]) -> Option<f64> {
    let first = spans.iter().map(|span| span.acquired_at).min()?;
    let last = spans.iter().map(|span| span.acquired_at).max()?;
    let seconds = last.since(first).as_secs_f64();
    (seconds > 0.0).then(|| (spans.len() - 1) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(acquired: i64, released: Option<i64>) -> LeaseSpan {
        LeaseSpan {
            acquired_at: Timestamp::from_millis(acquired),
            released_at: released.map(Timestamp::from_millis),
        }
    }

    #[test]
    fn leases_that_overlap_are_counted_together() {
        let spans = [
            span(0, Some(10)),
            span(5, Some(20)),
            span(8, None),
            span(30, None),
        ];
        assert_eq!(concurrency(&spans), [1, 2, 3, 2]);
        // A lease without length still took an instance.
        assert_eq!(concurrency(&[span(4, Some(4))]), [1]);
    }

    #[test]
    fn arrivals_need_two_leases() {
        assert_eq!(arrivals_per_second(&[span(0, None)]), None);
        assert_eq!(
            arrivals_per_second(&[span(0, None), span(500, None), span(1_000, None)]),
            Some(2.0)
        );
    }

    #[test]
    fn the_middle_start_counts() {
        assert_eq!(median(Vec::new()), None);
        assert_eq!(
            median([9, 1, 5].map(Duration::from_secs).to_vec()),
            Some(Duration::from_secs(5))
        );
    }
}

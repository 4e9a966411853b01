//! How many instances of a service are free, how many are leased, and how many there should be.
//!
//! Deliberately absent: which instance is whose. The store hands them out, in one transaction each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::statistics::percentile;
use crate::Timestamp;

/// Below this utilization a pool is too large (specification).
const LOW_UTILIZATION: f64 = 0.3;
/// Above this utilization a pool is too small (specification).
const HIGH_UTILIZATION: f64 = 0.8;

/// How many instances of a pool are free and how many are leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourcePool {
    pub available: u32,
    pub in_use: u32,
}

impl ResourcePool {
    /// Of `live` instances so many are leased. Of those of a warm pool only the ones are free that were cleaned, which are
    /// `clean`; of others (`None`) all that nobody leases.
    pub fn of(live: u32, leased: u32, clean: Option<u32>) -> Self {
        Self {
            available: clean.unwrap_or(live.saturating_sub(leased)),
            in_use: leased.min(live),
        }
    }

    /// The leased share, 0 to 1; `None` = the pool is empty.
    pub fn utilization(self) -> Option<f64> {
        let capacity = f64::from(self.in_use) + f64::from(self.available);
        (capacity > 0.0).then(|| f64::from(self.in_use) / capacity)
    }

    pub fn capacity(self) -> u32 {
        self.available.saturating_add(self.in_use)
    }

    /// What the utilization suggests, unless the size that the measured use asks for says otherwise.
    pub fn advice(self, advised_size: Option<u32>) -> Option<PoolAdvice> {
        let utilization = self.utilization()?;
        let agrees = |is: fn(&u32, &u32) -> bool| {
            advised_size.is_none_or(|advised| is(&advised, &self.capacity()))
        };
        if utilization < LOW_UTILIZATION && self.available > 1 {
            agrees(u32::lt).then_some(PoolAdvice::Reduce)
        } else if utilization > HIGH_UTILIZATION {
            agrees(u32::gt).then_some(PoolAdvice::Increase)
        } else {
            None
        }
    }
}

/// What to do about a pool's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolAdvice {
    Reduce,
    /// Nearly all are in use.
    Increase,
}

/// When a lease was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseSpan {
    #[serde(with = "crate::rfc3339")]
    pub acquired_at: Timestamp,
    /// `None` = still held.
    pub released_at: Option<Timestamp>,
}

/// What the use of a service's instances asks for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PoolDemand {
    /// Leases that were looked at.
    pub leases: u32,
    /// The 95th percentile of how many were held at the moment at which each began, itself included; `None` = there was
    /// none.
    pub usually_leased: Option<f64>,
    /// Leases that begin per second, from the first to the last of them; `None` = that takes two.
    pub arrivals_per_second: Option<f64>,
    /// The time that an instance takes from its start until it is ready.
    pub start_time: Option<Duration>,
}

impl PoolDemand {
    pub fn of(spans: &[LeaseSpan], start_time: Option<Duration>) -> Self {
        let held_at = |at: Timestamp| {
            let is_held = |span: &&LeaseSpan| {
                span.acquired_at <= at && span.released_at.is_none_or(|released| released > at)
            };
            // A lease without length still took an instance.
            spans.iter().filter(is_held).count().max(1) as f64
        };
        let mut concurrent: Vec<f64> = spans.iter().map(|span| held_at(span.acquired_at)).collect();
        Self {
            leases: u32::try_from(spans.len()).unwrap_or(u32::MAX),
            usually_leased: percentile(&mut concurrent, 95),
            arrivals_per_second: arrivals_per_second(spans),
            start_time,
        }
    }

    /// Leases that begin while one instance starts.
    pub fn arriving(&self) -> Option<f64> {
        Some(self.arrivals_per_second? * self.start_time?.as_secs_f64())
    }

    /// What is usually leased, plus what arrives while one instance starts; `None` = not all of that was measured.
    pub fn advised_size(&self) -> Option<u32> {
        // Saturates at u32::MAX.
        Some((self.usually_leased? + self.arriving()?).ceil() as u32)
    }
}

fn arrivals_per_second(spans: &[LeaseSpan]) -> Option<f64> {
    let first = spans.iter().map(|span| span.acquired_at).min()?;
    let last = spans.iter().map(|span| span.acquired_at).max()?;
    let seconds = last.since(first).as_secs_f64();
    (seconds > 0.0).then(|| (spans.len() - 1) as f64 / seconds)
}

/// The median of how long starts took.
pub fn usual_start_time(mut starts: Vec<Duration>) -> Option<Duration> {
    starts.sort_unstable();
    starts.get(starts.len() / 2).copied()
}

/// How a pool was used, as far as it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PoolUsage {
    /// Leases that were looked at.
    pub leases: u32,
    /// Those that got a warm instance.
    pub warm: u32,
    /// Warm leases whose wait is known.
    pub waits: u32,
    /// How long those waited, together.
    pub waited: Option<Duration>,
    /// What each would have waited for a cold start.
    pub start_time: Option<Duration>,
    /// Resident memory of one instance.
    pub memory_mb: Option<f64>,
}

/// What a pool is good for, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PoolWorth {
    /// The share of leases that got a warm instance, 0 to 1; `None` = there was no lease.
    pub hit_rate: Option<f64>,
    /// Waiting that warm instances saved against cold starts; negative where cold starts are faster.
    pub wait_saved_ms: Option<f64>,
    /// Resident memory of the instances that are free.
    pub idle_memory_mb: Option<f64>,
}

impl PoolUsage {
    /// What it was worth, with so many instances free now.
    pub fn worth(&self, available: u32) -> PoolWorth {
        let saved = || {
            let cold = self.start_time?.as_secs_f64() * f64::from(self.waits);
            Some((cold - self.waited?.as_secs_f64()) * 1e3)
        };
        PoolWorth {
            hit_rate: (self.leases > 0).then(|| f64::from(self.warm) / f64::from(self.leases)),
            wait_saved_ms: saved(),
            idle_memory_mb: self
                .memory_mb
                .map(|memory_mb| memory_mb * f64::from(available)),
        }
    }
}

/// The instances of a service as a pool.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PoolReport {
    pub instances: ResourcePool,
    pub demand: PoolDemand,
    /// `None` = its test file asks for no warm instances.
    pub warm: Option<WarmPool>,
}

/// Instances that are kept ready.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WarmPool {
    /// How many are to be free.
    pub size: u32,
    pub worth: PoolWorth,
}

impl PoolReport {
    /// What the utilization suggests. More instances are of use where something keeps them warm.
    pub fn advice(&self) -> Option<PoolAdvice> {
        let advice = self.instances.advice(self.demand.advised_size());
        advice.filter(|advice| *advice == PoolAdvice::Reduce || self.warm.is_some())
    }

    /// Whether the measured use asks for fewer instances than there are, as far as it was measured.
    pub fn may_shrink(&self) -> bool {
        let advised = self.demand.advised_size();
        advised.is_none_or(|advised| advised < self.instances.capacity())
    }
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
    fn an_instance_is_free_leased_or_being_cleaned() {
        let counts = |pool: ResourcePool| (pool.available, pool.in_use);
        assert_eq!(counts(ResourcePool::of(5, 2, None)), (3, 2));
        assert_eq!(counts(ResourcePool::of(5, 2, Some(1))), (1, 2));
        assert_eq!(counts(ResourcePool::of(1, 2, None)), (0, 1));
    }

    #[test]
    fn leases_that_overlap_are_counted_together() {
        let spans = [
            span(0, Some(10)),
            span(5, Some(20)),
            span(8, None),
            span(30, None),
        ];
        let usually = |spans: &[LeaseSpan]| PoolDemand::of(spans, None).usually_leased;
        assert_eq!(usually(&spans), Some(3.0));
        assert_eq!(usually(&spans[..2]), Some(2.0));
        assert_eq!(usually(&[span(4, Some(4))]), Some(1.0));
        assert_eq!(usually(&[]), None);
    }

    #[test]
    fn arrivals_need_two_leases() {
        let arrivals = |spans: &[LeaseSpan]| PoolDemand::of(spans, None).arrivals_per_second;
        assert_eq!(arrivals(&[span(0, None)]), None);
        let three = [span(0, None), span(500, None), span(1_000, None)];
        assert_eq!(arrivals(&three), Some(2.0));
    }

    #[test]
    fn the_middle_start_counts() {
        assert_eq!(usual_start_time(Vec::new()), None);
        let three = [9, 1, 5].map(Duration::from_secs);
        assert_eq!(
            usual_start_time(three.to_vec()),
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn advice_follows_the_thresholds() {
        let counts = |available, in_use| ResourcePool { available, in_use };
        let advice = |available, in_use| counts(available, in_use).advice(None);
        assert_eq!(advice(3, 1), Some(PoolAdvice::Reduce));
        assert_eq!(advice(1, 0), None, "one spare is not too many");
        assert_eq!(advice(3, 2), None);
        assert_eq!(advice(1, 5), Some(PoolAdvice::Increase));
        assert_eq!(advice(1, 4), None, "80 % exactly");
        assert_eq!(counts(0, 0).utilization(), None);
    }

    #[test]
    fn advice_never_contradicts_the_advised_size() {
        let advice =
            |available, in_use, size| ResourcePool { available, in_use }.advice(Some(size));
        assert_eq!(
            advice(3, 1, 16),
            None,
            "16 are wanted, so 4 are not too many"
        );
        assert_eq!(advice(3, 1, 4), None);
        assert_eq!(advice(3, 1, 3), Some(PoolAdvice::Reduce));
        assert_eq!(advice(1, 5, 6), None);
        assert_eq!(advice(1, 5, 7), Some(PoolAdvice::Increase));
    }

    #[test]
    fn a_pool_that_lacks_instances_may_not_shrink() {
        let demand = PoolDemand {
            leases: 20,
            usually_leased: Some(16.0),
            arrivals_per_second: Some(0.0),
            start_time: Some(Duration::ZERO),
        };
        let may_shrink = |available| {
            let instances = ResourcePool {
                available,
                in_use: 0,
            };
            let report = PoolReport {
                instances,
                demand,
                warm: None,
            };
            report.may_shrink()
        };
        assert_eq!([15, 16, 17].map(may_shrink), [false, false, true]);
    }

    #[test]
    fn worth_is_what_was_measured() {
        let usage = PoolUsage {
            leases: 8,
            warm: 6,
            waits: 5,
            waited: Some(Duration::from_millis(10)),
            start_time: Some(Duration::from_millis(30)),
            memory_mb: Some(8.0),
        };
        let worth = usage.worth(3);
        assert_eq!(worth.hit_rate, Some(0.75));
        assert!((worth.wait_saved_ms.unwrap() - 140.0).abs() < 1e-9);
        assert_eq!(worth.idle_memory_mb, Some(24.0));
        let nothing = PoolUsage::default().worth(3);
        assert_eq!(
            (
                nothing.hit_rate,
                nothing.wait_saved_ms,
                nothing.idle_memory_mb
            ),
            (None, None, None)
        );
    }

    #[test]
    fn the_advised_size_needs_all_of_its_inputs() {
        let demand = PoolDemand {
            leases: 20,
            usually_leased: Some(19.0),
            arrivals_per_second: Some(2.0),
            start_time: Some(Duration::from_millis(1_250)),
        };
        assert_eq!(demand.advised_size(), Some(19 + 3));
        let unknown = |change: fn(&mut PoolDemand)| {
            let mut demand = demand;
            change(&mut demand);
            demand.advised_size()
        };
        assert_eq!(unknown(|demand| demand.usually_leased = None), None);
        assert_eq!(unknown(|demand| demand.arrivals_per_second = None), None);
        assert_eq!(unknown(|demand| demand.start_time = None), None);
    }

    #[test]
    fn more_instances_are_advised_only_where_they_are_kept_warm() {
        let advice = |warm| {
            let instances = ResourcePool {
                available: 0,
                in_use: 5,
            };
            let demand = PoolDemand::default();
            let report = PoolReport {
                instances,
                demand,
                warm,
            };
            report.advice()
        };
        assert_eq!(advice(None), None);
        let worth = PoolUsage::default().worth(0);
        let warm = WarmPool { size: 5, worth };
        assert_eq!(advice(Some(warm)), Some(PoolAdvice::Increase));
    }
}

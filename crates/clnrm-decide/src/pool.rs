//! Which instances of a service are free and which are leased.
//!
//! Deliberately absent: starting, resetting and stopping instances. This is the bookkeeping alone.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::statistics::percentile;

/// Below this utilization a pool is too large (specification).
const LOW_UTILIZATION: f64 = 0.3;
/// Above this utilization a pool is too small (specification).
const HIGH_UTILIZATION: f64 = 0.8;

/// The instances of one service, by id. `acquire`, `release` and look-up take constant time.
#[derive(Debug, Clone, Default)]
pub struct ResourcePool {
    slots: HashMap<String, Slot>,
    /// Free ids; the one that was freed last is taken first, because its caches are warm.
    available: Vec<String>,
}

/// The state of one instance in a [`ResourcePool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Free, at this place of the list of free ones.
    Available {
        /// Its place.
        place: usize,
    },
    /// Leased.
    InUse,
}

/// Why a pool refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PoolError {
    /// The id is not in the pool.
    #[error("instance `{id}` is not in the pool")]
    Unknown {
        /// The id that was given.
        id: String,
    },
    /// The id is in the pool already.
    #[error("instance `{id}` is in the pool already")]
    Duplicate {
        /// The id that was given.
        id: String,
    },
    /// The instance is not leased.
    #[error("instance `{id}` is not leased")]
    NotInUse {
        /// The id that was given.
        id: String,
    },
    /// The instance is leased.
    #[error("instance `{id}` is leased")]
    InUse {
        /// The id that was given.
        id: String,
    },
}

impl ResourcePool {
    /// A pool without instances.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a free instance.
    pub fn add(&mut self, id: impl Into<String>) -> Result<(), PoolError> {
        let id = id.into();
        if self.slots.contains_key(&id) {
            return Err(PoolError::Duplicate { id });
        }
        self.put_back(id);
        Ok(())
    }

    /// Leases a free instance; `None` = all are in use.
    pub fn acquire(&mut self) -> Option<String> {
        let id = self.available.pop()?;
        self.slots.insert(id.clone(), Slot::InUse);
        Some(id)
    }

    /// Ends the lease of an instance.
    pub fn release(&mut self, id: &str) -> Result<(), PoolError> {
        match self.get(id) {
            Some(Slot::InUse) => {
                self.put_back(id.to_owned());
                Ok(())
            }
            Some(Slot::Available { .. }) => Err(PoolError::NotInUse { id: id.to_owned() }),
            None => Err(PoolError::Unknown { id: id.to_owned() }),
        }
    }

    /// Takes a free instance out of the pool. A leased one stays: it is never taken from its user.
    pub fn remove(&mut self, id: &str) -> Result<(), PoolError> {
        match self.get(id) {
            Some(Slot::Available { place }) => {
                self.slots.remove(id);
                self.available.swap_remove(place);
                if let Some(moved) = self.available.get(place) {
                    self.slots.insert(moved.clone(), Slot::Available { place });
                }
                Ok(())
            }
            Some(Slot::InUse) => Err(PoolError::InUse { id: id.to_owned() }),
            None => Err(PoolError::Unknown { id: id.to_owned() }),
        }
    }

    /// The state of one instance; `None` = it is not in the pool.
    pub fn get(&self, id: &str) -> Option<Slot> {
        self.slots.get(id).copied()
    }

    /// How many are free and how many are leased.
    pub fn counts(&self) -> PoolCounts {
        let available = self.available.len();
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        PoolCounts {
            available: count(available),
            in_use: count(self.slots.len().saturating_sub(available)),
        }
    }

    fn put_back(&mut self, id: String) {
        let place = self.available.len();
        self.slots.insert(id.clone(), Slot::Available { place });
        self.available.push(id);
    }
}

/// How many instances of a pool are free and how many are leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PoolCounts {
    /// Free.
    pub available: u32,
    /// Leased.
    pub in_use: u32,
}

impl PoolCounts {
    /// The leased share, 0 to 1; `None` = the pool is empty.
    pub fn utilization(self) -> Option<f64> {
        let capacity = f64::from(self.in_use) + f64::from(self.available);
        (capacity > 0.0).then(|| f64::from(self.in_use) / capacity)
    }

    /// All of them.
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

/// What to do about a pool's size. Displays as the specification words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolAdvice {
    /// Few are in use.
    Reduce,
    /// Nearly all are in use.
    Increase,
}

impl fmt::Display for PoolAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reduce => "Consider reducing pool size (low utilization)",
            Self::Increase => "Consider increasing pool size (high utilization)",
        })
    }
}

/// What was measured of a pool's use.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolDemand<'a> {
    /// How many leases ran at once, each time that one began.
    pub concurrent_leases: &'a [u32],
    /// Leases that begin per second.
    pub arrivals_per_second: Option<f64>,
    /// The time that an instance takes from its start until it is ready.
    pub start_time: Option<Duration>,
}

impl PoolDemand<'_> {
    /// The 95th percentile of concurrent leases; `None` = there was none.
    pub fn usually_leased(&self) -> Option<f64> {
        let mut concurrent: Vec<f64> = self
            .concurrent_leases
            .iter()
            .map(|&leases| f64::from(leases))
            .collect();
        percentile(&mut concurrent, 95)
    }

    /// Leases that begin while one instance starts.
    pub fn arriving(&self) -> Option<f64> {
        Some(self.arrivals_per_second? * self.start_time?.as_secs_f64())
    }

    /// The 95th percentile of concurrent leases, plus what arrives while one instance starts; `None` = not all of that was measured.
    pub fn advised_size(&self) -> Option<u32> {
        // Saturates at u32::MAX.
        Some((self.usually_leased()? + self.arriving()?).ceil() as u32)
    }
}

/// How a pool was used, as far as it was measured.
#[derive(Debug, Clone, Copy, Default)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
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

/// A pool as reports show it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PoolReport {
    /// Free instances.
    pub available: u32,
    /// Leased instances.
    pub in_use: u32,
    /// The leased share, 0 to 1; `None` = the pool is empty.
    pub utilization: Option<f64>,
    /// What the utilization suggests.
    pub advice: Option<PoolAdvice>,
    /// The size that the measured use suggests.
    pub advised_size: Option<u32>,
}

impl PoolReport {
    /// The report of a pool.
    pub fn of(counts: PoolCounts, demand: &PoolDemand<'_>) -> Self {
        let advised_size = demand.advised_size();
        Self {
            available: counts.available,
            in_use: counts.in_use,
            utilization: counts.utilization(),
            advice: counts.advice(advised_size),
            advised_size,
        }
    }

    /// Whether the measured use asks for no more instances than there are, as far as it was measured.
    pub fn may_shrink(&self) -> bool {
        let capacity = self.available.saturating_add(self.in_use);
        self.advised_size.is_none_or(|advised| advised < capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ids: &[&str]) -> ResourcePool {
        let mut pool = ResourcePool::new();
        for id in ids {
            pool.add(*id).unwrap();
        }
        pool
    }

    #[test]
    fn an_instance_is_free_or_leased() {
        let mut pool = pool(&["a", "b"]);
        assert_eq!(pool.acquire().as_deref(), Some("b"));
        assert_eq!(pool.get("b"), Some(Slot::InUse));
        assert_eq!(pool.acquire().as_deref(), Some("a"));
        assert_eq!(pool.acquire(), None);
        pool.release("b").unwrap();
        assert_eq!(pool.acquire().as_deref(), Some("b"));
        let counts = pool.counts();
        assert_eq!((counts.available, counts.in_use), (0, 2));
    }

    #[test]
    fn refuses_what_would_break_the_books() {
        let mut pool = pool(&["a", "b"]);
        let leased = pool.acquire().unwrap();
        assert!(matches!(pool.add("a"), Err(PoolError::Duplicate { .. })));
        assert!(matches!(pool.release("a"), Err(PoolError::NotInUse { .. })));
        assert!(matches!(pool.release("x"), Err(PoolError::Unknown { .. })));
        assert!(matches!(pool.remove(&leased), Err(PoolError::InUse { .. })));
    }

    #[test]
    fn removing_from_the_middle_keeps_every_place_right() {
        let mut pool = pool(&["a", "b", "c"]);
        pool.remove("a").unwrap();
        pool.remove("c").unwrap();
        assert_eq!(pool.acquire().as_deref(), Some("b"));
        assert_eq!(pool.counts().available, 0);
    }

    #[test]
    fn advice_follows_the_thresholds() {
        let counts = |available, in_use| PoolCounts { available, in_use };
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
        let advice = |available, in_use, size| PoolCounts { available, in_use }.advice(Some(size));
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
        let leases = [16; 20];
        let demand = PoolDemand {
            concurrent_leases: &leases,
            arrivals_per_second: Some(0.0),
            start_time: Some(Duration::ZERO),
        };
        let may_shrink = |available| {
            let in_use = 0;
            PoolReport::of(PoolCounts { available, in_use }, &demand).may_shrink()
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
        let leases: Vec<u32> = (1..=20).collect();
        let demand = PoolDemand {
            concurrent_leases: &leases,
            arrivals_per_second: Some(2.0),
            start_time: Some(Duration::from_millis(1_250)),
        };
        assert_eq!(demand.advised_size(), Some(19 + 3));
        for absent in [
            PoolDemand {
                concurrent_leases: &[],
                ..demand
            },
            PoolDemand {
                arrivals_per_second: None,
                ..demand
            },
            PoolDemand {
                start_time: None,
                ..demand
            },
        ] {
            assert_eq!(absent.advised_size(), None);
        }
    }
}

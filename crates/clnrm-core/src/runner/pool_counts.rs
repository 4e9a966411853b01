//! What a run knows of its pools: their sizes, and what comes for them beside the tests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::identity::Digest;

/// What a run knows of its pools.
#[derive(Debug, Default)]
pub(super) struct PoolCounts {
    /// By the digest of the service.
    pools: Mutex<HashMap<Digest, Pool>>,
    /// Instances on their way back.
    pub(super) returning: Mutex<JoinSet<()>>,
    pub(super) refilling: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Pool {
    size: u32,
    /// Instances that this run is cleaning or starting for the pool.
    coming: usize,
    /// Tests of this run that wait for one of those.
    waiting: usize,
    /// Changes whenever one has come, or will not.
    came: watch::Sender<u64>,
}

impl PoolCounts {
    /// Each service with the size of its pool.
    pub(super) fn of(sizes: HashMap<Digest, u32>) -> Self {
        let pool = |size| Pool {
            size,
            coming: 0,
            waiting: 0,
            came: watch::Sender::new(0),
        };
        let pools = sizes.into_iter().map(|(digest, size)| (digest, pool(size)));
        Self {
            pools: Mutex::new(pools.collect()),
            ..Self::default()
        }
    }

    fn with<T>(&self, digest: &Digest, look: impl FnOnce(&mut Pool) -> T) -> Option<T> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.get_mut(digest).map(look)
    }

    /// The size of a service's pool; 0 = it has none.
    pub(super) fn size(&self, digest: &Digest) -> u32 {
        self.with(digest, |pool| pool.size).unwrap_or_default()
    }

    /// `Some` = an instance is coming that nobody waits for yet, and now the caller does.
    pub(super) fn wait_for_one(&self, digest: &Digest) -> Option<watch::Receiver<u64>> {
        self.with(digest, |pool| {
            (pool.coming > pool.waiting).then(|| {
                pool.waiting += 1;
                pool.came.subscribe()
            })
        })?
    }

    pub(super) fn waits_no_longer(&self, digest: &Digest) {
        self.with(digest, |pool| pool.waiting = pool.waiting.saturating_sub(1));
    }

    pub(super) fn is_coming(&self, digest: &Digest) {
        self.with(digest, |pool| pool.coming += 1);
    }

    pub(super) fn has_come(&self, digest: &Digest) {
        self.with(digest, |pool| {
            pool.coming = pool.coming.saturating_sub(1);
            pool.came.send_modify(|count| *count += 1);
        });
    }
}

/// What is to become of an instance after its test.
#[derive(Debug, Clone)]
pub(super) enum Treatment {
    /// It is cleaned, and stays if that is proved.
    Clean,
    /// Whatever its verification says, it is not used again.
    Quarantine(String),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_waits_only_for_what_nobody_else_waits_for() {
        let [cache, other] = ["cache", "other"].map(|name| Digest::of(name.as_bytes()));
        let pools = PoolCounts::of([(cache.clone(), 2)].into());
        assert!(pools.wait_for_one(&cache).is_none(), "nothing is coming");
        pools.is_coming(&cache);
        let mut waiting = pools.wait_for_one(&cache).unwrap();
        assert!(pools.wait_for_one(&cache).is_none(), "it is promised");
        pools.has_come(&cache);
        waiting.changed().await.unwrap();
        assert!(pools.wait_for_one(&other).is_none());
    }
}

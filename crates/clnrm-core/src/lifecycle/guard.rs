//! What the guard does while instances are warm: stops those whose time is up, measures the others, and replaces what
//! died. It leaves when none is left. Killing it breaks nothing: every command does the same on its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::clean::is_reusable;
use super::plan::StartPlan;
use super::pool_size::pool_size;
use super::project::Project;
use super::recover::RecoverError;
use super::sampler::{Sampler, Warn};
use crate::backend::{NetworkNames, OnPull, guard};
use crate::clock::Timestamp;
use crate::store::{GivenBack, InstanceRow, InstanceState, ServiceId, ServiceRow, StoreError};
use crate::text::one_line;

/// How often it looks and measures.
const ROUND: Duration = Duration::from_secs(15);
/// Not to turn in circles where something expires in this very moment.
const SHORTEST_ROUND: Duration = Duration::from_millis(50);

impl Project {
    /// Starts a guard where instances are warm and there is none. A pool without its guard still expires: the next
    /// command sees to it.
    pub async fn ensure_guard(&self) -> Result<(), StoreError> {
        if self.looks_only || !self.has_warm().await? {
            return Ok(());
        }
        // Best effort, as said above.
        let _ = guard::ensure(&self.clnrm, &self.state_dir, &self.environment);
        Ok(())
    }

    /// Asks the guard to leave: whoever stops what is warm must not see it replaced meanwhile.
    pub async fn dismiss_guard(&self) {
        // One that does not leave now finds on its next round what is left to guard.
        let _ = guard::dismiss(&self.state_dir).await;
    }

    /// Whether any instance is warm.
    pub async fn has_warm(&self) -> Result<bool, StoreError> {
        let live = self.store.call(|store| store.live_instances()).await?;
        Ok(live.iter().any(is_warm))
    }

    /// Guards the warm instances until there is none, or until `cancel`.
    pub async fn guard(
        self: &Arc<Self>,
        warn: Arc<Warn>,
        cancel: &CancellationToken,
    ) -> Result<(), RecoverError> {
        let sampler = Sampler::new(Arc::clone(self), Arc::clone(&warn));
        // Whoever has just left instances warm may be about to stop them: nothing is replaced in the first round.
        let mut is_first = true;
        loop {
            let recovered = self.recover().await?;
            recovered.notes.into_iter().for_each(|note| warn(note));
            let (services, live) = self
                .store
                .call(|store| Ok((store.services()?, store.live_instances()?)))
                .await?;
            let warm: Vec<InstanceRow> = live.into_iter().filter(is_warm).collect();
            if warm.is_empty() || cancel.is_cancelled() {
                return Ok(());
            }
            // What cannot be measured was told by the run that started it; what is leased is measured by its run.
            let refused = sampler.watch_exactly(&services, &warm).await;
            refused?;
            sampler.sample_with_rates().await?;
            if !std::mem::take(&mut is_first) {
                self.replace_lost(&services, &warm, &warn, cancel).await;
            }
            let pause = until_next_expiry(&warm, self.now()).min(ROUND);
            if cancel.run_until_cancelled(sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Starts what a pool that is in use lacks. A replacement is warm as long as the others: nobody used it.
    async fn replace_lost(
        &self,
        services: &[ServiceRow],
        warm: &[InstanceRow],
        warn: &Arc<Warn>,
        cancel: &CancellationToken,
    ) {
        let mut newest: BTreeMap<ServiceId, Timestamp> = BTreeMap::new();
        for row in warm {
            let until = newest.entry(row.start.service).or_default();
            *until = (*until).max(row.warm_until.unwrap_or_default());
        }
        for (id, warm_until) in newest {
            let Some(service) = services.iter().find(|service| service.id == id) else {
                continue;
            };
            if let Err(problem) = self.replace_one(service, warm_until, cancel).await {
                warn(format!("{} is not refilled: {problem}", service.name));
            }
        }
    }

    /// One per round: a service that cannot start any more is not tried again and again.
    async fn replace_one(
        &self,
        service: &ServiceRow,
        warm_until: Timestamp,
        cancel: &CancellationToken,
    ) -> Result<(), String> {
        let (id, digest, pool) = (
            service.id,
            service.digest.clone(),
            service.definition.pool.clone(),
        );
        let now = self.now();
        let (size, slots) = self
            .store
            .call(move |store| {
                let size = pool_size(store, id, &pool)?;
                Ok((size, store.pool_slots(id, &digest, now)?))
            })
            .await
            .map_err(|error| one_line(&error))?;
        if slots.lacking(size, is_reusable(&service.definition), None) == 0 {
            return Ok(());
        }
        let plan = StartPlan {
            service: service.id,
            definition: &service.definition,
            run: None,
            neighbours: &BTreeMap::new(),
            names: NetworkNames::default(),
            preferred: None,
            cancel: cancel.clone(),
            on_pull: OnPull::default(),
        };
        let started = self.start_fresh(&plan).await;
        let instance = started.map_err(|failure| one_line(&failure))?;
        let given = self
            .give_back_until(&instance, size, None, warm_until)
            .await
            .map_err(|error| one_line(&error))?;
        if given != GivenBack::Free {
            self.stop_unwanted(&instance)
                .await
                .map_err(|error| one_line(&error))?;
        }
        Ok(())
    }
}

fn is_warm(row: &InstanceRow) -> bool {
    row.state == InstanceState::Running && row.warm_until.is_some()
}

fn until_next_expiry(warm: &[InstanceRow], now: Timestamp) -> Duration {
    let next = warm.iter().filter_map(|row| row.warm_until).min();
    next.map_or(ROUND, |next| next.since(now))
        .max(SHORTEST_ROUND)
}

//! Warm instances: found and taken over, started for the pool, and given back clean.
//!
//! Deliberately absent: which test wants one and when (`runner`), and how long one stays (`store`, `recover`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clean::CleanError;
use super::clean::is_reusable;
use super::live::{Acquired, LiveInstance};
use super::plan::StartPlan;
use super::project::{Project, place};
use super::start_failure::StartFailure;
use super::stop::EndError;
use crate::backend::environment;
use crate::backend::start::ANY_ADDRESS;
use crate::clock::Timestamp;
use crate::config::definition::ServiceDefinition;
use crate::store::{
    CleanInstance, GivenBack, InstanceRow, RunId, ServiceId, StoreError, WarmLease, WarmRequest,
};
use crate::text::one_line;

/// Who wants a warm instance.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub service: ServiceId,
    pub definition: &'a ServiceDefinition,
    pub run: RunId,
    pub test: &'a str,
}

impl Project {
    /// Leases a warm instance that lives; `None` = there is none.
    pub async fn claim_warm(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<Option<LiveInstance>, StoreError> {
        let started = Instant::now();
        let Ok(backend) = self.backends.that_starts(wanted.definition) else {
            return Ok(None);
        };
        // A cold start says what is wrong with an image or an engine.
        let Ok(image_id) = backend.image_id(wanted.definition).await else {
            return Ok(None);
        };
        let request = WarmRequest {
            image_id,
            service: wanted.service,
            digest: wanted.definition.digest(),
            run: wanted.run,
            test: wanted.test.to_owned(),
            owner: self.owner.clone(),
            at: self.now(),
        };
        loop {
            let request = request.clone();
            let claimed = self
                .store
                .call(move |store| store.claim_warm(&request))
                .await?;
            let Some(WarmLease { instance, lease }) = claimed else {
                return Ok(None);
            };
            let acquired = Acquired {
                warm: true,
                uses: instance.uses,
                cleaned_in: instance.cleaned_in,
                waited: Duration::ZERO,
                lease: Some(lease),
                not_recorded: None,
            };
            let Some(mut live) = self.take_over(&instance, wanted.definition, acquired).await
            else {
                // It died while nobody looked: what is left of it is ended, and the next one is tried.
                let grace = wanted.definition.stop.grace;
                let _ = self
                    .stop_instance(&instance, &wanted.definition.name, grace)
                    .await;
                continue;
            };
            live.acquired.waited = started.elapsed();
            return Ok(Some(live));
        }
    }

    /// A recorded instance as one that this command may use; `None` = it does not live.
    pub async fn take_over(
        &self,
        row: &InstanceRow,
        definition: &ServiceDefinition,
        acquired: Acquired,
    ) -> Option<LiveInstance> {
        let backend = self.backends.named(&row.start.runtime).ok()?;
        let running = backend.adopt(&place(row)).await.ok()??;
        let mut bindings = self.own_bindings(&definition.name, &row.start.reached);
        if backend.has_inside() {
            bindings = bindings.seen_from_container(&definition.name, ANY_ADDRESS);
        }
        let ready_in = row.ready_at?.since(row.start.created_at);
        Some(LiveInstance {
            id: row.start.id.clone(),
            service: row.start.service,
            definition: definition.clone(),
            dir: row.start.dir.clone(),
            reached: row.start.reached.clone(),
            env: environment::stated(definition, &self.environment, &bindings).ok()?,
            backend: Arc::clone(backend),
            running,
            ready_in,
            acquired,
        })
    }

    /// Starts an instance that may go into its pool, and looks at it while it is fresh.
    pub async fn start_fresh(&self, plan: &StartPlan<'_>) -> Result<LiveInstance, StartFailure> {
        let started = Instant::now();
        let mut instance = self.start_instance(plan).await?;
        if plan.definition.pool.is_wanted() && is_reusable(plan.definition) {
            // One of which this fails serves one test; whoever would clean it is told why.
            match self.fresh_output(&instance).await {
                Ok(output) => {
                    let id = instance.id.clone();
                    let record = self
                        .store
                        .call(move |store| store.record_fresh_output(&id, &output).map(drop));
                    let recorded = record.await;
                    instance.acquired.not_recorded = recorded.err().map(|error| one_line(&error));
                }
                Err(error) => instance.acquired.not_recorded = Some(one_line(&error)),
            }
            instance.acquired.waited = started.elapsed();
        }
        Ok(instance)
    }

    /// Starts an instance that no test has asked for; one of a pool is free at once.
    pub async fn start_spare(&self, plan: &StartPlan<'_>) -> Result<LiveInstance, StartFailure> {
        let instance = self.start_fresh(plan).await?;
        if plan.definition.pool.is_wanted() {
            // Asked for beyond the pool's size, so its size does not matter. What cannot be marked as free is found
            // without a holder by the next command, and ended.
            let _ = self.give_back(&instance, u32::MAX, None).await;
        }
        Ok(instance)
    }

    /// Resets a used instance and verifies it against what it was when it was fresh.
    pub async fn clean_used(&self, instance: &LiveInstance) -> Result<Duration, CleanError> {
        if !is_reusable(&instance.definition) {
            return Err(CleanError::NoWay);
        }
        let id = instance.id.clone();
        let fresh = self.store.call(move |store| store.fresh_output(&id)).await;
        match fresh {
            Ok(Some(fresh)) => self.clean(instance, &fresh).await,
            Ok(None) | Err(_) => Err(CleanError::FreshStateUnknown {
                why: instance.acquired.not_recorded.clone(),
            }),
        }
    }

    /// Stops an instance that its pool has no room for.
    pub(super) async fn stop_unwanted(&self, instance: &LiveInstance) -> Result<(), EndError> {
        let id = instance.id.clone();
        let row = self.store.call(move |store| store.instance(&id)).await;
        let row = row.map_err(|source| EndError::Store {
            id: instance.id.clone(),
            source,
        })?;
        let definition = &instance.definition;
        match row {
            Some(row) => {
                let stopped = self.stop_instance(&row, &definition.name, definition.stop.grace);
                stopped.await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Makes a clean instance free for the next lease, where its pool has room for it.
    pub async fn give_back(
        &self,
        instance: &LiveInstance,
        size: u32,
        cleaned_in: Option<Duration>,
    ) -> Result<GivenBack, StoreError> {
        let warm_until = self.now() + instance.definition.pool.ttl;
        self.give_back_until(instance, size, cleaned_in, warm_until)
            .await
    }

    /// The same, with a time of its own until which it stays warm.
    pub(super) async fn give_back_until(
        &self,
        instance: &LiveInstance,
        size: u32,
        cleaned_in: Option<Duration>,
        warm_until: Timestamp,
    ) -> Result<GivenBack, StoreError> {
        let clean = CleanInstance {
            instance: instance.id.clone(),
            lease: instance.acquired.lease,
            at: self.now(),
            warm_until,
            size,
            cleaned_in,
        };
        self.store
            .call(move |store| store.give_back_warm(&clean))
            .await
    }
}

//! The pools of a run: every exclusive service of a test gets a warm instance where there is one, and after the test
//! the instance is cleaned and given back, off the test's own time.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::event::EventKind;
use super::milliseconds;
use super::pool_counts::{Treatment, lock};
use super::result::{Afterwards, Outcome};
use super::run_state::RunState;
use crate::backend::{NetworkNames, OnPull};
use crate::config::definition::ServiceDefinition;
use crate::lifecycle::clean::is_reusable;
use crate::lifecycle::pool::Wanted;
use crate::lifecycle::{LiveInstance, StartPlan};
use crate::store::{GivenBack, StoreError};
use crate::text::one_line;

impl RunState {
    /// A warm instance, leased; `None` = there is none, and waiting for one would not help.
    pub(super) async fn lease_warm(
        self: &Arc<Self>,
        definition: &ServiceDefinition,
        test: &str,
        cancel: &CancellationToken,
    ) -> Result<Option<LiveInstance>, StoreError> {
        let digest = definition.digest();
        if self.pools.size(&digest) == 0 {
            return Ok(None);
        }
        let wanted = Wanted {
            service: self.service_id(definition),
            definition,
            run: self.run,
            test,
        };
        loop {
            // Asked before the claim: what comes in between is seen.
            let coming = self.pools.wait_for_one(&digest);
            let claimed = self.project.claim_warm(&wanted).await;
            let asked = coming.is_some();
            if let (Ok(None), Some(mut coming)) = (&claimed, coming) {
                // The pool outlives every wait; an end of the test is seen by whoever asks next.
                let _ = cancel.run_until_cancelled(coming.changed()).await;
                self.pools.waits_no_longer(&digest);
                if cancel.is_cancelled() {
                    return Ok(None);
                }
                continue;
            }
            if asked {
                self.pools.waits_no_longer(&digest);
            }
            return claimed;
        }
    }

    /// Starts what the pool lacks, in the background.
    pub(super) fn refill(self: &Arc<Self>, definition: &ServiceDefinition) {
        let size = self.pools.size(&definition.digest());
        if size == 0 || self.cancel.is_cancelled() {
            return;
        }
        let (shared, definition) = (Arc::clone(self), definition.clone());
        let mut refilling = lock(&self.pools.refilling);
        refilling.spawn(async move { shared.refill_now(definition, size).await });
    }

    async fn refill_now(self: Arc<Self>, definition: ServiceDefinition, size: u32) {
        let (service, digest) = (self.service_id(&definition), definition.digest());
        let (now, asked) = (self.project.now(), digest.clone());
        let slots = self
            .project
            .store
            .call(move |store| store.pool_slots(service, &asked, now));
        let Ok(slots) = slots.await else { return };
        let uses_left = self.uses_left(&digest);
        let uses_left = u32::try_from(uses_left).unwrap_or(u32::MAX);
        let are_reused = is_reusable(&definition);
        let lacking = slots.lacking(size, are_reused, (!self.keep).then_some(uses_left));
        let mut starting = JoinSet::new();
        for _ in 0..lacking {
            self.pools.is_coming(&digest);
            let (shared, definition, digest) =
                (Arc::clone(&self), definition.clone(), digest.clone());
            starting.spawn(async move {
                shared.start_for_pool(&definition, size).await;
                shared.pools.has_come(&digest);
            });
        }
        starting.join_all().await;
    }

    async fn start_for_pool(&self, definition: &ServiceDefinition, size: u32) {
        let plan = StartPlan {
            service: self.service_id(definition),
            definition,
            run: Some(self.run),
            neighbours: &std::collections::BTreeMap::new(),
            names: NetworkNames::default(),
            preferred: None,
            cancel: self.no_more_refills.clone(),
            on_pull: OnPull::default(),
        };
        match self.project.start_fresh(&plan).await {
            Ok(instance) => match self.project.give_back(&instance, size, None).await {
                Ok(GivenBack::Free) => {}
                Ok(GivenBack::Surplus | GivenBack::Gone) => self.stop_live(&instance).await,
                Err(error) => self.warn(&error),
            },
            Err(failure) if failure.cause.is_cancellation() => {}
            // The test that needs one will tell why it does not start; here it is only a pool that stays small.
            Err(failure) => self
                .events
                .warn(format!("the pool is not refilled: {}", one_line(&failure))),
        }
    }

    /// Cleans an instance and gives it back in the background.
    pub(super) fn return_instance(
        self: &Arc<Self>,
        test: usize,
        instance: LiveInstance,
        treatment: Treatment,
    ) {
        let digest = instance.definition.digest();
        self.pools.is_coming(&digest);
        let shared = Arc::clone(self);
        lock(&self.pools.returning).spawn(async move {
            let afterwards = shared.clean_or_stop(&instance, treatment).await;
            shared.pools.has_come(&digest);
            shared.events.tell(EventKind::InstanceReturned {
                test,
                instance_id: instance.id.0,
                afterwards,
            });
        });
    }

    async fn clean_or_stop(
        self: &Arc<Self>,
        instance: &LiveInstance,
        treatment: Treatment,
    ) -> Afterwards {
        if let Treatment::Quarantine(reason) = treatment {
            return self.quarantine(instance, reason).await;
        }
        if !instance.is_up() {
            self.stop_used(instance).await;
            return Afterwards::stopped("it had ended");
        }
        if self.cancel.is_cancelled() {
            self.stop_used(instance).await;
            return Afterwards::stopped("the run was interrupted");
        }
        if !is_reusable(&instance.definition) {
            self.sampler
                .last_sample(std::slice::from_ref(instance))
                .await;
            self.stop_used(instance).await;
            return Afterwards::stopped("it cannot be reset and verified");
        }
        self.sampler.sample_if_due(&instance.id).await;
        let cleaning = self.project.clean_used(instance);
        let cleaned_in = match self.cancel.run_until_cancelled(cleaning).await {
            Some(Ok(cleaned_in)) => cleaned_in,
            Some(Err(error)) => return self.quarantine(instance, error.to_string()).await,
            None => {
                self.stop_used(instance).await;
                return Afterwards::stopped("the run was interrupted");
            }
        };
        self.sampler.remove(&instance.id).await;
        let size = self.pools.size(&instance.definition.digest());
        match self
            .project
            .give_back(instance, size, Some(cleaned_in))
            .await
        {
            Ok(GivenBack::Free) => Afterwards {
                outcome: Outcome::Pooled,
                reason: None,
                cleaned_ms: Some(milliseconds::rounded(cleaned_in)),
            },
            Ok(GivenBack::Surplus) => {
                self.stop_used(instance).await;
                Afterwards::stopped("its pool has enough")
            }
            Ok(GivenBack::Gone) => Afterwards::stopped("somebody else stopped it"),
            Err(error) => {
                self.warn(&error);
                self.stop_used(instance).await;
                Afterwards::stopped("its pool could not be told")
            }
        }
    }

    /// Stops an instance that nobody may have again, and starts another in its place.
    async fn quarantine(self: &Arc<Self>, instance: &LiveInstance, reason: String) -> Afterwards {
        self.events
            .warn(format!("{} is not used again: {reason}", instance.id));
        self.stop_used(instance).await;
        self.refill(&instance.definition);
        Afterwards {
            outcome: Outcome::Quarantined,
            reason: Some(reason),
            cleaned_ms: None,
        }
    }

    async fn stop_used(&self, instance: &LiveInstance) {
        self.sampler.remove(&instance.id).await;
        self.stop_live(instance).await;
    }

    /// Waits until every instance is back.
    pub(super) async fn all_returned(&self) {
        loop {
            // A return may begin a refill, never another return.
            let returning = std::mem::take(&mut *lock(&self.pools.returning));
            let refilling = std::mem::take(&mut *lock(&self.pools.refilling));
            if returning.is_empty() && refilling.is_empty() {
                return;
            }
            returning.join_all().await;
            if !self.keep || self.cancel.is_cancelled() {
                self.no_more_refills.cancel();
            }
            refilling.join_all().await;
        }
    }
}

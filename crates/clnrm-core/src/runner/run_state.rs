//! What all tests of a run share, and how they give back what they took.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::event::Events;
use super::finished_test::FinishedTest;
use super::kept::{in_use, kept_by_earlier_runs};
use super::pool_counts::{PoolCounts, Treatment, lock};
use super::record::Recorder;
use super::result::KeptService;
use super::schedule::{cannot_stay, fixed_ports};
use crate::config::definition::{ServiceDefinition, TestDefinition};
use crate::config::identity::Digest;
use crate::lifecycle::sampler::Sampler;
use crate::lifecycle::stopped::LeakReport;
use crate::lifecycle::{LiveInstance, Project};
use crate::store::{
    InstanceRow, InstanceState, LeaseId, Leased, NewLease, RunId, ServiceId, StoreError,
};
use crate::text::one_line;

/// Ended instances whose logs are kept, per service.
const KEPT_LOGS: u32 = 5;

/// What all tests of a run share.
pub(super) struct RunState {
    pub(super) project: Arc<Project>,
    pub(super) run: RunId,
    pub(super) events: Arc<Events>,
    pub(super) cancel: CancellationToken,
    /// Ends the starts of instances that only a pool wants.
    pub(super) no_more_refills: CancellationToken,
    pub(super) sampler: Sampler,
    pub(super) recorder: Recorder,
    pub(super) pools: PoolCounts,
    pub(super) service_ids: HashMap<Digest, ServiceId>,
    /// By digest.
    pub(super) names: HashMap<Digest, String>,
    /// Of those that have a pool and are containers, by digest.
    pub(super) pooled_images: HashMap<Digest, ServiceDefinition>,
    /// Tests of the plan that have not ended, per service digest.
    pub(super) uses_left: Mutex<HashMap<Digest, usize>>,
    /// Tests of the plan that have not ended, per port of this machine that they fix.
    pub(super) ports_left: Mutex<HashMap<u16, usize>>,
    pub(super) keep: bool,
}

/// What was found at the end.
pub(super) struct CleanedUp {
    pub(super) kept: Vec<KeptService>,
    pub(super) kept_earlier: Vec<KeptService>,
    pub(super) leaks: LeakReport,
}

impl fmt::Debug for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunState")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl RunState {
    pub(super) fn service_id(&self, definition: &ServiceDefinition) -> ServiceId {
        *self
            .service_ids
            .get(&definition.digest())
            .expect("every service of the plan was registered when the run began")
    }

    /// An instance of an earlier run is never taken over, unless its pool has proved it clean: a test never meets
    /// another test's state.
    pub(super) async fn stop_earlier_instances(&self) -> Result<(), StoreError> {
        let services: Vec<ServiceId> = self.service_ids.values().copied().collect();
        let digests: Vec<Digest> = self.service_ids.keys().cloned().collect();
        let image_ids = self.pooled_image_ids().await;
        let is_outdated = move |row: &InstanceRow| {
            (image_ids.get(&row.start.digest)).is_some_and(|id| row.image_id.as_ref() != Some(id))
        };
        let is_of_old_image = is_outdated.clone();
        let rows = self
            .project
            .store
            .call(move |store| {
                let unfinished = store.unfinished_runs()?;
                let mut rows = store.live_instances()?;
                rows.retain(|row| services.contains(&row.start.service));
                let mut earlier = Vec::new();
                for row in rows {
                    let is_earlier = if row.start.pooled {
                        // Free ones of a definition or an image that has changed; held ones are their holder's.
                        (!digests.contains(&row.start.digest) || is_outdated(&row))
                            && store.retire_warm(&row.start.id, None)?
                    } else {
                        !in_use(&row, &unfinished)
                    };
                    earlier.extend(is_earlier.then_some(row));
                }
                Ok(earlier)
            })
            .await?;
        for row in rows.iter().filter(|row| is_of_old_image(row)) {
            let image = self.pooled_images.get(&row.start.digest);
            let image = image.and_then(|service| service.launch.image());
            let image = image.unwrap_or_default();
            self.events.warn(format!(
                "{} is of another build of the image `{image}`, and is replaced",
                row.start.id
            ));
        }
        self.stop_rows(rows).await;
        Ok(())
    }

    /// What the images of the pools are now, by the digest of the service. An image that is not there, or an engine that
    /// does not answer, is the business of whoever starts a container.
    async fn pooled_image_ids(&self) -> HashMap<Digest, String> {
        let mut ids = HashMap::new();
        for (digest, service) in &self.pooled_images {
            let backend = self.project.backends.that_starts(service);
            if let Ok(backend) = backend
                && let Ok(Some(id)) = backend.image_id(service).await
            {
                ids.insert(digest.clone(), id);
            }
        }
        ids
    }

    /// Stops what the test no longer needs; under `--keep` the last user of a service leaves its instance up. What has a
    /// pool goes back there in the background.
    pub(super) async fn give_back(
        self: &Arc<Self>,
        index: usize,
        test: &TestDefinition,
        mut finished: FinishedTest,
    ) -> FinishedTest {
        let instances = std::mem::take(&mut finished.instances);
        let going = self.going(test);
        let (pooled, instances): (Vec<_>, Vec<_>) = instances
            .into_iter()
            .partition(|instance| instance.definition.pool.is_wanted());
        self.sampler.last_sample(&instances).await;
        let leases = instances.iter().filter_map(|one| one.acquired.lease);
        self.release(leases.collect()).await;
        // Dependents before what they depend on: the reverse of the order in which they became ready.
        for instance in instances.into_iter().rev() {
            let last_use = self.was_last_use(&instance.definition);
            let may_stay = self.keep
                && !self.cancel.is_cancelled()
                && !going.contains(&instance.definition.name);
            if may_stay && last_use && instance.is_up() {
                finished.instances.push(instance);
                continue;
            }
            if instance.is_job() && !finished.instances.is_empty() {
                // Its folder may be what those that stay read from.
                continue;
            }
            self.sampler.remove(&instance.id).await;
            self.stop_live(&instance).await;
        }
        for instance in pooled.into_iter().rev() {
            self.was_last_use(&instance.definition);
            self.return_instance(index, instance, Treatment::Clean);
        }
        for service in &test.services {
            if !finished
                .report
                .services
                .iter()
                .any(|used| used.service == service.name)
            {
                self.was_last_use(service);
            }
        }
        finished
    }

    /// The services of a test that ends now which cannot stay up.
    fn going(&self, test: &TestDefinition) -> HashSet<String> {
        let mut ports_left = lock(&self.ports_left);
        for port in fixed_ports(test) {
            if let Some(left) = ports_left.get_mut(&port) {
                *left = left.saturating_sub(1);
            }
        }
        cannot_stay(&test.services, |port| {
            ports_left.get(&port).is_some_and(|left| *left > 0)
        })
    }

    fn was_last_use(&self, definition: &ServiceDefinition) -> bool {
        let mut uses = lock(&self.uses_left);
        match uses.get_mut(&definition.digest()) {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => true,
        }
    }

    /// Tests of the plan that want this service and have not ended.
    pub(super) fn uses_left(&self, digest: &Digest) -> usize {
        let uses = lock(&self.uses_left);
        uses.get(digest).copied().unwrap_or_default()
    }

    pub(super) async fn stop_live(&self, instance: &LiveInstance) {
        let id = instance.id.clone();
        match self
            .project
            .store
            .call(move |store| store.instance(&id))
            .await
        {
            Ok(Some(row)) => self.stop_rows(vec![row]).await,
            Ok(None) => {}
            Err(error) => self.warn(&error),
        }
    }

    async fn stop_rows(&self, rows: Vec<InstanceRow>) {
        for outcome in self.project.stop_instances(rows).await {
            if let Err(error) = outcome {
                self.warn(&error);
            }
        }
    }

    /// Leases what was started for the test (what was warm is leased already), and records how long it waited for each.
    pub(super) async fn lease(&self, test: &str, instances: &mut [LiveInstance]) {
        let mut instances: Vec<&mut LiveInstance> = instances
            .iter_mut()
            .filter(|instance| !instance.is_job())
            .collect();
        let wanted: Vec<(NewLease, Option<LeaseId>, Duration)> = instances
            .iter()
            .map(|instance| {
                let lease = NewLease {
                    leased: Leased::Instance(instance.id.clone()),
                    run: Some(self.run),
                    test: test.to_owned(),
                    owner: self.project.owner.clone(),
                    acquired_at: self.project.now(),
                };
                (lease, instance.acquired.lease, instance.acquired.waited)
            })
            .collect();
        let acquired: Result<Vec<Option<LeaseId>>, StoreError> = self
            .project
            .store
            .call(move |store| {
                let mut leases = Vec::with_capacity(wanted.len());
                for (wanted, held, waited) in &wanted {
                    let lease = match held {
                        Some(held) => Some(*held),
                        None => store.acquire_lease(wanted)?,
                    };
                    if let Some(lease) = lease {
                        store.record_wait(lease, *waited)?;
                    }
                    leases.push(lease);
                }
                Ok(leases)
            })
            .await;
        match acquired {
            Ok(leases) => {
                for (instance, lease) in instances.iter_mut().zip(leases) {
                    instance.acquired.lease = lease;
                }
            }
            Err(error) => self.warn(&error),
        }
    }

    pub(super) async fn release(&self, leases: Vec<LeaseId>) {
        let now = self.project.now();
        let released = self
            .project
            .store
            .call(move |store| {
                leases
                    .into_iter()
                    .try_for_each(|lease| store.release_lease(lease, now).map(drop))
            })
            .await;
        if let Err(error) = released {
            self.warn(&error);
        }
    }

    /// Ends whatever of this run is up and not kept, and looks for anything that still carries its marks.
    /// What its pools hold stays under `--keep`; what another run has leased from them meanwhile is that run's.
    pub(super) async fn clean_up(&self, kept: &[LiveInstance]) -> Result<CleanedUp, StoreError> {
        let run = self.run;
        let keeps_pools = self.keep && !self.cancel.is_cancelled();
        if !keeps_pools {
            self.project.dismiss_guard().await;
        }
        let mine = self
            .project
            .store
            .call(move |store| {
                for row in store.instances_of_run(run)? {
                    if row.warm_until.is_some() && !keeps_pools {
                        store.retire_warm(&row.start.id, None)?;
                    }
                }
                store.instances_of_run(run)
            })
            .await?;
        let is_kept = |row: &InstanceRow| {
            let is_wanted = row.state == InstanceState::Running && row.warm_until.is_some()
                || kept.iter().any(|instance| instance.id == row.start.id);
            // What nobody will find again is not kept.
            is_wanted && row.start.dir.exists()
        };
        let (kept_rows, ended): (Vec<InstanceRow>, Vec<InstanceRow>) =
            mine.into_iter().partition(is_kept);
        let left: Vec<InstanceRow> = ended
            .iter()
            .filter(|row| row.state.is_live())
            .cloned()
            .collect();
        self.stop_rows(left).await;
        let mut leaks = self.project.end_survivors(&ended).await;
        for kept in &kept_rows {
            if let Ok(backend) = self.project.backends.named(&kept.start.runtime) {
                leaks.count(&**backend, 1);
            }
        }
        let name = |row: &InstanceRow| {
            let mut services = self.service_ids.iter();
            let (digest, _) = services.find(|(_, id)| **id == row.start.service)?;
            self.names.get(digest).cloned()
        };
        let kept = kept_rows.iter().filter_map(|row| {
            Some(KeptService {
                service: name(row)?,
                address: row.start.reached.address(),
                warm_until: row.warm_until,
            })
        });
        let mine_ids = self.service_ids.values().copied().collect();
        Ok(CleanedUp {
            kept: kept.collect(),
            kept_earlier: kept_by_earlier_runs(&self.project, mine_ids).await?,
            leaks,
        })
    }

    /// Records that the run has ended, and forgets what is too old.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (run, now) = (self.run, self.project.now());
        self.project
            .store
            .call(move |store| {
                store.finish_run(run, now)?;
                store.check_existence()
            })
            .await?;
        for backend in self.project.backends.iter() {
            backend.end_use().await;
        }
        self.project.tidy().await?;
        self.project.ensure_guard().await?;
        self.project.prune(KEPT_LOGS).await
    }

    pub(super) fn warn(&self, error: &dyn std::error::Error) {
        self.events.warn(one_line(error));
    }
}

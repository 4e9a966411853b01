//! What all tests of a run share, and how they give back what they took.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::event::RunEvent;
use super::run::Notify;
use super::test_run::FinishedTest;
use crate::config::definition::{ServiceDefinition, TestDefinition};
use crate::control::sampler::Sampler;
use crate::control::status_report::LeakReport;
use crate::control::{LiveInstance, Project, one_line};
use crate::store::{InstanceRow, LeaseId, NewLease, RunId, RuntimeKind, ServiceId, StoreError};

/// Ended instances whose logs are kept, per service.
const KEPT_LOGS: u32 = 5;

/// What all tests of a run share.
pub(super) struct Shared {
    pub(super) project: Arc<Project>,
    pub(super) run: RunId,
    pub(super) notify: Arc<Notify>,
    pub(super) cancel: CancellationToken,
    pub(super) sampler: Sampler,
    pub(super) service_ids: HashMap<String, ServiceId>,
    /// Tests of the plan that have not ended, per service digest.
    pub(super) uses_left: Mutex<HashMap<String, usize>>,
    pub(super) keep: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}
impl Shared {
    pub(super) fn service_id(&self, definition: &ServiceDefinition) -> ServiceId {
        *self
            .service_ids
            .get(&definition.digest())
            .expect("every service of the plan was registered when the run began")
    }

    /// An instance of an earlier run is never taken over: a test never meets another test's state.
    pub(super) async fn stop_earlier_instances(&self) -> Result<(), StoreError> {
        let services: Vec<ServiceId> = self.service_ids.values().copied().collect();
        let rows = self
            .project
            .store
            .call(move |store| {
                let unfinished = store.unfinished_runs()?;
                let in_use = |row: &InstanceRow| {
                    row.start.owner.is_alive()
                        && row
                            .start
                            .run
                            .is_none_or(|run| unfinished.iter().any(|other| other.id == run))
                };
                let mut rows = store.live_instances()?;
                rows.retain(|row| services.contains(&row.start.service) && !in_use(row));
                Ok(rows)
            })
            .await?;
        self.stop_rows(rows).await;
        Ok(())
    }

    /// Stops what the test no longer needs; under `--keep` the last user of a service leaves its instance up.
    pub(super) async fn give_back(
        self: &Arc<Self>,
        test: &TestDefinition,
        mut finished: FinishedTest,
    ) -> FinishedTest {
        let instances = std::mem::take(&mut finished.instances);
        // Dependents before what they depend on: the reverse of the order in which they became ready.
        for instance in instances.into_iter().rev() {
            let last_use = self.was_last_use(&instance.definition);
            if self.keep && last_use && instance.is_up() && !self.cancel.is_cancelled() {
                finished.instances.push(instance);
                continue;
            }
            self.sampler.remove(&instance.id).await;
            self.stop_live(&instance).await;
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

    fn was_last_use(&self, definition: &ServiceDefinition) -> bool {
        let mut uses = self
            .uses_left
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(&definition.digest()) {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => true,
        }
    }

    async fn stop_live(&self, instance: &LiveInstance) {
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

    pub(super) async fn lease(&self, test: &str, instances: &[LiveInstance]) -> Vec<LeaseId> {
        let leases: Vec<NewLease> = instances
            .iter()
            .map(|instance| NewLease {
                instance: instance.id.clone(),
                run: Some(self.run),
                test: test.to_owned(),
                owner: self.project.owner.clone(),
                acquired_at: self.project.now(),
            })
            .collect();
        let acquired = self
            .project
            .store
            .call(move |store| {
                leases
                    .iter()
                    .filter_map(|lease| store.acquire_lease(lease).transpose())
                    .collect()
            })
            .await;
        acquired.unwrap_or_else(|error| {
            self.warn(&error);
            Vec::new()
        })
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
    pub(super) async fn clean_up(&self, kept: &[LiveInstance]) -> Result<LeakReport, StoreError> {
        let run = self.run;
        let mine = self
            .project
            .store
            .call(move |store| store.instances_of_run(run))
            .await?;
        let is_kept = |row: &InstanceRow| kept.iter().any(|instance| instance.id == row.start.id);
        let (kept_rows, ended): (Vec<InstanceRow>, Vec<InstanceRow>) =
            mine.into_iter().partition(is_kept);
        let left: Vec<InstanceRow> = ended
            .iter()
            .filter(|row| row.state.is_live())
            .cloned()
            .collect();
        self.stop_rows(left).await;
        let mut report = self.project.end_survivors(&ended).await;
        for kept in kept_rows {
            match kept.start.runtime {
                RuntimeKind::Process => report.processes_checked += 1,
                RuntimeKind::Container => report.containers_checked += 1,
            }
        }
        Ok(report)
    }

    /// Records that the run has ended, and forgets what is too old.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (run, now) = (self.run, self.project.now());
        self.project
            .store
            .call(move |store| store.finish_run(run, now))
            .await?;
        self.project.tidy_containers().await?;
        self.project.prune(KEPT_LOGS).await
    }

    fn warn(&self, error: &dyn std::error::Error) {
        (self.notify)(RunEvent::Warning {
            message: one_line(error),
        });
    }
}

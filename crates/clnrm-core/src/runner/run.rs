//! A whole run: tests in parallel, services kept or stopped, always cleaned up.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::{KeptService, RunEvent, RunReport, RunSummary, TestReport, TestStatus};
use super::step;
use super::test_run::{FinishedTest, run_test};
use crate::config::definition::{ServiceDefinition, TestDefinition};
use crate::control::recover::RecoverError;
use crate::control::sampler::Sampler;
use crate::control::status_report::LeakReport;
use crate::control::{LiveInstance, Project, one_line};
use crate::runtime::recovery;
use crate::store::{InstanceRow, LeaseId, NewLease, RunId, ServiceId, StoreError};

/// Ended instances whose logs are kept, per service.
const KEPT_LOGS: u32 = 5;

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Tests at the same time, at least 1.
    pub jobs: usize,
    /// Start no further test after one that did not pass.
    pub fail_fast: bool,
    /// Leave one instance of each service up afterwards.
    pub keep: bool,
}

/// Why there was no run at all.
#[derive(Debug, Error)]
pub enum RunError {
    /// The state before the run could not be established.
    #[error("cannot put the project in order before the run")]
    Recover(#[source] RecoverError),
    /// The history failed.
    #[error("cannot record the run")]
    Store(#[source] StoreError),
}

/// Told of every event.
pub type Notify = dyn Fn(RunEvent) + Send + Sync;

/// What all tests of a run share.
pub(super) struct Shared {
    pub(super) project: Arc<Project>,
    pub(super) run: RunId,
    pub(super) notify: Arc<Notify>,
    pub(super) cancel: CancellationToken,
    pub(super) sampler: Sampler,
    service_ids: HashMap<String, ServiceId>,
    /// Tests of the plan that have not ended, per service digest.
    uses_left: Mutex<HashMap<String, usize>>,
    keep: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Runs the tests; `cancel` ends it early. Whatever happens, nothing is left but what is kept on purpose.
pub async fn run(
    project: Arc<Project>,
    tests: Vec<TestDefinition>,
    options: RunOptions,
    notify: Arc<Notify>,
    cancel: CancellationToken,
) -> Result<RunReport, RunError> {
    let started = Instant::now();
    let started_at = project.now();
    let recovered = project.recover().await.map_err(RunError::Recover)?;
    for message in recovered.notes {
        notify(RunEvent::Warning { message });
    }
    let shared = Arc::new(
        begin(project, &tests, options, notify, cancel)
            .await
            .map_err(RunError::Store)?,
    );
    (shared.notify)(RunEvent::RunStarted {
        tests: tests.len(),
        jobs: options.jobs,
    });
    shared
        .stop_earlier_instances()
        .await
        .map_err(RunError::Store)?;
    let sampling = shared.sampler.run_until(shared.cancel.clone());
    let finished = run_tests(&shared, tests, options).await;
    sampling.abort();
    let (tests, kept): (Vec<TestReport>, Vec<Vec<LiveInstance>>) = finished
        .into_iter()
        .map(|test| (test.report, test.instances))
        .unzip();
    let kept: Vec<LiveInstance> = kept.into_iter().flatten().collect();
    let leaks = shared.clean_up(&kept).await.map_err(RunError::Store)?;
    Ok(RunReport {
        schema: RunReport::SCHEMA,
        run_id: shared.run.to_string(),
        started_at,
        duration: started.elapsed(),
        summary: summarize(&tests),
        tests,
        kept: kept
            .into_iter()
            .map(|instance| KeptService {
                service: instance.definition.name,
                address: instance.address,
            })
            .collect(),
        leaks,
        interrupted_by: None,
    })
}

async fn begin(
    project: Arc<Project>,
    tests: &[TestDefinition],
    options: RunOptions,
    notify: Arc<Notify>,
    cancel: CancellationToken,
) -> Result<Shared, StoreError> {
    let mut uses_left: HashMap<String, usize> = HashMap::new();
    let mut services: Vec<(ServiceDefinition, std::path::PathBuf)> = Vec::new();
    for test in tests {
        let file = std::path::absolute(&test.file).unwrap_or_else(|_| test.file.clone());
        for service in &test.services {
            *uses_left.entry(service.digest()).or_default() += 1;
            services.push((service.clone(), file.clone()));
        }
    }
    let (owner, now, keep) = (project.owner.clone(), project.now(), options.keep);
    let (run, service_ids) = project
        .store
        .call(move |store| {
            let mut ids = HashMap::new();
            for (service, file) in &services {
                ids.insert(
                    service.digest(),
                    store.register_service(service, file, now)?,
                );
            }
            Ok((store.begin_run(&owner, keep, now)?, ids))
        })
        .await?;
    let tell = Arc::clone(&notify);
    let warn = Arc::new(move |message| tell(RunEvent::Warning { message }));
    let sampler = Sampler::new(Arc::clone(&project), warn);
    Ok(Shared {
        project,
        run,
        notify,
        cancel,
        sampler,
        service_ids,
        uses_left: Mutex::new(uses_left),
        keep: options.keep,
    })
}

/// Runs them with at most `jobs` at a time, in the plan's order; the result is in that order too.
async fn run_tests(
    shared: &Arc<Shared>,
    tests: Vec<TestDefinition>,
    options: RunOptions,
) -> Vec<FinishedTest> {
    let turns = Arc::new(Semaphore::new(options.jobs.max(1)));
    let stop_starting = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    for (index, test) in tests.into_iter().enumerate() {
        let (shared, turns, stop_starting) = (
            Arc::clone(shared),
            Arc::clone(&turns),
            Arc::clone(&stop_starting),
        );
        running.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let finished = if shared.cancel.is_cancelled() {
                not_run(&test, "interrupted")
            } else if stop_starting.load(Ordering::Acquire) {
                not_run(&test, "an earlier test did not pass (--fail-fast)")
            } else {
                (shared.notify)(RunEvent::TestStarted {
                    test: index,
                    name: test.name.clone(),
                    file: test.file.clone(),
                });
                run_test(&shared, index, &test).await
            };
            if options.fail_fast && finished.report.status != TestStatus::Passed {
                stop_starting.store(true, Ordering::Release);
            }
            let finished = shared.give_back(&test, finished).await;
            (shared.notify)(RunEvent::TestFinished {
                test: index,
                report: finished.report.clone(),
            });
            (index, finished)
        });
    }
    let mut finished: Vec<(usize, FinishedTest)> = running.join_all().await;
    finished.sort_by_key(|(index, _)| *index);
    finished.into_iter().map(|(_, test)| test).collect()
}

fn not_run(test: &TestDefinition, reason: &str) -> FinishedTest {
    let report = TestReport {
        name: test.name.clone(),
        file: test.file.clone(),
        status: TestStatus::Skipped,
        duration: std::time::Duration::ZERO,
        services: Vec::new(),
        steps: test
            .steps
            .iter()
            .map(|step| step::skipped(step, reason.to_owned()))
            .collect(),
        reason: Some(reason.to_owned()),
        service_failures: Vec::new(),
    };
    FinishedTest {
        report,
        instances: Vec::new(),
    }
}

fn summarize(tests: &[TestReport]) -> RunSummary {
    let count = |status| tests.iter().filter(|test| test.status == status).count();
    RunSummary {
        passed: count(TestStatus::Passed),
        failed: count(TestStatus::Failed),
        errors: count(TestStatus::Error),
        skipped: count(TestStatus::Skipped),
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
    async fn stop_earlier_instances(&self) -> Result<(), StoreError> {
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
    async fn give_back(
        self: &Arc<Self>,
        test: &TestDefinition,
        mut finished: FinishedTest,
    ) -> FinishedTest {
        let instances = std::mem::take(&mut finished.instances);
        // Dependents before what they depend on: the reverse of the order in which they became ready.
        for instance in instances.into_iter().rev() {
            let last_use = self.was_last_use(&instance.definition);
            if self.keep && last_use && !self.cancel.is_cancelled() {
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
    async fn clean_up(&self, kept: &[LiveInstance]) -> Result<LeakReport, StoreError> {
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
        let ids: Vec<String> = ended.iter().map(|row| row.start.id.0.clone()).collect();
        let leaked = recovery::end_survivors(&ids).await;
        let now = self.project.now();
        self.project
            .store
            .call(move |store| store.finish_run(run, now))
            .await?;
        self.project.prune(KEPT_LOGS).await?;
        Ok(LeakReport {
            processes_checked: u32::try_from(ended.len() + kept_rows.len()).unwrap_or(u32::MAX),
            leaked,
        })
    }

    fn warn(&self, error: &dyn std::error::Error) {
        (self.notify)(RunEvent::Warning {
            message: one_line(error),
        });
    }
}

//! A whole run: tests in parallel, services kept or stopped, always cleaned up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::{KeptService, RunEvent, RunReport, RunSummary, TestReport, TestStatus};
use super::shared::Shared;
use super::step;
use super::test_run::{FinishedTest, run_test};
use crate::config::definition::{ServiceDefinition, TestDefinition};
use crate::control::recover::RecoverError;
use crate::control::sampler::Sampler;
use crate::control::{LiveInstance, Project};
use crate::store::StoreError;

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

/// A run that came to its end.
#[derive(Debug)]
pub struct RunOutcome {
    /// What happened.
    pub report: RunReport,
    /// Why the end of the run could not be recorded: a full disk, say. The report holds all the same.
    pub not_recorded: Option<StoreError>,
}

/// Told of every event.
pub type Notify = dyn Fn(RunEvent) + Send + Sync;

/// Runs the tests; `cancel` ends it early. Whatever happens, nothing is left but what is kept on purpose.
pub async fn run(
    project: Arc<Project>,
    tests: Vec<TestDefinition>,
    options: RunOptions,
    notify: Arc<Notify>,
    cancel: CancellationToken,
) -> Result<RunOutcome, RunError> {
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
    // Whoever interrupts a run wants nothing of it.
    let interrupted = shared.cancel.is_cancelled();
    let kept: Vec<LiveInstance> = kept
        .into_iter()
        .flatten()
        .filter(|_| !interrupted)
        .collect();
    let leaks = shared.clean_up(&kept).await.map_err(RunError::Store)?;
    let not_recorded = shared.close().await.err();
    let report = RunReport {
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
    };
    Ok(RunOutcome {
        report,
        not_recorded,
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

//! A whole run: tests in parallel, services kept or stopped, always cleaned up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cause::{StepReason, TestReason};
use super::contamination;
use super::event::{EventKind, Events};
use super::finished_test::FinishedTest;
use super::pool_counts::PoolCounts;
use super::record::Recorder;
use super::result::{TestReport, TestStatus};
use super::run_state::{CleanedUp, RunState};
use super::schedule::{Blocked, Schedule, fixed_ports};
use super::step;
use crate::backend::Backend;
use crate::config::definition::{ServiceDefinition, TestDefinition};
use crate::config::identity::Digest;
use crate::exit::Fatal;
use crate::lifecycle::pool_size::pool_size;
use crate::lifecycle::recover::RecoverError;
use crate::lifecycle::sampler::Sampler;
use crate::lifecycle::{LiveInstance, Project};
use crate::store::{RunOrigin, StoreError};

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Tests at the same time, at least 1.
    pub jobs: usize,
    /// Start no further test after one that did not pass.
    pub fail_fast: bool,
    /// Leave one instance of each service up afterwards.
    pub keep: bool,
    /// What is recorded beside the results.
    pub origin: RunOrigin,
}

/// Why there was no run at all.
#[derive(Debug, Error)]
pub enum RunError {
    /// The state before the run could not be established.
    #[error("cannot put the project in order before the run")]
    Recover(#[from] RecoverError),
    /// The history failed.
    #[error("cannot record the run")]
    Store(#[from] StoreError),
}

impl Fatal for RunError {
    fn behind(&self) -> Option<&dyn Fatal> {
        Some(match self {
            Self::Recover(error) => error,
            Self::Store(error) => error,
        })
    }
}

/// Runs the tests; `cancel` ends it early. Whatever happens, nothing is left but what is kept on purpose.
///
/// What happens is told as `events`, of which the last is that the run has finished. Returns why the end of the run
/// could not be recorded: a full disk, say. What was told holds all the same.
pub async fn run(
    project: Arc<Project>,
    tests: Vec<TestDefinition>,
    options: RunOptions,
    events: Arc<Events>,
    cancel: CancellationToken,
) -> Result<Option<StoreError>, RunError> {
    let used = backends_of(&project, &tests);
    for backend in used.clone() {
        backend.begin_use();
        // Meanwhile the rest of the run begins.
        tokio::spawn(async move { backend.make_ready().await });
    }
    let sweeping = async {
        let mut swept = Vec::new();
        for backend in &used {
            swept.extend(backend.end_abandoned(project.now()).await);
        }
        swept
    };
    let (recovered, swept) = tokio::join!(project.recover(), sweeping);
    let recovered = recovered?;
    for message in recovered.notes.into_iter().chain(swept) {
        events.warn(message);
    }
    let shared = Arc::new(begin(project, &tests, &options, events, cancel).await?);
    shared.events.tell(EventKind::RunStarted {
        run_id: shared.run.to_string(),
        tests: tests.len(),
        jobs: options.jobs,
    });
    shared.stop_earlier_instances().await?;
    let sampling = shared.sampler.run_until(shared.cancel.clone());
    let mut kept = run_tests(&shared, tests, &options).await;
    shared.all_returned().await;
    sampling.abort();
    if shared.cancel.is_cancelled() {
        // Whoever interrupts a run wants nothing of it.
        kept.clear();
    }
    let CleanedUp {
        kept,
        kept_earlier,
        leaks,
    } = shared.clean_up(&kept).await?;
    let not_closed = shared.close().await.err();
    shared.events.tell(EventKind::RunFinished {
        kept,
        kept_earlier,
        leaks,
    });
    let interrupted = shared.cancel.is_cancelled();
    let recorded = shared.recorder.run(&shared.events, interrupted).await;
    Ok(not_closed.or(recorded.err()))
}

/// Those that will start something.
fn backends_of(project: &Project, tests: &[TestDefinition]) -> Vec<Arc<dyn Backend>> {
    let services = || tests.iter().flat_map(|test| &test.services);
    let is_used = |backend: &&Arc<dyn Backend>| services().any(|service| backend.starts(service));
    project.backends.iter().filter(is_used).cloned().collect()
}

async fn begin(
    project: Arc<Project>,
    tests: &[TestDefinition],
    options: &RunOptions,
    events: Arc<Events>,
    cancel: CancellationToken,
) -> Result<RunState, StoreError> {
    let mut uses_left: HashMap<Digest, usize> = HashMap::new();
    let mut ports_left: HashMap<u16, usize> = HashMap::new();
    let mut services: Vec<(ServiceDefinition, std::path::PathBuf)> = Vec::new();
    for test in tests {
        let file = std::path::absolute(&test.file).unwrap_or_else(|_| test.file.clone());
        for port in fixed_ports(test) {
            *ports_left.entry(port).or_default() += 1;
        }
        for service in &test.services {
            *uses_left.entry(service.digest()).or_default() += 1;
            services.push((service.clone(), file.clone()));
        }
    }
    let (owner, now, keep) = (project.owner.clone(), project.now(), options.keep);
    let origin = options.origin.clone();
    let names = (services.iter())
        .map(|(service, _)| (service.digest(), service.name.clone()))
        .collect();
    let pooled_images = services.iter().filter_map(|(service, _)| {
        let is_meant = service.launch.image().is_some() && service.pool.is_wanted();
        is_meant.then(|| (service.digest(), service.clone()))
    });
    let pooled_images = pooled_images.collect();
    let (run, service_ids, sizes) = project
        .store
        .call(move |store| {
            let (mut ids, mut sizes) = (HashMap::new(), HashMap::new());
            for (service, file) in &services {
                let (digest, id) = (
                    service.digest(),
                    store.register_service(service, file, now)?,
                );
                if service.pool.is_wanted() {
                    sizes.insert(digest.clone(), pool_size(store, id, &service.pool)?);
                }
                ids.insert(digest, id);
            }
            let run = store.begin_run(&owner, keep, now)?;
            store.record_run_origin(run, &origin)?;
            Ok((run, ids, sizes))
        })
        .await?;
    let tell = Arc::clone(&events);
    let warn = Arc::new(move |message| tell.warn(message));
    let sampler = Sampler::new(Arc::clone(&project), warn);
    Ok(RunState {
        recorder: Recorder::of(project.store.clone(), run),
        project,
        run,
        events,
        no_more_refills: cancel.child_token(),
        cancel,
        sampler,
        pools: PoolCounts::of(sizes),
        service_ids,
        names,
        pooled_images,
        uses_left: Mutex::new(uses_left),
        ports_left: Mutex::new(ports_left),
        keep: options.keep,
    })
}

/// Runs them with at most `jobs` at a time, in the plan's order but for those that wait for a port; returns the instances
/// that they leave up.
async fn run_tests(
    shared: &Arc<RunState>,
    tests: Vec<TestDefinition>,
    options: &RunOptions,
) -> Vec<LiveInstance> {
    let tests = Arc::new(tests);
    let stop_starting = Arc::new(AtomicBool::new(false));
    let mut schedule = Schedule::of(&tests);
    let mut running = JoinSet::new();
    let mut kept = Vec::new();
    loop {
        while running.len() < options.jobs.max(1) {
            let (next, blocked) = schedule.next();
            for Blocked { test, port, behind } in blocked {
                shared.events.tell(EventKind::TestWaiting {
                    name: name_of(&tests, test),
                    port,
                    behind: name_of(&tests, behind),
                });
            }
            let Some(index) = next else { break };
            let (shared, tests) = (Arc::clone(shared), Arc::clone(&tests));
            let stop_starting = Arc::clone(&stop_starting);
            let fail_fast = options.fail_fast;
            running.spawn(async move {
                let test = tests.get(index)?;
                Some((
                    index,
                    run_one(&shared, index, test, &stop_starting, fail_fast).await,
                ))
            });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(done)) => {
                if let Some((index, instances)) = done {
                    schedule.ended(index);
                    kept.extend(instances);
                }
            }
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    kept
}

fn name_of(tests: &[TestDefinition], index: usize) -> String {
    tests
        .get(index)
        .map_or_else(String::new, |test| test.name.clone())
}

/// One test, unless the run is over; its services are given back when this returns, but for those that it leaves up.
async fn run_one(
    shared: &Arc<RunState>,
    index: usize,
    test: &TestDefinition,
    stop_starting: &AtomicBool,
    fail_fast: bool,
) -> Vec<LiveInstance> {
    let finished = if shared.cancel.is_cancelled() {
        not_run(test, TestReason::Interrupted)
    } else if stop_starting.load(Ordering::Acquire) {
        not_run(test, TestReason::FailFast)
    } else {
        shared.events.tell(EventKind::TestStarted {
            test: index,
            name: test.name.clone(),
            file: test.file.clone(),
        });
        contamination::run_test(shared, index, test).await
    };
    if fail_fast && finished.report.status != TestStatus::Passed {
        stop_starting.store(true, Ordering::Release);
    }
    let finished = shared.give_back(index, test, finished).await;
    let now = shared.project.now();
    shared.recorder.test(index, test, &finished, now);
    shared.events.tell(EventKind::TestFinished {
        test: index,
        report: finished.report,
    });
    finished.instances
}

fn not_run(test: &TestDefinition, reason: TestReason) -> FinishedTest {
    let steps = test.steps.iter();
    let report = TestReport {
        steps: steps
            .map(|step| {
                let cause = reason.clone();
                step::skipped(step, StepReason::TestNotRun { cause })
            })
            .collect(),
        ..TestReport::not_run(
            test.name.clone(),
            test.file.clone(),
            TestStatus::Skipped,
            reason,
        )
    };
    FinishedTest {
        report,
        instances: Vec::new(),
        waited: Duration::ZERO,
        attempts: Vec::new(),
        reported: 0,
    }
}

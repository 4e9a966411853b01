//! One test, from its first service to its last step.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::attempt::StepContext;
use super::cause::{ServiceCondition, StepReason, TestReason};
use super::command_step::test_variables;
use super::early_end::{hear_of_an_end, how_it_ended, unwanted_end};
use super::event::EventKind;
use super::finished_test::FinishedTest;
use super::memory_watch::MemoryWatch;
use super::milliseconds::{self, whole_micros};
use super::result::{
    InstanceOrigin, ServiceFailure, ServiceUse, StepReport, StepStatus, TestReport, TestStatus,
};
use super::run_state::RunState;
use super::service_set::{self, ServiceSet, Wish};
use super::step;
use crate::backend::{Condition, Observed};
use crate::config::definition::{StepAction, TestDefinition};
use crate::config::placeholder::Bindings;
use crate::lifecycle::LiveInstance;
use crate::lifecycle::Project;

/// Why a test was cut short.
#[derive(Debug, Clone)]
enum CutShort {
    TimedOut(Duration),
    ServiceDied(Box<ServiceFailure>),
}

/// What may end a test before its last step: the run's own end, its time, a service that dies.
struct Watch {
    cancel: CancellationToken,
    why: Arc<OnceLock<CutShort>>,
}

impl Watch {
    fn below(run: &CancellationToken) -> Self {
        Self {
            cancel: run.child_token(),
            why: Arc::new(OnceLock::new()),
        }
    }

    fn cut_short(&self, why: CutShort) {
        // The first reason is the one that counts.
        let _ = self.why.set(why);
        self.cancel.cancel();
    }
}

/// Runs a test. Its instances are still up when this returns.
pub(super) async fn run_test(
    shared: &Arc<RunState>,
    index: usize,
    test: &TestDefinition,
    fresh_only: bool,
) -> FinishedTest {
    let started = Instant::now();
    let watch = Arc::new(Watch::below(&shared.cancel));
    let timer = test.timeout.map(|limit| {
        let watch = Arc::clone(&watch);
        tokio::spawn(async move {
            sleep(limit).await;
            watch.cut_short(CutShort::TimedOut(limit));
        })
    });
    let starting = watch.cancel.child_token();
    let wish = Wish {
        test: index,
        name: test.name.clone(),
        fresh_only,
    };
    let mut services = service_set::start_all(shared, &wish, &test.services, &starting).await;
    let waited = started.elapsed();
    let steps = if starting.is_cancelled() {
        let steps = test.steps.iter();
        steps
            .map(|step| step::skipped(step, StepReason::ServicesNotStarted))
            .collect()
    } else {
        with_services(shared, index, test, &mut services, &watch).await
    };
    if let Some(timer) = timer {
        timer.abort();
    }
    let mut report = TestReport {
        name: test.name.clone(),
        file: test.file.clone(),
        status: TestStatus::Passed,
        duration: whole_micros(started.elapsed()),
        services: services.ready.iter().map(service_use).collect(),
        steps,
        reason: None,
        suspects: Vec::new(),
        service_failures: services.failures,
    };
    judge(
        &mut report,
        test,
        watch.why.get(),
        services.given_up,
        shared.cancel.is_cancelled(),
    );
    tell_conditions(&shared.project, &services.ready, &mut report).await;
    FinishedTest {
        attempts: vec![report.steps.clone()],
        reported: 0,
        waited,
        report,
        instances: services.ready,
    }
}

async fn with_services(
    shared: &Arc<RunState>,
    index: usize,
    test: &TestDefinition,
    services: &mut ServiceSet,
    watch: &Arc<Watch>,
) -> Vec<StepReport> {
    shared.lease(&test.name, &mut services.ready).await;
    let (warm, fresh): (Vec<_>, Vec<_>) = (services.ready.iter())
        .filter(|instance| !instance.is_job())
        .cloned()
        .partition(|instance| instance.acquired.warm);
    shared.sampler.add(&fresh).await;
    // A warm instance is there at once, and so are the steps; its first reading comes when it comes.
    let sampler = shared.sampler.clone();
    let adding = (!warm.is_empty()).then(|| tokio::spawn(async move { sampler.add(&warm).await }));
    let staying = services.ready.iter().filter(|instance| !instance.is_job());
    let guards: Vec<_> = staying
        .map(|instance| {
            let guard = watch_over(instance.clone(), Arc::clone(watch));
            (instance, tokio::spawn(guard))
        })
        .collect();
    let steps = run_steps(shared, index, test, &services.ready, watch).await;
    for (instance, guard) in guards {
        hear_of_an_end(instance).await;
        if instance.is_up() || instance.definition.may_exit() {
            guard.abort();
        }
        // Aborted, or about to say what happened.
        let _ = guard.await;
    }
    if let Some(adding) = adding {
        // It never panics: see its reports.
        let _ = adding.await;
    }
    steps
}

async fn run_steps(
    shared: &Arc<RunState>,
    index: usize,
    test: &TestDefinition,
    services: &[LiveInstance],
    watch: &Watch,
) -> Vec<StepReport> {
    let bindings = bindings(shared, services);
    let mut env = shared.project.environment.clone();
    env.extend(test_variables(&test.name, shared.run, &bindings));
    let service_env = services
        .iter()
        .map(|service| (service.definition.name.clone(), service.env.clone()))
        .collect();
    let context = StepContext {
        project: &shared.project,
        services,
        bindings: &bindings,
        env: &env,
        service_env: &service_env,
        base_dir: base_dir(&test.file),
        events: &shared.events,
        cancel: &watch.cancel,
        run: shared.run,
        test: index,
        test_name: &test.name,
    };
    let mut reports: Vec<StepReport> = Vec::new();
    let mut broken_by: Option<String> = None;
    let mut memory = MemoryWatch::of(services);
    for (number, definition) in test.steps.iter().enumerate() {
        if let Some(reason) = skip_reason(definition, &reports, broken_by.as_deref(), &watch.cancel)
        {
            reports.push(step::skipped(definition, reason));
            continue;
        }
        let (step, of) = (definition.name.clone(), test.steps.len());
        shared.events.tell(EventKind::StepStarted {
            test: index,
            step,
            index: number,
            of,
        });
        let mut report = step::run(definition, &context).await;
        let kills = memory.kills();
        if let Some(cause) = &mut report.reason {
            cause.out_of_memory = kills;
        }
        shared.events.tell(EventKind::StepFinished {
            test: index,
            step: report.clone(),
        });
        if report.status == StepStatus::Failed && !definition.continue_on_failure {
            broken_by.get_or_insert(definition.name.clone());
        }
        reports.push(report);
    }
    reports
}

fn skip_reason(
    step: &crate::config::definition::StepDefinition,
    done: &[StepReport],
    broken_by: Option<&str>,
    cancel: &CancellationToken,
) -> Option<StepReason> {
    if cancel.is_cancelled() {
        return Some(StepReason::TestEnded);
    }
    if let Some(name) = broken_by {
        return Some(StepReason::EarlierStepFailed {
            step: name.to_owned(),
        });
    }
    let passed = |name: &String| {
        done.iter()
            .any(|step| step.name == *name && step.status == StepStatus::Passed)
    };
    let missing = step.depends_on.iter().find(|name| !passed(name))?;
    Some(StepReason::DependencyNotPassed {
        step: missing.clone(),
    })
}

/// Cuts the test short when an instance ends under it that must not.
async fn watch_over(instance: LiveInstance, watch: Arc<Watch>) {
    if let Some(failure) = unwanted_end(&instance).await {
        watch.cut_short(CutShort::ServiceDied(Box::new(failure)));
    }
}

fn service_use(instance: &LiveInstance) -> ServiceUse {
    ServiceUse {
        service: instance.definition.name.clone(),
        instance_id: instance.id.0.clone(),
        origin: if instance.acquired.uses > 0 {
            InstanceOrigin::Reused
        } else {
            InstanceOrigin::Fresh
        },
        job: instance.is_job(),
        ended: how_it_ended(instance),
        warm: instance.acquired.warm,
        lease_ms: milliseconds::rounded(instance.acquired.waited),
        verified_ms: instance.acquired.cleaned_in.map(milliseconds::rounded),
        ready_ms: u64::try_from(instance.ready_in.as_millis()).unwrap_or(u64::MAX),
        address: instance.reached.address(),
        condition: None,
        afterwards: None,
    }
}

fn bindings(shared: &RunState, services: &[LiveInstance]) -> Bindings {
    let mut bindings = shared.project.empty_bindings();
    bindings.services = services
        .iter()
        .map(|service| (service.definition.name.clone(), service.reached.clone()))
        .collect();
    bindings
}

/// Steps are the user's own commands: they see the caller's environment, and where the services are.
fn base_dir(file: &Path) -> std::path::PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => Path::new(".").to_owned(),
    }
}

/// What somebody did to a container, or its own health check says, is often why a test failed.
async fn tell_conditions(project: &Project, services: &[LiveInstance], report: &mut TestReport) {
    let has_failed = matches!(report.status, TestStatus::Failed | TestStatus::Error);
    let is_meant = |instance: &&LiveInstance| {
        instance.is_up() && (has_failed || instance.running.has_health_check)
    };
    let mut observed = Vec::new();
    for backend in project.backends.iter() {
        let mine = services.iter().filter(is_meant);
        let mine = mine.filter(|instance| instance.backend.name() == backend.name());
        let mine: Vec<&LiveInstance> = mine.collect();
        let places: Vec<_> = mine.iter().map(|instance| instance.place()).collect();
        observed.extend(mine.into_iter().zip(backend.observe(&places).await));
    }
    for (instance, observed) in observed {
        let condition = match observed {
            Ok(Observed::Alive(condition)) if condition != Condition::Serving => condition,
            _ => continue,
        };
        let uses = report.services.iter_mut();
        for used in uses.filter(|used| used.instance_id == instance.id.0) {
            used.condition = Some(condition.to_string());
        }
        if let Some(cause) = &mut report.reason {
            cause.conditions.push(ServiceCondition {
                service: instance.definition.name.clone(),
                condition: condition.to_string(),
            });
        }
    }
}

/// Fills in status and reason; pure but for the report that it fills.
fn judge(
    report: &mut TestReport,
    test: &TestDefinition,
    cut_short: Option<&CutShort>,
    given_up: Vec<ServiceFailure>,
    interrupted: bool,
) {
    let failed_step = report
        .steps
        .iter()
        .find(|step| step.status == StepStatus::Failed);
    let (status, reason) = match cut_short {
        Some(CutShort::ServiceDied(failure)) => {
            report.service_failures.push((**failure).clone());
            (
                TestStatus::Error,
                Some(TestReason::ServiceDied {
                    service: failure.service.clone(),
                }),
            )
        }
        // After a failure, the time may be up before everything is cleaned up.
        Some(CutShort::TimedOut(limit)) if report.service_failures.is_empty() => {
            time_was_up(report, *limit, given_up)
        }
        None if interrupted => (TestStatus::Skipped, Some(TestReason::Interrupted)),
        Some(CutShort::TimedOut(_)) | None => {
            match (report.service_failures.first(), failed_step) {
                (Some(failure), _) => (
                    TestStatus::Error,
                    Some(TestReason::ServiceNotStarted {
                        service: failure.service.clone(),
                    }),
                ),
                (None, Some(step)) => (
                    TestStatus::Failed,
                    Some(TestReason::StepFailed {
                        step: step.name.clone(),
                    }),
                ),
                (None, None) => match broken_assertion(report, test) {
                    Some(broken) => (TestStatus::Failed, Some(broken)),
                    None => (TestStatus::Passed, None),
                },
            }
        }
    };
    report.status = status;
    report.reason = reason.map(Into::into);
}

/// A test whose services were not ready in its time says nothing of what it tests.
fn time_was_up(
    report: &mut TestReport,
    limit: Duration,
    given_up: Vec<ServiceFailure>,
) -> (TestStatus, Option<TestReason>) {
    let Some(first) = given_up.first() else {
        return (TestStatus::Failed, Some(TestReason::TimeUp { limit }));
    };
    let reason = TestReason::ServiceNotReady {
        service: first.service.clone(),
        limit,
    };
    let late = given_up.into_iter().map(|failure| ServiceFailure {
        hint: failure.hint.or_else(|| Some(TIME_HINT.to_owned())),
        ..failure
    });
    report.service_failures.extend(late);
    (TestStatus::Error, Some(reason))
}

const TIME_HINT: &str = "the `timeout` of a test covers the start of its services, too";

fn broken_assertion(report: &TestReport, test: &TestDefinition) -> Option<TestReason> {
    let wanted = test.assertions.min_commands_executed?;
    let is_command = |name: &String| {
        test.steps
            .iter()
            .any(|step| step.name == *name && matches!(step.action, StepAction::Command(_)))
    };
    let executed = report
        .steps
        .iter()
        .filter(|step| step.attempts > 0 && is_command(&step.name))
        .count();
    (executed < wanted as usize).then_some(TestReason::TooFewCommands { executed, wanted })
}

//! A test that fails on instances that others have used is run once more on fresh ones. If it passes there, the failure
//! was not its own, and the tests that held the instances before it are the suspects.

use std::sync::Arc;

use super::cause::SecondAttempt;
use super::finished_test::FinishedTest;
use super::pool_counts::Treatment;
use super::result::{Suspect, TestStatus};
use super::run_state::RunState;
use super::test_run;
use crate::config::definition::TestDefinition;
use crate::lifecycle::LiveInstance;
use crate::services::service_manager::attempts::{AttemptsVerdict, over_two_attempts};

/// Suspects per instance that a report names.
const SUSPECTS: u32 = 20;

/// Runs a test, and once more where used instances may have made it fail.
pub(super) async fn run_test(
    shared: &Arc<RunState>,
    index: usize,
    test: &TestDefinition,
) -> FinishedTest {
    let mut first = test_run::run_test(shared, index, test, false).await;
    let failed = matches!(first.report.status, TestStatus::Failed | TestStatus::Error);
    let was_used = |instance: &&LiveInstance| instance.acquired.uses > 0;
    if !failed || shared.cancel.is_cancelled() || !first.instances.iter().any(|one| was_used(&one))
    {
        return first;
    }
    shared.events.warn(format!(
        "`{}` failed on instances that other tests had used; it runs once more on fresh ones",
        test.name
    ));
    // An instance that ended under the test was stopped or killed: that says nothing of who used it before.
    let mut staying = first.instances.iter().filter(|instance| !instance.is_job());
    let ended = staying.find(|instance| !instance.is_up());
    let ended = ended.map(|instance| instance.definition.name.clone());
    // Two instances cannot have one port: what fixes one is stopped before its successor starts.
    let (fixed, others) = std::mem::take(&mut first.instances)
        .into_iter()
        .partition(|one: &LiveInstance| !one.definition.ports_of_this_machine().is_empty());
    first.instances = others;
    dismiss(shared, index, fixed, &Treatment::Clean).await;
    let second = test_run::run_test(shared, index, test, true).await;
    let (of_first, of_second) = (first.report.status, second.report.status);
    let verdict = over_two_attempts(of_first, ended.is_some(), of_second);
    let duration = first.report.duration + second.report.duration;
    let treatment = match verdict {
        AttemptsVerdict::Contaminated => {
            for instance in first.instances.iter().filter(was_used) {
                let suspects = suspects(shared, instance).await;
                first.report.suspects.extend(suspects);
            }
            Treatment::Quarantine(format!("`{}` failed on it alone", test.name))
        }
        // Cleaned like after any test.
        _ => Treatment::Clean,
    };
    dismiss(shared, index, first.instances, &treatment).await;
    let note = match verdict {
        AttemptsVerdict::Confirmed => None,
        AttemptsVerdict::NotMadeAgain => Some(SecondAttempt::NotMade {
            why: second.report.reason.clone().map(Box::new),
        }),
        AttemptsVerdict::InstanceEnded => {
            ended.map(|service| SecondAttempt::PassedAfterAnEnd { service })
        }
        AttemptsVerdict::Contaminated => Some(SecondAttempt::Passed),
    };
    let (mut report, reported) = match note {
        None => (second.report, 1),
        Some(_) => (first.report, 0),
    };
    report.status = verdict.status(of_first, of_second);
    report.duration = duration;
    if let Some(cause) = &mut report.reason {
        cause.second_attempt = note;
    }
    FinishedTest {
        report,
        instances: second.instances,
        waited: first.waited + second.waited,
        attempts: [first.attempts, second.attempts].concat(),
        reported,
    }
}

/// Gives back what the first attempt had; the second attempt's are given back by the caller.
async fn dismiss(
    shared: &Arc<RunState>,
    index: usize,
    instances: Vec<LiveInstance>,
    treatment: &Treatment,
) {
    // Dependents before what they depend on.
    for instance in instances.into_iter().rev() {
        if !instance.definition.pool.is_wanted() {
            shared.sampler.remove(&instance.id).await;
            shared.stop_live(&instance).await;
            continue;
        }
        let treatment = match instance.acquired.uses {
            0 => Treatment::Clean,
            _ => treatment.clone(),
        };
        shared.return_instance(index, instance, treatment);
    }
}

/// The tests that held an instance before this one, newest first.
async fn suspects(shared: &RunState, instance: &LiveInstance) -> Vec<Suspect> {
    let id = instance.id.clone();
    let history = shared
        .project
        .store
        .call(move |store| store.lease_history(&id, SUSPECTS + 1))
        .await;
    let history = history.unwrap_or_else(|error| {
        shared.warn(&error);
        Vec::new()
    });
    let own = instance.acquired.lease;
    let others = history.into_iter().filter(|past| Some(past.id) != own);
    others
        .map(|past| Suspect {
            test: past.test,
            run_id: past.run.map(|run| run.to_string()),
            service: instance.definition.name.clone(),
            instance_id: instance.id.0.clone(),
            leased_at: past.acquired_at,
        })
        .collect()
}

//! Keeps what a run comes to in the history, off the tests' own time.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

use super::event::Events;
use super::finished_test::FinishedTest;
use super::result::{StepReport, TestReport, TestStatus};
use crate::clock::Timestamp;
use crate::config::definition::TestDefinition;
use crate::store::{RunId, RunVerdict, StoreError, StoreHandle, TestResult};

/// Records the results of one run.
#[derive(Debug)]
pub(super) struct Recorder {
    store: StoreHandle,
    run: RunId,
    recorded: Mutex<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    writing: JoinSet<Result<(), StoreError>>,
    /// Of the tests so far.
    verdict: RunVerdict,
}

impl Recorder {
    pub(super) fn of(store: StoreHandle, run: RunId) -> Self {
        Self {
            store,
            run,
            recorded: Mutex::new(Recorded {
                writing: JoinSet::new(),
                verdict: RunVerdict::Passed,
            }),
        }
    }

    /// Records a test that has ended; nobody waits for it before the end of the run.
    pub(super) fn test(
        &self,
        number: usize,
        test: &TestDefinition,
        finished: &FinishedTest,
        now: Timestamp,
    ) {
        let result = result_of(number, test, finished, now);
        let (store, run) = (self.store.clone(), self.run);
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.verdict = recorded.verdict.max(match finished.report.status {
            TestStatus::Passed | TestStatus::Skipped => RunVerdict::Passed,
            TestStatus::Error => RunVerdict::Error,
            TestStatus::Failed | TestStatus::Contaminated => RunVerdict::Failed,
        });
        recorded.writing.spawn(async move {
            store
                .call(move |store| store.record_test_result(run, &result))
                .await
        });
    }

    /// Records what was told of the run as a whole, once every test is recorded.
    pub(super) async fn run(
        &self,
        events: &Events,
        is_interrupted: bool,
    ) -> Result<(), StoreError> {
        let (writing, verdict) = {
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut recorded.writing), recorded.verdict)
        };
        for written in writing.join_all().await {
            written?;
        }
        let verdict = match is_interrupted {
            true => RunVerdict::Interrupted,
            false => verdict,
        };
        let (run, told) = (self.run, events.of_the_run());
        self.store
            .call(move |store| store.record_run_result(run, verdict, &told))
            .await
    }
}

fn result_of(
    number: usize,
    test: &TestDefinition,
    finished: &FinishedTest,
    finished_at: Timestamp,
) -> TestResult<TestReport, StepReport> {
    let services = test.services.iter();
    TestResult {
        number: u32::try_from(number).unwrap_or(u32::MAX),
        test: test.id.clone(),
        file_digest: test.digest.clone(),
        service_digests: services
            .map(|service| (service.name.clone(), service.digest()))
            .collect(),
        waited: finished.waited,
        finished_at,
        report: TestReport {
            steps: Vec::new(),
            ..finished.report.clone()
        },
        attempts: finished.attempts.clone(),
        reported: finished.reported,
    }
}

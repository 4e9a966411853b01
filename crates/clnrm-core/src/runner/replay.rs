//! A run's report, put together from its events or from its record.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{EventKind, RunEvent};
use super::result::{RunReport, RunSummary, StepReport, TestReport};
use crate::clock::Timestamp;
use crate::store::{RunId, RunResults, Store, StoreError};

/// What the events of a run, from its first to its last, came to.
pub fn report_of<'a>(events: impl IntoIterator<Item = &'a RunEvent>) -> RunReport {
    let mut report = RunReport::without_run(Vec::new(), Timestamp::default());
    let mut tests: BTreeMap<usize, TestReport> = BTreeMap::new();
    let mut returned = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::RunStarted { run_id, .. } => {
                report.run_id = Some(run_id.clone());
                report.started_at = event.at - event.elapsed;
            }
            EventKind::TestFinished { test, report } => {
                tests.insert(*test, report.clone());
            }
            EventKind::InstanceReturned {
                test,
                instance_id,
                afterwards,
            } => returned.push((test, instance_id, afterwards)),
            EventKind::Interrupted { signal } => {
                report.interrupted_by.get_or_insert(signal.clone());
            }
            EventKind::RunFinished {
                kept,
                kept_earlier,
                leaks,
            } => {
                report.duration = event.elapsed;
                report.kept.clone_from(kept);
                report.kept_earlier.clone_from(kept_earlier);
                report.leaks = leaks.clone();
            }
            _ => {}
        }
    }
    // An instance may be back before its test has ended in every other way.
    for (test, instance_id, afterwards) in returned {
        let services = tests.get_mut(test).map(|test| test.services.iter_mut());
        let used = services.and_then(|mut used| used.find(|used| used.instance_id == *instance_id));
        if let Some(used) = used {
            used.afterwards = Some(afterwards.clone());
        }
    }
    report.tests = tests.into_values().collect();
    report.summary = RunSummary::of(&report.tests);
    report
}

/// The report of a recorded run, as it was when the run ended; `None` = no such run. Of one that was killed it holds the
/// tests that had ended.
pub fn recorded_report(store: &Store, run: RunId) -> Result<Option<RunReport>, StoreError> {
    let results: Option<RunResults<RunEvent, TestReport, StepReport>> = store.run_results(run)?;
    Ok(results.map(|results| {
        let tests = results
            .tests
            .into_iter()
            .map(|(test, report, steps)| RunEvent {
                at: Timestamp::default(),
                elapsed: Duration::ZERO,
                kind: EventKind::TestFinished {
                    test: test as usize,
                    report: TestReport { steps, ..report },
                },
            });
        let events: Vec<RunEvent> = results.events.into_iter().chain(tests).collect();
        report_of(&events)
    }))
}

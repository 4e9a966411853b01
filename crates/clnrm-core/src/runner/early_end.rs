//! Services that end while their test runs.

use std::time::Duration;

use tokio::time::timeout;

use super::result::ServiceFailure;
use crate::backend::{TreeState, log_file};
use crate::lifecycle::LiveInstance;
use crate::lifecycle::start::LOG_TAIL_LINES;

/// An end that has come is heard of within milliseconds, and what was behind it within a second.
const NEWS_PATIENCE: Duration = Duration::from_secs(2);

/// Waits for an end that must not be, and says what happened; `None` = nobody will ever tell.
pub(super) async fn unwanted_end(instance: &LiveInstance) -> Option<ServiceFailure> {
    let mut watched = instance.running.state.clone();
    let may_exit = instance.definition.may_exit();
    let unwanted = |state: &TreeState| match state {
        TreeState::Running | TreeState::MainLeft => false,
        TreeState::Ended(_) | TreeState::Failed(_) => !may_exit,
        TreeState::Lost(_) => true,
    };
    let state = watched.wait_for(unwanted).await;
    let state = state.map(|state| *state).ok()?;
    let (message, hint) = told(state, instance.dir.exists())?;
    // What it wrote last is what matters; the shim ends once everything is in the log.
    let settled = |state: &TreeState| matches!(state, TreeState::Ended(_) | TreeState::Lost(_));
    let patience = instance.definition.stop.grace + NEWS_PATIENCE;
    let _ = timeout(patience, watched.wait_for(settled)).await;
    let place = instance.place();
    let fetched = instance.backend.fetch_log(&place, LOG_TAIL_LINES);
    // An engine that is gone has no more to tell.
    let log = fetched
        .await
        .map_or_else(|_| instance.running.log.clone(), |fetched| fetched.path);
    Some(ServiceFailure {
        service: instance.definition.name.clone(),
        instance_id: Some(instance.id.0.clone()),
        message,
        hint,
        log_tail: log_file::tail(&log, LOG_TAIL_LINES).unwrap_or_default(),
        // Where it stays when the instance is ended.
        log_file: Some(instance.running.log.clone()),
    })
}

/// What an end means, and the way out; `None` = it is none.
fn told(state: TreeState, has_folder: bool) -> Option<(String, Option<String>)> {
    let mut hint = None;
    let message = match state {
        TreeState::Running | TreeState::MainLeft => return None,
        TreeState::Lost(loss) => format!("{loss} while the test ran"),
        // Its supervisor ends it then.
        _ if !has_folder => "its folder was deleted while the test ran".to_owned(),
        TreeState::Failed(status) => format!("it ended with {status} while the test ran"),
        TreeState::Ended(record) if record.requested => {
            "it was stopped while the test ran".to_owned()
        }
        TreeState::Ended(record) => {
            hint = record.status.is_success().then(|| END_HINT.to_owned());
            format!("it ended with {} while the test ran", record.status)
        }
    };
    Some((message, hint))
}

const END_HINT: &str = "`job = true` is for a service that does its work before the steps and ends; `may_exit = true` lets one end while they run";

/// Waits for the news of an end that has come already: what a last step has ended must not count as alive because its
/// supervisor has not said so yet, and an engine that restarts is asked once it is back.
pub(super) async fn hear_of_an_end(instance: &LiveInstance) {
    if !instance.is_up() {
        return;
    }
    let (place, is_own) = (instance.place(), !instance.acquired.warm);
    let has_gone = instance.backend.has_gone(&place, &instance.running, is_own);
    if has_gone.await {
        let mut state = instance.running.state.clone();
        let ended = |state: &TreeState| !matches!(state, TreeState::Running | TreeState::MainLeft);
        let _ = timeout(NEWS_PATIENCE, state.wait_for(ended)).await;
    }
}

/// How an instance ended by itself, as reports say it; `None` = it did not.
pub(super) fn how_it_ended(instance: &LiveInstance) -> Option<String> {
    match *instance.running.state.borrow() {
        TreeState::Ended(record) if !record.requested => Some(record.status.to_string()),
        TreeState::Failed(status) => Some(status.to_string()),
        TreeState::Ended(_) | TreeState::Running | TreeState::MainLeft | TreeState::Lost(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{ExitRecord, ExitStatus};

    #[test]
    fn an_end_that_the_deletion_of_its_folder_brought_is_told_as_that() {
        let record = |status, requested| {
            TreeState::Ended(ExitRecord {
                status,
                requested,
                killed: false,
                at_ms: 0,
                log_bytes_lost: 0,
            })
        };
        let by_signal = ExitStatus::Signal(15);
        for state in [TreeState::Failed(by_signal), record(by_signal, true)] {
            let (message, _) = told(state, false).unwrap();
            assert_eq!(message, "its folder was deleted while the test ran");
        }
        let (message, hint) = told(TreeState::Failed(by_signal), true).unwrap();
        assert!(
            message.starts_with("it ended with signal 15") && hint.is_none(),
            "{message}"
        );
        let (message, hint) = told(record(ExitStatus::Code(0), false), true).unwrap();
        assert!(
            message.starts_with("it ended with exit code 0") && hint.is_some(),
            "{message}"
        );
        assert_eq!(told(TreeState::Running, true), None);
    }
}

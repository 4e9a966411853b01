//! Waits until a job has done its work: until its process has ended with exit code 0.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::exit::ExitStatus;
use super::instance::{Loss, TreeState};

/// What a job has left running gets to end by itself.
const LEFTOVER_PATIENCE: Duration = Duration::from_millis(500);

/// Why a job is not done.
#[derive(Debug, Error)]
pub enum JobError {
    /// It failed.
    #[error("the job ended with {0}")]
    Failed(ExitStatus),
    /// Somebody stopped it.
    #[error("the job was stopped before it was done")]
    Stopped,
    /// It takes too long.
    #[error("the job was not done after {}, and was ended", humantime::format_duration(*.after))]
    TimedOut { after: Duration },
    /// Nobody knows how it ended.
    #[error("{0} before the job was done")]
    Lost(Loss),
    /// The caller wants it no more.
    #[error("the job was not done yet")]
    Cancelled,
}

/// Waits for the end of a job. What it has left in the background may still run when this returns.
pub async fn wait_until_done(
    mut state: watch::Receiver<TreeState>,
    limit: Duration,
    cancel: &CancellationToken,
) -> Result<(), JobError> {
    let ended = async {
        let left = |state: &TreeState| *state != TreeState::Running;
        let first = state.wait_for(left).await.map(|state| *state);
        // The end of the whole tree follows at once, unless something goes on in the background.
        let settled = |state: &TreeState| matches!(state, TreeState::Ended(_) | TreeState::Lost(_));
        let last = timeout(LEFTOVER_PATIENCE, state.wait_for(settled)).await;
        let last = last.ok().and_then(Result::ok).map(|state| *state);
        last.or(first.ok())
    };
    let ended = tokio::select! {
        biased;
        ended = timeout(limit, ended) => ended,
        () = cancel.cancelled() => return Err(JobError::Cancelled),
    };
    match ended {
        Err(_elapsed) => Err(JobError::TimedOut { after: limit }),
        Ok(state) => outcome(state),
    }
}

fn outcome(state: Option<TreeState>) -> Result<(), JobError> {
    match state {
        Some(TreeState::Ended(record)) if record.status.is_success() && !record.requested => Ok(()),
        Some(TreeState::Ended(record)) if record.requested => Err(JobError::Stopped),
        Some(TreeState::Ended(record)) => Err(JobError::Failed(record.status)),
        Some(TreeState::MainLeft) => Ok(()),
        Some(TreeState::Failed(status)) => Err(JobError::Failed(status)),
        Some(TreeState::Lost(loss)) => Err(JobError::Lost(loss)),
        // Whoever watches it is gone without a word.
        Some(TreeState::Running) | None => Err(JobError::Lost(Loss::SupervisorKilled)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::exit::ExitRecord;

    fn ended(status: ExitStatus, requested: bool) -> TreeState {
        TreeState::Ended(ExitRecord {
            status,
            requested,
            killed: false,
            at_ms: 0,
            log_bytes_lost: 0,
        })
    }

    async fn wait(states: Vec<TreeState>) -> Result<(), JobError> {
        let (sender, state) = watch::channel(TreeState::Running);
        tokio::spawn(async move {
            for state in states {
                sender.send_replace(state);
                tokio::task::yield_now().await;
            }
            sender.closed().await;
        });
        let limit = Duration::from_secs(30);
        wait_until_done(state, limit, &CancellationToken::new()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_done_when_it_ends_with_0_and_in_no_other_case() {
        let success = ended(ExitStatus::Code(0), false);
        assert!(wait(vec![success]).await.is_ok());
        assert!(wait(vec![TreeState::MainLeft, success]).await.is_ok());
        // What it left in the background is not waited for.
        assert!(wait(vec![TreeState::MainLeft]).await.is_ok());

        let failed = ExitStatus::Code(3);
        let failure = wait(vec![TreeState::Failed(failed), ended(failed, false)]).await;
        assert_eq!(
            failure.unwrap_err().to_string(),
            "the job ended with exit code 3"
        );
        let stopped = wait(vec![ended(ExitStatus::Code(0), true)]).await;
        assert!(matches!(stopped, Err(JobError::Stopped)));
        let lost = wait(vec![TreeState::Lost(Loss::SupervisorKilled)]).await;
        assert!(matches!(lost, Err(JobError::Lost(_))));
        let late = wait(Vec::new()).await.unwrap_err().to_string();
        assert_eq!(late, "the job was not done after 30s, and was ended");
    }

    #[tokio::test]
    async fn a_job_that_nobody_wants_any_more_is_not_waited_for() {
        let (_sender, state) = watch::channel(TreeState::Running);
        let cancel = CancellationToken::new();
        cancel.cancel();
        let waited = wait_until_done(state, Duration::from_secs(600), &cancel).await;
        assert!(matches!(waited, Err(JobError::Cancelled)));
    }
}

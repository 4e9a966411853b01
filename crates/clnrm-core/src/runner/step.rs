//! Runs one step: its attempts, its time, its verdict.

use tokio::time::{Instant, sleep};

use super::attempt::{Attempt, StepContext};
use super::cause::{EndedDuring, StepReason};
use super::event::EventKind;
use super::milliseconds::whole_micros;
use super::result::{StepReport, StepStatus};
use super::{command_step, http_step};
use crate::config::definition::{StepAction, StepDefinition};

/// How much of a failed step's output a report keeps.
const OUTPUT_TAIL_BYTES: usize = 8 * 1024;

/// Runs a step until an attempt is as expected or there is none left.
pub(super) async fn run(step: &StepDefinition, context: &StepContext<'_>) -> StepReport {
    let started = Instant::now();
    let mut attempts = 0;
    let mut earlier_failure = None;
    loop {
        attempts += 1;
        let attempt = match &step.action {
            StepAction::Command(command) => command_step::attempt(step, command, context).await,
            StepAction::Http(http) => {
                let attempt = http_step::attempt(http, context.bindings, step.timeout);
                let attempt = context.cancel.run_until_cancelled(attempt).await;
                attempt.unwrap_or_else(|| Attempt::failed(StepReason::Ended(EndedDuring::Request)))
            }
        };
        let retry_reason = attempt
            .reason
            .clone()
            .filter(|_| attempts < step.retry.max_attempts && !context.cancel.is_cancelled());
        let Some(reason) = retry_reason else {
            let passed = attempt.reason.is_none();
            return StepReport {
                earlier_failure: earlier_failure.filter(|_| passed),
                ..report(step, attempt, attempts, started)
            };
        };
        earlier_failure = Some(reason.clone());
        context.events.tell(EventKind::StepRetrying {
            test: context.test,
            step: step.name.clone(),
            attempt: attempts,
            max_attempts: step.retry.max_attempts,
            reason,
        });
        if context
            .cancel
            .run_until_cancelled(sleep(step.retry.delay))
            .await
            .is_none()
        {
            return report(
                step,
                Attempt::failed(StepReason::Ended(EndedDuring::Pause)),
                attempts,
                started,
            );
        }
    }
}

/// A step that was not run.
pub(super) fn skipped(step: &StepDefinition, reason: StepReason) -> StepReport {
    StepReport {
        name: step.name.clone(),
        status: StepStatus::Skipped,
        duration: std::time::Duration::ZERO,
        attempts: 0,
        earlier_failure: None,
        reason: Some(reason.into()),
        exit_code: None,
        http_status: None,
        output_tail: None,
    }
}

fn report(step: &StepDefinition, attempt: Attempt, attempts: u32, started: Instant) -> StepReport {
    let failed = attempt.reason.is_some();
    StepReport {
        name: step.name.clone(),
        status: if failed {
            StepStatus::Failed
        } else {
            StepStatus::Passed
        },
        duration: whole_micros(started.elapsed()),
        attempts,
        earlier_failure: None,
        reason: attempt.reason,
        exit_code: attempt.exit_code,
        http_status: attempt.http_status,
        output_tail: failed.then(|| end_of(&attempt.output)),
    }
}

fn end_of(output: &str) -> String {
    let from = output.len().saturating_sub(OUTPUT_TAIL_BYTES);
    let from = (from..=output.len())
        .find(|index| output.is_char_boundary(*index))
        .unwrap_or(0);
    output.get(from..).unwrap_or_default().to_owned()
}

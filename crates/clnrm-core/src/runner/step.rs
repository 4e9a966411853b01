//! Runs one step: its attempts, its time, its verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::cause::{EndedDuring, StepCause, StepReason};
use super::event::{EventKind, Events};
use super::milliseconds::whole_micros;
use super::result::{StepReport, StepStatus};
use super::{command_step, http_step};
use crate::config::definition::{StepAction, StepDefinition};
use crate::config::placeholder::Bindings;
use crate::lifecycle::{LiveInstance, Project};
use crate::store::RunId;

/// How much of a failed step's output a report keeps.
const OUTPUT_TAIL_BYTES: usize = 8 * 1024;

/// What the steps of one test share.
pub(super) struct StepContext<'a> {
    /// Runs commands.
    pub(super) project: &'a Project,
    /// The instances of the test.
    pub(super) services: &'a [LiveInstance],
    /// Values of placeholders.
    pub(super) bindings: &'a Bindings,
    /// The environment that commands inherit, with what the test adds.
    pub(super) env: &'a BTreeMap<String, String>,
    /// Environments of the services, rendered, for steps that run in a service's place.
    pub(super) service_env: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// The folder of the test file.
    pub(super) base_dir: PathBuf,
    /// Tells that another attempt follows.
    pub(super) events: &'a Events,
    /// Ends the step that runs and skips the others.
    pub(super) cancel: &'a CancellationToken,
    /// The run, for ids.
    pub(super) run: RunId,
    /// The test's index, for events.
    pub(super) test: usize,
    /// Its name.
    pub(super) test_name: &'a str,
}

/// One attempt of a step.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Why it failed; `None` = as expected.
    pub(super) reason: Option<StepCause>,
    /// Exit code of a command.
    pub(super) exit_code: Option<i32>,
    /// Status of an answer.
    pub(super) http_status: Option<u16>,
    /// Output or body.
    pub(super) output: String,
}

impl Attempt {
    pub(super) fn failed(reason: StepReason) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }
}

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

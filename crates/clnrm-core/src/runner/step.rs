//! Runs one step: its attempts, its time, its verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::event::{RunEvent, StepReport, StepStatus};
use super::expectations::{Observed, first_violation};
use super::http_step;
use crate::config::definition::{CommandStep, Expectations, StepAction, StepDefinition};
use crate::config::placeholder::{Bindings, PlaceholderError, render};
use crate::control::{one_line, render_command};
use crate::runtime::shim_protocol::ExitStatus;
use crate::runtime::{CommandOutcome, CommandRequest, CommandResult, ProcessRuntime};
use crate::store::RunId;

/// How much of a failed step's output a report keeps.
const OUTPUT_TAIL_BYTES: usize = 8 * 1024;

/// What the steps of one test share.
pub(super) struct StepContext<'a> {
    /// Runs commands.
    pub(super) runtime: &'a ProcessRuntime,
    /// Values of placeholders.
    pub(super) bindings: &'a Bindings,
    /// The environment that commands inherit, with what the test adds.
    pub(super) env: &'a BTreeMap<String, String>,
    /// Environments of the services, rendered, for steps that run in a service's place.
    pub(super) service_env: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// The folder of the test file.
    pub(super) base_dir: PathBuf,
    /// Tells that another attempt follows.
    pub(super) notify: &'a (dyn Fn(RunEvent) + Send + Sync),
    /// Ends the step that runs and skips the others.
    pub(super) cancel: &'a CancellationToken,
    /// The run, for ids.
    pub(super) run: RunId,
    /// The test's index, for events.
    pub(super) test: usize,
}

/// One attempt of a step.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Why it failed; `None` = as expected.
    pub(super) reason: Option<String>,
    /// Exit code of a command.
    pub(super) exit_code: Option<i32>,
    /// Status of an answer.
    pub(super) http_status: Option<u16>,
    /// Output or body.
    pub(super) output: String,
}

impl Attempt {
    pub(super) fn failed(reason: String) -> Self {
        Self {
            reason: Some(reason),
            ..Self::default()
        }
    }
}

/// Runs a step until an attempt is as expected or there is none left.
pub(super) async fn run(step: &StepDefinition, context: &StepContext<'_>) -> StepReport {
    let started = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let attempt = match &step.action {
            StepAction::Command(command) => command_attempt(step, command, context).await,
            StepAction::Http(http) => {
                let attempt = http_step::attempt(http, context.bindings, step.timeout);
                let attempt = context.cancel.run_until_cancelled(attempt).await;
                attempt.unwrap_or_else(|| {
                    Attempt::failed("ended before there was an answer".to_owned())
                })
            }
        };
        let retry_reason = attempt
            .reason
            .clone()
            .filter(|_| attempts < step.retry.max_attempts && !context.cancel.is_cancelled());
        let Some(reason) = retry_reason else {
            return report(step, attempt, attempts, started);
        };
        (context.notify)(RunEvent::StepRetrying {
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
                Attempt::failed("ended between two attempts".to_owned()),
                attempts,
                started,
            );
        }
    }
}

/// A step that was not run.
pub(super) fn skipped(step: &StepDefinition, reason: String) -> StepReport {
    StepReport {
        name: step.name.clone(),
        status: StepStatus::Skipped,
        duration: std::time::Duration::ZERO,
        attempts: 0,
        reason: Some(reason),
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
        duration: started.elapsed(),
        attempts,
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

async fn command_attempt(
    step: &StepDefinition,
    command: &CommandStep,
    context: &StepContext<'_>,
) -> Attempt {
    let request = match prepare(step, command, context) {
        Ok(request) => request,
        Err(error) => return Attempt::failed(error.to_string()),
    };
    if !request.working_dir.is_dir() {
        return Attempt::failed(format!(
            "the working directory {} does not exist",
            request.working_dir.display()
        ));
    }
    match context.runtime.run_command(&request, context.cancel).await {
        Ok(result) => judge(step, command, &result, &request, context.bindings),
        Err(error) => Attempt::failed(one_line(&error)),
    }
}

fn prepare(
    step: &StepDefinition,
    command: &CommandStep,
    context: &StepContext<'_>,
) -> Result<CommandRequest, PlaceholderError> {
    let bindings = context.bindings;
    let own_dir = command
        .service
        .as_ref()
        .and_then(|service| bindings.services.get(service));
    let mut env = context.env.clone();
    if let Some(service_env) = command
        .service
        .as_ref()
        .and_then(|service| context.service_env.get(service))
    {
        env.extend(service_env.clone());
    }
    for (name, value) in &command.env {
        env.insert(name.clone(), render(value, bindings)?);
    }
    let working_dir = command
        .working_dir
        .clone()
        .or_else(|| own_dir.map(|binding| binding.data_dir.clone()))
        .unwrap_or_else(|| context.base_dir.clone());
    Ok(CommandRequest {
        id: format!("step-{}-{}-{}", context.run, context.test, step.name),
        argv: render_command(&command.command, bindings)?,
        env,
        working_dir,
        timeout: step.timeout,
    })
}

/// Expected text may name a service's port; anything that is not a placeholder of this test is meant literally.
pub(super) fn rendered(expected: &Expectations, bindings: &Bindings) -> Expectations {
    let fill_in = |text: &String| render(text, bindings).unwrap_or_else(|_| text.clone());
    Expectations {
        contains: expected.contains.as_ref().map(fill_in),
        ..expected.clone()
    }
}

fn judge(
    step: &StepDefinition,
    command: &CommandStep,
    result: &CommandResult,
    request: &CommandRequest,
    bindings: &Bindings,
) -> Attempt {
    let text = String::from_utf8_lossy(&result.output);
    let observed = Observed {
        text: &text,
        dropped: result.output_dropped,
        what: "output",
    };
    let program = request.argv.first().map_or("", String::as_str);
    let (exit_code, reason) = match &result.outcome {
        CommandOutcome::Exited(ExitStatus::Code(code)) if *code == command.exit_code => (
            Some(*code),
            first_violation(&rendered(&command.output, bindings), observed),
        ),
        CommandOutcome::Exited(ExitStatus::Code(code)) => (
            Some(*code),
            Some(format!("exit code {code}, expected {}", command.exit_code)),
        ),
        CommandOutcome::Exited(status) => (None, Some(format!("ended by {status}"))),
        CommandOutcome::Cancelled => (None, Some("ended before it was done".to_owned())),
        CommandOutcome::TimedOut => (
            None,
            Some(format!(
                "still running after {}, so it was ended",
                humantime::format_duration(step.timeout)
            )),
        ),
        CommandOutcome::NotStarted {
            not_found: true, ..
        } => (
            None,
            Some(format!("the command `{program}` does not exist")),
        ),
        CommandOutcome::NotStarted { message, .. } => (
            None,
            Some(format!(
                "the command `{program}` cannot be executed: {message}"
            )),
        ),
    };
    Attempt {
        reason,
        exit_code,
        http_status: None,
        output: text.into_owned(),
    }
}

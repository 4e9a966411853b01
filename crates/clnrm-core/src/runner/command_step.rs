//! A step that is a command: on this machine, or inside the container of its service.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::attempt::{Attempt, StepContext};
use super::cause::{EndedDuring, StepReason, TextOf};
use super::expectations::{Observed, first_violation, rendered};
use crate::backend::process::run_command;
use crate::backend::{
    BackendError, CommandOutcome, CommandRequest, CommandResult, ExitStatus, TreeState, environment,
};
use crate::config::definition::{CommandStep, Expectations, ExpectedEnd, StepDefinition};
use crate::config::placeholder::{Bindings, HOST, PlaceholderError, render, render_command};
use crate::config::step_variables;
use crate::lifecycle::LiveInstance;
use crate::store::RunId;
use crate::text::one_line;

/// What an engine makes of SIGKILL.
const KILLED_CODE: i32 = 137;
/// How long the news of a container's end may take.
const NEWS_PATIENCE: Duration = Duration::from_millis(500);
/// The watch over an instance hears of its end within milliseconds, and then reads its log.
const WATCH_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the command once.
pub(super) async fn attempt(
    step: &StepDefinition,
    command: &CommandStep,
    context: &StepContext<'_>,
) -> Attempt {
    let container = container_of(command, context);
    let request = match container {
        Some(instance) => inside(step, command, instance, context),
        None => here(step, command, context),
    };
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            return Attempt::failed(StepReason::Other {
                message: error.to_string(),
            });
        }
    };
    let result = match container {
        Some(instance) => {
            let backend = &instance.backend;
            backend
                .run_in(&instance.place(), &request, context.cancel)
                .await
        }
        None => {
            if let Some(missing) = (request.working_dir.as_ref()).filter(|path| !path.is_dir()) {
                return Attempt::failed(StepReason::NoWorkingDirectory {
                    path: missing.clone(),
                });
            }
            run_command(&context.project.clnrm, &request, context.cancel).await
        }
    };
    if let Some(instance) = container
        && may_be_the_containers_end(&result)
        && let Some(how) = end_of(instance, context).await
    {
        return Attempt::failed(how);
    }
    match result {
        Ok(result) => judge(step, command, &result, &request, context),
        Err(error) => Attempt::failed(StepReason::Other {
            message: one_line(&error),
        }),
    }
}

/// What a command does when its container ends under it: the engine says 137, or no longer knows the container.
fn may_be_the_containers_end(result: &Result<CommandResult, BackendError>) -> bool {
    match result {
        Err(_) => true,
        Ok(result) => matches!(
            result.outcome,
            CommandOutcome::Exited(ExitStatus::Code(KILLED_CODE))
        ),
    }
}

/// How the instance ended; `None` = it lives.
async fn end_of(instance: &LiveInstance, context: &StepContext<'_>) -> Option<StepReason> {
    let mut state = instance.running.state.clone();
    let ended = state.wait_for(|state| matches!(state, TreeState::Ended(_) | TreeState::Lost(_)));
    // The engine ends what runs inside before it tells that the container has ended.
    let how = match *timeout(NEWS_PATIENCE, ended).await.ok()?.ok()? {
        TreeState::Ended(record) => format!("ended with {}", record.status),
        TreeState::Lost(loss) => format!("was lost: {loss}"),
        TreeState::Running | TreeState::MainLeft | TreeState::Failed(_) => return None,
    };
    // Whoever watches the instance ends the test for a failure; a container that left with 0 is nobody's failure.
    let _ = timeout(WATCH_PATIENCE, context.cancel.cancelled()).await;
    Some(StepReason::ContainerEnded {
        service: instance.definition.name.clone(),
        how,
    })
}

/// The instance of the step's service, where that is a container.
fn container_of<'a>(command: &CommandStep, context: &StepContext<'a>) -> Option<&'a LiveInstance> {
    let name = command.service.as_ref()?;
    let instance = (context.services.iter()).find(|instance| instance.definition.name == *name)?;
    instance.backend.has_inside().then_some(instance)
}

/// What every command step is told of its test: its name, its run, and where its services are.
pub(super) fn test_variables(
    test: &str,
    run: RunId,
    bindings: &Bindings,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("CLNRM_TEST_NAME".to_owned(), test.to_owned()),
        ("CLNRM_RUN_ID".to_owned(), run.to_string()),
    ]);
    for (service, binding) in &bindings.services {
        if let Some(port) = binding.port {
            variables.extend(step_variables::of_service(service, &binding.host, port));
        }
    }
    variables
}

fn id(step: &StepDefinition, context: &StepContext<'_>) -> String {
    format!("step-{}-{}-{}", context.run, context.test, step.name)
}

/// It inherits what the container has, and sees the other containers by their names.
fn inside(
    step: &StepDefinition,
    command: &CommandStep,
    instance: &LiveInstance,
    context: &StepContext<'_>,
) -> Result<CommandRequest, PlaceholderError> {
    let bindings = context
        .bindings
        .seen_from_container(&instance.definition.name, HOST);
    let mut env = test_variables(context.test_name, context.run, &bindings);
    env.extend(environment::passed_on(
        &context.project.environment,
        &command.env_of_caller,
    ));
    for (name, value) in &command.env {
        env.insert(name.clone(), render(value, &bindings)?);
    }
    Ok(CommandRequest {
        id: id(step, context),
        argv: render_command(&command.command, &bindings)?,
        env,
        working_dir: command.working_dir.clone(),
        timeout: step.timeout,
    })
}

fn here(
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
    env.extend(environment::passed_on(
        &context.project.environment,
        &command.env_of_caller,
    ));
    for (name, value) in &command.env {
        env.insert(name.clone(), render(value, bindings)?);
    }
    let stated = command.working_dir.as_ref();
    let working_dir = stated
        .map(|path| context.base_dir.join(path))
        .or_else(|| own_dir.map(|binding| binding.data_dir.clone()))
        .unwrap_or_else(|| context.base_dir.clone());
    Ok(CommandRequest {
        id: id(step, context),
        argv: render_command(&command.command, bindings)?,
        env,
        working_dir: Some(working_dir),
        timeout: step.timeout,
    })
}

/// With the values that the command itself was given.
fn expected_output(command: &CommandStep, context: &StepContext<'_>) -> Expectations {
    match container_of(command, context) {
        Some(instance) => {
            let name = &instance.definition.name;
            let inside = context.bindings.seen_from_container(name, HOST);
            rendered(&command.output, &inside)
        }
        None => rendered(&command.output, context.bindings),
    }
}

/// What is wrong with how a command ended; `None` = it was expected.
fn unexpected_end(ended: ExitStatus, expected: ExpectedEnd) -> Option<StepReason> {
    let is_expected = ended.shell_code() == expected.shell_code();
    (!is_expected).then_some(StepReason::WrongEnd { ended, expected })
}

fn judge(
    step: &StepDefinition,
    command: &CommandStep,
    result: &CommandResult,
    request: &CommandRequest,
    context: &StepContext<'_>,
) -> Attempt {
    let text = String::from_utf8_lossy(&result.output);
    let observed = Observed {
        text: &text,
        dropped: result.output_dropped,
        of: TextOf::Output,
    };
    let program = request.argv.first().cloned().unwrap_or_default();
    let container = container_of(command, context).and(command.service.clone());
    let (exit_code, reason) = match &result.outcome {
        CommandOutcome::Exited(status) => (
            match status {
                ExitStatus::Code(code) => Some(*code),
                ExitStatus::Signal(_) | ExitStatus::OutOfMemory => None,
            },
            unexpected_end(*status, command.end)
                .or_else(|| first_violation(&expected_output(command, context), observed)),
        ),
        CommandOutcome::Cancelled => (None, Some(StepReason::Ended(EndedDuring::Command))),
        CommandOutcome::TimedOut => (
            None,
            Some(StepReason::TimedOut {
                limit: step.timeout,
            }),
        ),
        CommandOutcome::NotStarted {
            not_found: true, ..
        } => (None, Some(StepReason::NoSuchCommand { program, container })),
        CommandOutcome::NotStarted { message, .. } => (
            None,
            Some(StepReason::NotExecutable {
                program,
                message: message.clone(),
            }),
        ),
    };
    Attempt {
        reason: reason.map(Into::into),
        exit_code,
        http_status: None,
        output: text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_and_what_a_shell_makes_of_it_are_the_same() {
        let kill = ExpectedEnd::Signal(9);
        for status in [
            ExitStatus::Signal(9),
            ExitStatus::Code(137),
            ExitStatus::OutOfMemory,
        ] {
            assert_eq!(unexpected_end(status, kill), None, "{status}");
            assert_eq!(unexpected_end(status, ExpectedEnd::Code(137)), None);
        }
        for (ended, expected) in [
            (ExitStatus::Signal(15), kill),
            (ExitStatus::Code(9), kill),
            (ExitStatus::Signal(9), ExpectedEnd::Code(0)),
            (ExitStatus::Signal(9), ExpectedEnd::Code(9)),
        ] {
            let wrong = StepReason::WrongEnd { ended, expected };
            assert_eq!(unexpected_end(ended, expected), Some(wrong));
        }
    }
}

//! Resets and verifications that the test file states.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::shim_protocol::ExitStatus;
use crate::backend::{CommandOutcome, CommandRequest};
use crate::config::definition::CommandLine;
use crate::config::placeholder::{PlaceholderError, render_command};
use crate::lifecycle::project::Project;
use crate::lifecycle::start::{HOST, LiveInstance};
use crate::store::RuntimeKind;
use crate::text::one_line;

/// Ends what hangs a little before its caller gives up, so that nothing of it is left.
const TIMEOUT: Duration = Duration::from_secs(28);

impl Project {
    /// Runs a command in the instance's place; its output, if it exits with 0.
    pub(super) async fn clean_by_command(
        &self,
        instance: &LiveInstance,
        step: &'static str,
        command: &CommandLine,
    ) -> Result<String, String> {
        let request = self
            .cleaning_request(instance, step, command)
            .map_err(|error| error.to_string())?;
        let result = self
            .runtime(instance.kind())
            .run_in(&instance.place(), &request, &CancellationToken::new())
            .await
            .map_err(|error| one_line(&error))?;
        let output = String::from_utf8_lossy(&result.output).into_owned();
        let problem = match result.outcome {
            CommandOutcome::Exited(ExitStatus::Code(0)) => return Ok(output),
            CommandOutcome::Exited(status) => status.to_string(),
            CommandOutcome::TimedOut => "it was still running and was ended".to_owned(),
            CommandOutcome::Cancelled => "it was ended".to_owned(),
            CommandOutcome::NotStarted { message, .. } => message,
        };
        Err(match output.trim().lines().last() {
            Some(line) => format!("{problem} ({line})"),
            None => problem,
        })
    }

    fn cleaning_request(
        &self,
        instance: &LiveInstance,
        step: &'static str,
        command: &CommandLine,
    ) -> Result<CommandRequest, PlaceholderError> {
        let definition = &instance.definition;
        let id = format!("{step}-{}", instance.id);
        let bindings = self.own_bindings(&definition.name, &instance.binding);
        if instance.kind() == RuntimeKind::Container {
            let inside = bindings.seen_from_container(&definition.name, HOST);
            return Ok(CommandRequest {
                id,
                argv: render_command(command, &inside)?,
                env: std::collections::BTreeMap::new(),
                working_dir: None,
                timeout: TIMEOUT,
            });
        }
        let mut env = self.inherited_environment();
        env.extend(instance.env.clone());
        let working_dir = definition.working_dir.as_ref();
        Ok(CommandRequest {
            id,
            argv: render_command(command, &bindings)?,
            env,
            working_dir: Some(working_dir.unwrap_or(&definition.base_dir).clone()),
            timeout: TIMEOUT,
        })
    }
}

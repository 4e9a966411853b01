//! Resets and verifications that the test file states.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::{CommandOutcome, ExitStatus};
use crate::config::definition::CommandLine;
use crate::lifecycle::command_place::CommandPlace;
use crate::lifecycle::live::LiveInstance;
use crate::lifecycle::project::Project;
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
        let definition = &instance.definition;
        let bindings = self.own_bindings(&definition.name, &instance.reached);
        let backend = &*instance.backend;
        let place = CommandPlace::of(self, backend, definition, &bindings, &instance.env);
        let request = place
            .request(format!("{step}-{}", instance.id), command, TIMEOUT)
            .map_err(|error| error.to_string())?;
        let result = backend
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
}

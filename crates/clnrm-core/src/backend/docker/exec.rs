//! Commands inside a container.
//!
//! Deliberately absent: a shell around them. Minimal images have none.

use bollard::models::ExecConfig;
use rustix::process::Signal;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::DockerBackend;
use super::engine::Connected;
use super::error::EngineError;
use super::exec_output::Kept;
use super::leftover::{Traces, belongs_to};
use crate::backend::command::{CommandOutcome, CommandRequest, CommandResult};
use crate::backend::exit::ExitStatus;
use crate::backend::instance::InstancePlace;
use crate::backend::signal;
use crate::procfs::ProcessTable;

impl DockerBackend {
    /// Ends what commands of a killed clnrm still run in a container.
    pub(super) async fn end_commands_of_killed(
        &self,
        place: &InstancePlace,
    ) -> Result<(), EngineError> {
        let Some(container) = self.of(place).await? else {
            return Ok(());
        };
        let connected = self.engine.connected().await?;
        let id = container.id.unwrap_or_default();
        for exec in container.exec_ids.unwrap_or_default() {
            end(connected, &exec, &id).await;
        }
        self.end_leftovers(Traces::of_any_command(&id)).await
    }

    /// Runs a command inside the container, to its end, to its time-out, or until `cancel`. What it leaves running ends
    /// with it.
    pub(super) async fn exec(
        &self,
        container: &str,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, EngineError> {
        let connected = self.engine.connected().await?;
        let failed = |error| {
            EngineError::from_client(error, "run a command in a container", &connected.address)
        };
        let mut kept = Kept::default();
        let mut id = None;
        let mut traces = Traces::of_new_command(container);
        let running = kept.run(
            connected,
            container,
            config(request, traces.variable()),
            &mut id,
        );
        let ran = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(CommandOutcome::Cancelled),
            ran = timeout(request.timeout, running) => match ran {
                Ok(ran) => Ok(ran.map_err(failed)?),
                Err(_elapsed) => Err(CommandOutcome::TimedOut),
            },
        };
        let outcome = match ran {
            Ok(ended) => {
                traces.began_as(ended.pid);
                outcome_of(ended.code, &kept)
            }
            Err(cut_short) => {
                // Without an id the engine did not even begin it in time.
                if let Some(exec) = id {
                    end(connected, &exec, container).await;
                }
                cut_short
            }
        };
        if let Err(error) = self.end_leftovers(traces).await {
            // The command itself is done; that nobody could look is what its instance is known by from now on.
            self.could_not_look(container, &error).await;
        }
        Ok(CommandResult {
            outcome,
            output: kept.output,
            output_dropped: kept.dropped,
        })
    }
}

/// `variable` is an entry of its environment, beside those that are asked for.
fn config(request: &CommandRequest, variable: &str) -> ExecConfig {
    let env = request.env.iter();
    let env = env.map(|(name, value)| format!("{name}={value}"));
    ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        env: Some(env.chain([variable.to_owned()]).collect()),
        cmd: Some(in_order(&request.argv)),
        working_dir: request
            .working_dir
            .as_ref()
            .map(|path| path.display().to_string()),
        ..ExecConfig::default()
    }
}

/// The command of a shell that writes both of its streams into one: the engine hands on two, and not in their order.
///
/// On the script's own first line, so that what the shell says of line numbers stays right.
fn in_order(argv: &[String]) -> Vec<String> {
    let mut argv = argv.to_vec();
    if let [shell, option, script, ..] = argv.as_mut_slice()
        && shell == "sh"
        && option == "-c"
    {
        script.insert_str(0, "exec 2>&1; ");
    }
    argv
}

/// A program that cannot be executed is no error to the engine: it says so in the output, with code 126 or 127.
fn outcome_of(code: i32, kept: &Kept) -> CommandOutcome {
    let text = String::from_utf8_lossy(&kept.output);
    if !matches!(code, 126 | 127) || !is_said_by_the_engine(&text) {
        return CommandOutcome::Exited(ExitStatus::Code(code));
    }
    if text.contains("chdir to cwd") {
        return CommandOutcome::NotStarted {
            not_found: false,
            message: "its working directory does not exist in the container".to_owned(),
        };
    }
    let not_found = ["executable file not found", "no such file", "was not found"];
    CommandOutcome::NotStarted {
        not_found: not_found.iter().any(|words| text.contains(words)),
        // Podman adds that nobody listens any more.
        message: text.lines().next().unwrap_or_default().trim().to_owned(),
    }
}

fn is_said_by_the_engine(text: &str) -> bool {
    let of_podman = [
        ": OCI runtime attempted to invoke a command that was not found",
        ": OCI permission denied",
        ": OCI runtime error",
    ];
    let first = text.lines().next().unwrap_or_default();
    first.starts_with("OCI runtime exec failed")
        || first.starts_with("Error: ")
            && of_podman.iter().any(|end| first.trim_end().ends_with(end))
}

/// Ends a command that is still running. The engine cannot do that, so its processes are killed: directly where this user
/// may, else by the container's own `kill`. Where neither works, it ends with its container.
async fn end(connected: &Connected, exec: &str, container: &str) {
    let Ok(running) = connected.client.inspect_exec(exec).await else {
        return;
    };
    let Some(pid) = running
        .pid
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > 0)
    else {
        return;
    };
    let id = running.container_id.unwrap_or_else(|| container.to_owned());
    if !belongs_to(pid, &id) {
        return;
    }
    if !kill_tree(pid) {
        kill_inside(connected, container, pid).await;
    }
}

fn kill_tree(pid: i32) -> bool {
    let Ok(table) = ProcessTable::scan() else {
        return false;
    };
    let root = table.get(pid).into_iter();
    let mut all_ended = true;
    for process in root.chain(table.descendants(pid)) {
        all_ended &= signal::send(process.pid, process.start_ticks, Signal::KILL).is_ok();
    }
    all_ended
}

async fn kill_inside(connected: &Connected, container: &str, pid: i32) {
    let Some(inside) = pid_inside(pid) else {
        return;
    };
    let config = ExecConfig {
        cmd: Some(vec!["kill".to_owned(), "-KILL".to_owned(), inside]),
        ..ExecConfig::default()
    };
    if let Ok(exec) = connected.client.create_exec(container, config).await {
        // Best effort: see above.
        let _ = connected.client.start_exec(&exec.id, None).await;
    }
}

/// The number of a process in its own innermost PID namespace.
fn pid_inside(pid: i32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().next_back().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: i32, output: &str) -> CommandOutcome {
        let kept = Kept {
            output: output.as_bytes().to_vec(),
            ..Kept::default()
        };
        outcome_of(code, &kept)
    }

    #[test]
    fn both_engines_say_in_the_output_that_a_program_is_not_there() {
        for (code, output) in [
            (
                126,
                "OCI runtime exec failed: exec failed: unable to start container process: exec: \"x\": executable file not \
                 found in $PATH: unknown\r\n",
            ),
            (
                127,
                "Error: runc: exec failed: unable to start container process: exec: \"x\": executable file not found in \
                 $PATH: OCI runtime attempted to invoke a command that was not found\nError: read unixpacket: reset\n",
            ),
            (
                127,
                "Error: crun: cannot find `x` in $PATH: OCI runtime attempted to invoke a command that was not found\n",
            ),
        ] {
            let CommandOutcome::NotStarted { not_found, message } = outcome(code, output) else {
                panic!("{output}")
            };
            assert!(not_found && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn what_a_program_says_is_its_own() {
        for (code, output) in [
            (127, "sh: 1: x: not found\n"),
            (127, "Error: x was not found\n"),
            (1, "OCI runtime exec failed: x\n"),
        ] {
            assert_eq!(
                outcome(code, output),
                CommandOutcome::Exited(ExitStatus::Code(code)),
                "{output}"
            );
        }
    }
}

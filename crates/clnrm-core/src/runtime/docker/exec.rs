//! Commands inside a container.
//!
//! Deliberately absent: a shell around them. Minimal images have none.

use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::{Stream, StreamExt};
use rustix::process::Signal;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::DockerRuntime;
use super::engine::Connected;
use super::error::EngineError;
use crate::procfs::ProcessTable;
use crate::runtime::command::{CommandOutcome, CommandRequest, CommandResult, OUTPUT_LIMIT_BYTES};
use crate::runtime::instance::InstancePlace;
use crate::runtime::shim_protocol::ExitStatus;
use crate::runtime::signal;

impl DockerRuntime {
    /// Ends what commands of a killed clnrm still run in a container.
    pub async fn end_commands_in(&self, place: &InstancePlace) -> Result<(), EngineError> {
        let Some(container) = self.of(place).await? else {
            return Ok(());
        };
        let connected = self.engine.connected().await?;
        let id = container.id.unwrap_or_default();
        for exec in container.exec_ids.unwrap_or_default() {
            end(connected, &exec, &id).await;
        }
        Ok(())
    }

    /// Runs a command inside the container, to its end, to its time-out, or until `cancel`.
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
        let running = kept.run(connected, container, request, &mut id);
        let cut_short = tokio::select! {
            biased;
            () = cancel.cancelled() => Some(CommandOutcome::Cancelled),
            ran = timeout(request.timeout, running) => match ran {
                Ok(ran) => ran.map(|()| None).map_err(failed)?,
                Err(_elapsed) => Some(CommandOutcome::TimedOut),
            },
        };
        let Some(exec) = id else {
            // The engine did not even begin it in time.
            return Ok(CommandResult {
                outcome: cut_short.unwrap_or(CommandOutcome::Cancelled),
                output: kept.output,
                output_dropped: kept.dropped,
            });
        };
        let outcome = match cut_short {
            Some(outcome) => {
                end(connected, &exec, container).await;
                outcome
            }
            None => outcome_of(connected, &exec, &kept).await.map_err(failed)?,
        };
        Ok(CommandResult {
            outcome,
            output: kept.output,
            output_dropped: kept.dropped,
        })
    }
}

fn config(request: &CommandRequest) -> ExecConfig {
    let env = request.env.iter();
    ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        env: Some(env.map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: Some(request.argv.clone()),
        working_dir: request
            .working_dir
            .as_ref()
            .map(|path| path.display().to_string()),
        ..ExecConfig::default()
    }
}

/// A bounded part of a command's output, from its start.
#[derive(Default)]
struct Kept {
    output: Vec<u8>,
    dropped: u64,
}

impl Kept {
    /// Runs a command to its end; `id` is known as soon as the engine knows the command.
    async fn run(
        &mut self,
        connected: &Connected,
        container: &str,
        request: &CommandRequest,
        id: &mut Option<String>,
    ) -> Result<(), bollard::errors::Error> {
        let client = &connected.client;
        let exec = client.create_exec(container, config(request)).await?.id;
        let exec = id.insert(exec);
        match client.start_exec(exec, None).await? {
            StartExecResults::Attached { output, .. } => self.read(output).await,
            StartExecResults::Detached => Ok(()),
        }
    }

    async fn read(
        &mut self,
        mut output: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
    ) -> Result<(), bollard::errors::Error> {
        while let Some(chunk) = output.next().await {
            let bytes = chunk?.into_bytes();
            let room = OUTPUT_LIMIT_BYTES
                .saturating_sub(self.output.len())
                .min(bytes.len());
            self.output
                .extend_from_slice(bytes.get(..room).unwrap_or_default());
            self.dropped += (bytes.len() - room) as u64;
        }
        Ok(())
    }
}

async fn outcome_of(
    connected: &Connected,
    exec: &str,
    kept: &Kept,
) -> Result<CommandOutcome, bollard::errors::Error> {
    let ended = connected.client.inspect_exec(exec).await?;
    let code = ended
        .exit_code
        .and_then(|code| i32::try_from(code).ok())
        .unwrap_or(-1);
    // A program that cannot be executed is no error to the engine: it says so in the output, with code 126 (Docker)
    // or 127 (Podman).
    let text = String::from_utf8_lossy(&kept.output);
    if matches!(code, 126 | 127) && text.starts_with("OCI runtime exec failed") {
        if text.contains("chdir to cwd") {
            return Ok(CommandOutcome::NotStarted {
                not_found: false,
                message: "its working directory does not exist in the container".to_owned(),
            });
        }
        return Ok(CommandOutcome::NotStarted {
            not_found: text.contains("executable file not found") || text.contains("no such file"),
            message: text.trim().to_owned(),
        });
    }
    Ok(CommandOutcome::Exited(ExitStatus::Code(code)))
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

/// Whether this machine's process of that number is in that container.
fn belongs_to(pid: i32, container: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .is_ok_and(|groups| groups.contains(container))
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

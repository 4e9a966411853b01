//! Runs a command to its end below a shim that ends with us, and keeps a bounded part of its output.
//!
//! Steps, readiness probes and pool resets all run through here: whatever they start is ended with them, at a
//! time-out, and when clnrm itself is killed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::docker::EngineError;
use super::process::ProcessRuntime;
use super::shim_protocol::{ExitStatus, ShimEvent, ShimOutput, ShimSpec, SpawnFailure};
use crate::config::definition::{StopSignal, StopSpec};

/// Output is kept up to this size for expectations; the rest is counted and dropped.
pub const OUTPUT_LIMIT_BYTES: usize = 8 * 1024 * 1024;
/// What a step gets between SIGTERM and SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A command to run to its end.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// Names the step or probe.
    pub id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: BTreeMap<String, String>,
    /// Where to run it; `None` = where the runtime runs things: the image's own folder, `/` for a process.
    pub working_dir: Option<PathBuf>,
    /// Longest time.
    pub timeout: Duration,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct CommandResult {
    /// How it ended.
    pub outcome: CommandOutcome,
    /// Its output, stdout and stderr as they came, at most [`OUTPUT_LIMIT_BYTES`] from the start.
    pub output: Vec<u8>,
    /// Bytes of output beyond that.
    pub output_dropped: u64,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// By itself.
    Exited(ExitStatus),
    /// It was ended after its timeout.
    TimedOut,
    /// It was ended because its caller wanted that.
    Cancelled,
    /// It could not be executed.
    NotStarted {
        /// The operating system's words.
        message: String,
        /// `ENOENT`: there is no such program (or no such interpreter).
        not_found: bool,
    },
}

/// The machinery failed, not the command.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The supervisor could not be started.
    #[error("cannot start the supervisor {program}")]
    Shim {
        /// The binary.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The container engine did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The supervisor ended without saying how the command did.
    #[error("the supervisor of `{id}` was killed")]
    ShimLost {
        /// The step or probe.
        id: String,
    },
}

impl ProcessRuntime {
    /// Runs a command to its end, to its timeout, or until `cancel`; then nothing of it is left.
    pub async fn run_command(
        &self,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, CommandError> {
        let spec = ShimSpec {
            log_patterns: Vec::new(),
            id: request.id.clone(),
            argv: request.argv.clone(),
            env: request.env.clone(),
            working_dir: request
                .working_dir
                .clone()
                .unwrap_or_else(|| PathBuf::from("/")),
            output: ShimOutput::Stderr,
            stop: StopSpec {
                signal: StopSignal::Term,
                grace: STOP_GRACE,
            },
            record_dir: None,
        };
        let mut child = self
            .spawn_shim(&spec, Stdio::piped())
            .await
            .map_err(|source| CommandError::Shim {
                program: self.shim_program().to_owned(),
                source,
            })?;
        let (Some(events), Some(output)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(CommandError::ShimLost {
                id: request.id.clone(),
            });
        };
        let collected = tokio::spawn(collect(output));
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(CommandOutcome::Cancelled),
            outcome = timeout(request.timeout, follow(&request.id, events)) => {
                outcome.unwrap_or(Ok(CommandOutcome::TimedOut))
            }
        };
        // A shim whose starter is gone ends its tree.
        drop(child.stdin.take());
        // The shim leaves when the tree is empty; only then is the output complete.
        let _ = child.wait().await;
        let (output, output_dropped) = collected.await.unwrap_or_default();
        Ok(CommandResult {
            outcome: outcome?,
            output,
            output_dropped,
        })
    }
}

/// Waits for the program's own end.
async fn follow(id: &str, events: ChildStdout) -> Result<CommandOutcome, CommandError> {
    let mut lines = BufReader::new(events).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(ShimEvent::MainExited(status)) => return Ok(CommandOutcome::Exited(status)),
            Ok(ShimEvent::SpawnFailed(failure)) => return Ok(not_started(failure)),
            Ok(ShimEvent::Spawned(_) | ShimEvent::LinesSeen(_) | ShimEvent::Ended(_)) | Err(_) => {}
        }
    }
    Err(CommandError::ShimLost { id: id.to_owned() })
}

fn not_started(failure: SpawnFailure) -> CommandOutcome {
    let not_found = failure.os_error == Some(rustix::io::Errno::NOENT.raw_os_error());
    CommandOutcome::NotStarted {
        message: failure.message,
        not_found,
    }
}

/// Reads to the end, however long that is, and keeps the beginning.
async fn collect(mut output: ChildStderr) -> (Vec<u8>, u64) {
    let mut kept = Vec::new();
    let mut dropped = 0;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let room = OUTPUT_LIMIT_BYTES.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
        dropped += (length - room) as u64;
    }
    (kept, dropped)
}

impl ProcessRuntime {
    /// Starts a shim and gives it its orders. Its stdin stays open in the returned child.
    pub(super) async fn spawn_shim(&self, spec: &ShimSpec, stderr: Stdio) -> io::Result<Child> {
        let mut command = tokio::process::Command::new(self.shim_program());
        command
            .arg(super::shim_protocol::SHIM_SUBCOMMAND)
            .arg(&spec.id)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(false);
        if let Some(dir) = &spec.record_dir {
            // Its folder, wherever that is moved to; and whose it is, for whoever finds it without its folder.
            command.current_dir(dir);
        }
        let mut child = command.spawn()?;
        let mut orders = serde_json::to_vec(spec)?;
        orders.push(b'\n');
        if let Some(stdin) = &mut child.stdin {
            stdin.write_all(&orders).await?;
            stdin.flush().await?;
        }
        Ok(child)
    }
}

//! Runs a command to its end below a shim that ends with us, and keeps a bounded part of its output.
//!
//! Steps, readiness probes and pool resets all run through here: whatever they start is ended with them, at a
//! time-out, and when clnrm itself is killed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::CommandError;
use super::shim_protocol::{SHIM_SUBCOMMAND, ShimEvent, ShimOutput, ShimSpec, SpawnFailure};
use crate::backend::command::{CommandOutcome, CommandRequest, CommandResult, OUTPUT_LIMIT_BYTES};
use crate::backend::error::BackendError;
use crate::config::definition::{StopSignal, StopSpec};

/// What a step gets between SIGTERM and SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Runs a command to its end, to its timeout, or until `cancel`; then nothing of it is left.
pub async fn run_command(
    shim_program: &Path,
    request: &CommandRequest,
    cancel: &CancellationToken,
) -> Result<CommandResult, BackendError> {
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
    let mut child = spawn_shim(shim_program, &spec, Stdio::piped())
        .await
        .map_err(|source| CommandError::Shim {
            program: shim_program.to_owned(),
            source,
        })?;
    let (Some(events), Some(output)) = (child.stdout.take(), child.stderr.take()) else {
        let id = request.id.clone();
        return Err(CommandError::ShimLost { id }.into());
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

/// Starts a shim and gives it its orders. Its stdin stays open in the returned child.
pub(super) async fn spawn_shim(
    shim_program: &Path,
    spec: &ShimSpec,
    stderr: Stdio,
) -> io::Result<Child> {
    let mut command = tokio::process::Command::new(shim_program);
    command
        .arg(SHIM_SUBCOMMAND)
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

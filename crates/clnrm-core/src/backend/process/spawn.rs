//! Starts a process tree below its shim and follows what that tells.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::io::Errno;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::watch;

use super::command::spawn_shim;
use super::error::SpawnError;
use super::shim_protocol::{ShimEvent, ShimRecord, ShimSpec, SpawnFailure};
use crate::backend::instance::{Loss, Running, TreeState};
use crate::backend::root::Root;
use crate::folder::data_dir;

/// Starts an instance and returns as soon as its program runs. It lives on when this process ends.
pub(super) async fn start(
    shim_program: &Path,
    spec: &ShimSpec,
    dir: &Path,
) -> Result<Running, SpawnError> {
    if !spec.working_dir.is_dir() {
        return Err(SpawnError::NoWorkingDirectory {
            path: spec.working_dir.clone(),
        });
    }
    fs::create_dir_all(data_dir(dir)).map_err(|source| SpawnError::InstanceFolder {
        path: dir.to_owned(),
        source,
    })?;
    let mut child = spawn_shim(shim_program, spec, Stdio::null())
        .await
        .map_err(|source| SpawnError::Shim {
            program: shim_program.to_owned(),
            source,
        })?;
    let lost = || SpawnError::ShimLost {
        id: spec.id.clone(),
    };
    let mut events = EventLines::new(child.stdout.take().ok_or_else(lost)?);
    match events.next().await {
        Some(ShimEvent::Spawned(ShimRecord {
            shim,
            main_pid: Some(main_pid),
        })) => {
            let (sender, state) = watch::channel(TreeState::Running);
            let (counts, lines_seen) = watch::channel(Vec::new());
            tokio::spawn(watch_tree(events, child, sender, counts));
            Ok(Running {
                lines_seen,
                ..Running::of(Root::ProcessTree(shim), Some(main_pid), dir, state)
            })
        }
        Some(ShimEvent::SpawnFailed(failure)) => {
            let _ = child.wait().await;
            Err(spawn_error(spec, failure))
        }
        _ => Err(lost()),
    }
}

fn spawn_error(spec: &ShimSpec, failure: SpawnFailure) -> SpawnError {
    let program = spec.argv.first().cloned().unwrap_or_default();
    if failure.os_error == Some(Errno::NOENT.raw_os_error()) {
        SpawnError::CommandNotFound { program }
    } else {
        SpawnError::CommandNotExecutable {
            program,
            message: failure.message,
        }
    }
}

/// The events of a shim, read line by line.
struct EventLines(tokio::io::Lines<BufReader<ChildStdout>>);

impl EventLines {
    fn new(stdout: ChildStdout) -> Self {
        Self(BufReader::new(stdout).lines())
    }

    async fn next(&mut self) -> Option<ShimEvent> {
        let line = self.0.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }
}

/// Turns a shim's events into the state that readiness and the runner watch, and reaps the shim.
async fn watch_tree(
    mut events: EventLines,
    mut child: Child,
    sender: watch::Sender<TreeState>,
    lines_seen: watch::Sender<Vec<u32>>,
) {
    let mut ended = false;
    while let Some(event) = events.next().await {
        match event {
            ShimEvent::LinesSeen(counts) => {
                lines_seen.send_replace(counts);
            }
            ShimEvent::MainExited(status) if status.is_success() => {
                sender.send_replace(TreeState::MainLeft);
            }
            ShimEvent::MainExited(status) => {
                sender.send_replace(TreeState::Failed(status));
            }
            ShimEvent::Ended(record) => {
                ended = true;
                sender.send_replace(TreeState::Ended(record));
            }
            ShimEvent::Spawned(_) | ShimEvent::SpawnFailed(_) => {}
        }
    }
    if !ended {
        sender.send_replace(TreeState::Lost(Loss::SupervisorKilled));
    }
    let _ = child.wait().await;
}

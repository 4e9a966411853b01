//! Instances that are local process trees: start, watch, stop, and find again in a later command.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::watch;
use tokio::time::timeout;

use super::instance::{Loss, Patience, Running, Supervisor, TreeState};
use super::recovery;
use super::shim_protocol::{
    END_NOW, ExitRecord, INSTANCE_VARIABLE, ShimEvent, ShimOutput, ShimRecord, ShimSpec,
    SpawnFailure,
};
use crate::config::definition::{LogPattern, StopSpec};
use crate::procfs::ProcessIdentity;

/// What a shim gets beyond the grace period of its tree before it is killed itself.
const SHIM_GRACE: Duration = Duration::from_secs(5);

/// Starts process trees below shims.
#[derive(Debug, Clone)]
pub struct ProcessRuntime {
    shim_program: PathBuf,
}

/// What to start, with every placeholder filled in.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// The instance's id, unique in the project.
    pub id: String,
    /// The instance's folder, which exists: records, log and data live in it.
    pub dir: PathBuf,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: BTreeMap<String, String>,
    /// Where to run it.
    pub working_dir: PathBuf,
    /// How it is asked to stop.
    pub stop: StopSpec,
    /// Cap of the log.
    pub log_limit_bytes: u64,
    /// Lines of its output that are waited for.
    pub log_patterns: Vec<LogPattern>,
}

/// Why an instance could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// No such program.
    #[error("the command `{program}` does not exist")]
    CommandNotFound {
        /// The program as the file names it.
        program: String,
    },
    /// The program cannot be executed.
    #[error("the command `{program}` cannot be executed: {message}")]
    CommandNotExecutable {
        /// The program as the file names it.
        program: String,
        /// The operating system's words.
        message: String,
    },
    /// The working directory is not there.
    #[error("the working directory {path} does not exist")]
    NoWorkingDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The instance's folder could not be made or written.
    #[error("cannot write the instance's folder {path}")]
    InstanceFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor could not be started.
    #[error("cannot start the supervisor {program}")]
    Shim {
        /// The binary.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor ended before it could say how the start went.
    #[error("the supervisor of {id} ended during the start")]
    ShimLost {
        /// The instance.
        id: String,
    },
}

/// How an instance ended when it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopOutcome {
    /// What its shim recorded; `None` when it could not (a full disk, a killed shim).
    pub exit: Option<ExitRecord>,
    /// SIGKILL was needed, by the shim or because the shim itself did not answer.
    pub killed: bool,
}

/// Why an instance could not be stopped.
#[derive(Debug, Error)]
pub enum StopError {
    /// Its supervisor belongs to another user.
    #[error("no permission to stop {id} (pid {pid}): it was started by another user")]
    NotOurs {
        /// The instance.
        id: String,
        /// The supervisor.
        pid: i32,
    },
    /// The operating system refused.
    #[error("cannot signal the supervisor of {id}")]
    Signal {
        /// The instance.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// Processes of the instance survived SIGKILL (they hang in the kernel).
    #[error("{} processes of {id} survive SIGKILL: {}", survivors.len(), survivors.join(", "))]
    Survivors {
        /// The instance.
        id: String,
        /// Names and pids.
        survivors: Vec<String>,
    },
}

/// What a later command finds in an instance's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its shim lives.
    Alive(ShimRecord),
    /// It ended and said how.
    Ended(ExitRecord),
    /// Its shim was killed (or could not record the end); its processes may live on.
    Lost(ShimRecord),
    /// No shim ever recorded itself: nothing was spawned.
    NeverStarted,
}

/// Files of an instance's folder.
pub fn log_path(dir: &Path) -> PathBuf {
    dir.join("output.log")
}

/// The folder that belongs to the service itself.
pub fn data_dir(dir: &Path) -> PathBuf {
    dir.join("data")
}

impl ProcessRuntime {
    /// Uses this binary as the shim: one whose `main` runs [`super::shim::run`] for the hidden subcommand.
    pub fn new(shim_program: PathBuf) -> Self {
        Self { shim_program }
    }

    pub(super) fn shim_program(&self) -> &Path {
        &self.shim_program
    }

    /// Starts an instance and returns as soon as its program runs. It lives on when this process ends.
    pub async fn start(&self, request: &StartRequest) -> Result<Running, StartError> {
        if !request.working_dir.is_dir() {
            return Err(StartError::NoWorkingDirectory {
                path: request.working_dir.clone(),
            });
        }
        fs::create_dir_all(data_dir(&request.dir)).map_err(|source| {
            StartError::InstanceFolder {
                path: request.dir.clone(),
                source,
            }
        })?;
        let log = log_path(&request.dir);
        let folder = |source| StartError::InstanceFolder {
            path: request.dir.clone(),
            source,
        };
        let spec = ShimSpec {
            id: request.id.clone(),
            argv: request.argv.clone(),
            env: with_instance_variable(request),
            working_dir: std::path::absolute(&request.working_dir).map_err(folder)?,
            output: ShimOutput::Log {
                path: log_path(Path::new("")),
                limit_bytes: request.log_limit_bytes,
            },
            log_patterns: request.log_patterns.clone(),
            stop: request.stop,
            record_dir: Some(request.dir.clone()),
        };
        let mut child = self
            .spawn_shim(&spec, Stdio::null())
            .await
            .map_err(|source| StartError::Shim {
                program: self.shim_program.clone(),
                source,
            })?;
        let lost = || StartError::ShimLost {
            id: request.id.clone(),
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
                    supervisor: Supervisor::Shim(shim),
                    main_pid: Some(main_pid),
                    log,
                    published: None,
                    cpus: None,
                    has_health_check: false,
                    warnings: Vec::new(),
                    lines_seen,
                    state,
                })
            }
            Some(ShimEvent::SpawnFailed(failure)) => {
                let _ = child.wait().await;
                Err(spawn_error(request, failure))
            }
            _ => Err(lost()),
        }
    }

    /// What is there of the instance whose folder this is.
    pub fn find(dir: &Path) -> io::Result<Found> {
        let Some(record) = ShimRecord::read(dir)? else {
            return Ok(Found::NeverStarted);
        };
        if record.shim.is_alive() {
            return Ok(Found::Alive(record));
        }
        // Read after the look at the process: a shim records the end and then leaves.
        Ok(ExitRecord::read(dir)?.map_or(Found::Lost(record), Found::Ended))
    }

    /// Watches an instance whose shim is another command's child; `None` = the shim is gone.
    pub(super) fn watch_again(
        id: &str,
        dir: &Path,
        record: ShimRecord,
    ) -> Result<Option<Running>, StopError> {
        let Some(descriptor) = open_verified(id, &record.shim)? else {
            return Ok(None);
        };
        let exited = readable_on_exit(descriptor).map_err(|source| StopError::Signal {
            id: id.to_owned(),
            source,
        })?;
        let (sender, state) = watch::channel(TreeState::Running);
        let folder = dir.to_owned();
        tokio::spawn(async move {
            tokio::select! {
                _ = exited.readable() => {
                    let exit = ExitRecord::read(&folder).ok().flatten();
                    sender.send_replace(
                        exit.map_or(TreeState::Lost(Loss::SupervisorKilled), TreeState::Ended),
                    );
                }
                // Nobody listens any more.
                () = sender.closed() => {}
            }
        });
        Ok(Some(Running {
            supervisor: Supervisor::Shim(record.shim),
            main_pid: record.main_pid,
            log: log_path(dir),
            published: None,
            cpus: None,
            has_health_check: false,
            warnings: Vec::new(),
            lines_seen: watch::channel(Vec::new()).1,
            state,
        }))
    }

    /// Asks the shim to end its tree and waits for that: as long as `patience` says, then SIGKILL, until nothing is left.
    pub async fn stop(
        id: &str,
        dir: &Path,
        shim: &ProcessIdentity,
        patience: &Patience,
    ) -> Result<StopOutcome, StopError> {
        let mut killed = false;
        if let Some(descriptor) = open_verified(id, shim)? {
            send(id, shim.pid, &descriptor, Signal::TERM)?;
            let exited = readable_on_exit(descriptor).map_err(|source| StopError::Signal {
                id: id.to_owned(),
                source,
            })?;
            let in_time = timeout(patience.grace + SHIM_GRACE, exited.readable());
            let has_left = match patience.hurry.run_until_cancelled(in_time).await {
                Some(in_time) => in_time.is_ok(),
                None => {
                    send(id, shim.pid, exited.get_ref(), END_NOW)?;
                    timeout(SHIM_GRACE, exited.readable()).await.is_ok()
                }
            };
            if !has_left {
                // A shim that was stopped (SIGSTOP) or hangs: take over its work.
                killed = true;
                send(id, shim.pid, exited.get_ref(), Signal::KILL)?;
                let _ = exited.readable().await;
            }
        }
        let exit = ExitRecord::read(dir).ok().flatten();
        if exit.is_none() {
            killed |= !recovery::end_leftovers(id, shim.pid).await?.is_empty();
        }
        Ok(StopOutcome {
            exit,
            killed: killed || exit.is_some_and(|exit| exit.killed),
        })
    }
}

#[expect(
    deprecated,
    reason = "an OwnedFd stays open as long as it is registered; the other constructor is unsafe"
)]
fn readable_on_exit(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

fn with_instance_variable(request: &StartRequest) -> BTreeMap<String, String> {
    let mut env = request.env.clone();
    env.insert(INSTANCE_VARIABLE.to_owned(), request.id.clone());
    env
}

fn spawn_error(request: &StartRequest, failure: SpawnFailure) -> StartError {
    let program = request.argv.first().cloned().unwrap_or_default();
    if failure.os_error == Some(Errno::NOENT.raw_os_error()) {
        StartError::CommandNotFound { program }
    } else {
        StartError::CommandNotExecutable {
            program,
            message: failure.message,
        }
    }
}

/// `None` when the process is gone, or its number belongs to another one now.
fn open_verified(id: &str, shim: &ProcessIdentity) -> Result<Option<OwnedFd>, StopError> {
    let Some(pid) = Pid::from_raw(shim.pid) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The identity is compared after the descriptor was opened: see `signal::send`.
        Ok(descriptor) => Ok(shim.is_alive().then_some(descriptor)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(StopError::Signal {
            id: id.to_owned(),
            source: error.into(),
        }),
    }
}

fn send(id: &str, pid: i32, descriptor: impl AsFd, signal: Signal) -> Result<(), StopError> {
    match pidfd_send_signal(descriptor, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) => Err(StopError::NotOurs {
            id: id.to_owned(),
            pid,
        }),
        Err(error) => Err(StopError::Signal {
            id: id.to_owned(),
            source: error.into(),
        }),
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

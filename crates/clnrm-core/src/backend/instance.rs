//! What an instance is to the rest of clnrm, whatever it runs as.
//!
//! Starting takes what each runtime needs ([`Launchable`]); from then on an instance is a place on disk that any
//! later command can look at, end, and run things in, through one trait.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::command::{CommandError, CommandRequest, CommandResult};
use super::docker::{ContainerRequest, EngineError, EngineMark};
use super::process::{StartError, StartRequest, StopError};
use super::shim_protocol::{ExitRecord, ExitStatus};
use crate::config::definition::Protocol;
use crate::procfs::ProcessIdentity;

/// Where an instance is found again: its id, unique in the project, and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePlace {
    /// Its id.
    pub id: String,
    /// Its folder: log, records, data.
    pub dir: PathBuf,
    /// Its container, as far as that is on record.
    pub container: Option<RecordedContainer>,
}

/// A container that is known by more than the name that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedContainer {
    /// The engine's id of it.
    pub id: String,
    /// The engine; `None` = not recorded.
    pub engine: Option<EngineMark>,
}

/// What to start.
#[derive(Debug, Clone)]
pub enum Launchable {
    /// A process tree.
    Process(StartRequest),
    /// A container.
    Container(Box<ContainerRequest>),
}

/// What keeps an instance together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// The shim of a process tree.
    Shim(ProcessIdentity),
    /// The container of that id.
    Container(String),
}

/// An instance that this command started.
#[derive(Debug, Clone)]
pub struct Running {
    /// What keeps it together.
    pub supervisor: Supervisor,
    /// Its main process, as this machine numbers it; `None` = on another machine.
    pub main_pid: Option<i32>,
    /// Its log.
    pub log: PathBuf,
    /// The CPU that its engine allows, in cores; `None` = no limit.
    pub cpus: Option<f64>,
    /// Whether something looks again and again whether it is well.
    pub has_health_check: bool,
    /// What the user should know of its start.
    pub warnings: Vec<String>,
    /// Of a container: where it is, from outside and from other containers.
    pub published: Option<Published>,
    /// How many lines of its output have matched each pattern that was given at its start.
    pub lines_seen: watch::Receiver<Vec<u32>>,
    /// Changes when it ends.
    pub state: watch::Receiver<TreeState>,
}

/// The addresses of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Its address in that network.
    pub ip: Option<String>,
    /// Where its ports are reached from here.
    pub host: String,
    /// Those ports, by the port inside.
    pub host_ports: BTreeMap<(u16, Protocol), u16>,
    /// The id of its image.
    pub image_id: Option<String>,
    /// The engine that it is on.
    pub engine: Option<EngineMark>,
}

/// Whether an instance lives, as far as its starter was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeState {
    /// The main process runs.
    Running,
    /// The main process left with 0 and its descendants may live on: it has daemonized, or is about to end.
    MainLeft,
    /// The main process failed; what is left is being ended.
    Failed(ExitStatus),
    /// Nothing is left.
    Ended(ExitRecord),
    /// How it ended will never be known.
    Lost(Loss),
}

/// Why nobody knows how an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The shim was killed.
    SupervisorKilled,
    /// Somebody removed the container.
    ContainerRemoved,
    /// Somebody restarted the container.
    ContainerRestarted,
    /// The container engine was restarted, and ended it.
    EngineRestarted,
    /// The container engine does not answer any more.
    EngineGone,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SupervisorKilled => "its supervisor was killed",
            Self::ContainerRemoved => "its container was removed",
            Self::ContainerRestarted => "its container was restarted",
            Self::EngineRestarted => "the container engine was restarted",
            Self::EngineGone => "the container engine does not answer any more",
        })
    }
}

/// What a later command finds of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// It lives.
    Alive(Condition),
    /// It ended and said how.
    Ended(ExitRecord),
    /// It is gone, or its supervisor is; processes may live on.
    Lost(Loss),
    /// It never came into being.
    NeverStarted,
    /// Nobody can say: the engine does not answer.
    Unknown(EngineError),
}

/// How an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// As far as anybody can tell, it serves.
    #[default]
    Serving,
    /// Its own health check fails.
    Unhealthy,
    /// Somebody has paused its container.
    Paused,
    /// Somebody has disconnected its container from its network.
    Disconnected,
    /// Its engine is starting it again.
    Restarting,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "serving",
            Self::Unhealthy => "unhealthy",
            Self::Paused => "paused",
            Self::Disconnected => "disconnected",
            Self::Restarting => "restarting",
        })
    }
}

/// An instance of which nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How its main process ended; `None` = nobody saw it.
    pub exit: Option<ExitRecord>,
    /// SIGKILL was needed.
    pub killed: bool,
    /// Processes that lived on without their supervisor and were ended, as `name (pid 12)`.
    pub leftovers: Vec<String>,
}

/// How long an instance that is asked to end is waited for before it is killed.
#[derive(Debug, Clone)]
pub struct Patience {
    /// At most.
    pub grace: Duration,
    /// Ends the wait before that.
    pub hurry: CancellationToken,
}

/// Without anybody who could shorten it.
impl From<Duration> for Patience {
    fn from(grace: Duration) -> Self {
        Self {
            grace,
            hurry: CancellationToken::new(),
        }
    }
}

/// Why an instance could not be started.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// As a process.
    #[error(transparent)]
    Process(#[from] StartError),
    /// As a container.
    #[error(transparent)]
    Container(#[from] super::docker::ContainerError),
}

/// Why an instance could not be looked at or ended.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// Its folder cannot be read.
    #[error("cannot read the instance's folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its processes could not be ended.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// The engine did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What can be done with an instance that was started, by this command or an earlier one.
#[async_trait]
pub trait Runtime: fmt::Debug + Send + Sync {
    /// What is there of each instance, in the same order.
    async fn observe(&self, places: &[InstancePlace]) -> Vec<Result<Observed, InstanceError>>;

    /// Takes over the watch of an instance that another command started; `None` = it does not live.
    async fn adopt(&self, place: &InstancePlace) -> Result<Option<Running>, InstanceError>;

    /// Ends whatever there is of an instance: asked first, killed when `patience` is over. Nothing is left when
    /// this returns; its log stays.
    async fn end(&self, place: &InstancePlace, patience: &Patience)
    -> Result<Ended, InstanceError>;

    /// Ends whatever still carries the marks of instances that are recorded as ended; names each with its instance.
    async fn end_survivors(&self, ids: &[String]) -> Result<Vec<String>, EngineError>;

    /// Runs a command in the instance's place, to its end, to its time-out, or until `cancel`.
    async fn run_in(
        &self,
        place: &InstancePlace,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, CommandError>;

    /// What the instance's own health check says, now; only containers have one.
    async fn health(
        &self,
        place: &InstancePlace,
        cancel: &CancellationToken,
    ) -> Result<Health, CommandError>;

    /// A file with the last `lines` of the log as it is now; its own for every command, so that none disturbs another's
    /// reading.
    async fn fetch_log(
        &self,
        place: &InstancePlace,
        lines: usize,
    ) -> Result<FetchedLog, EngineError>;

    /// Appends what has come since to a fetched log, until `cancel`.
    async fn follow_log(
        &self,
        place: &InstancePlace,
        fetched: &FetchedLog,
        cancel: &CancellationToken,
    ) -> Result<(), EngineError>;
}

/// A part of a log, up to the moment at which it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedLog {
    /// Where it is.
    pub path: PathBuf,
    /// The time of its last entry, in nanoseconds since 1970, where its engine tells.
    pub until: Option<i128>,
}

impl FetchedLog {
    /// The instance's own file, which is always up to date.
    pub fn at(path: PathBuf) -> Self {
        Self { path, until: None }
    }
}

/// What a container's own health check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// There is no such check.
    NotChecked,
    /// It has not passed yet; with what it printed.
    NotYet(String),
    /// It passes.
    Healthy,
    /// It failed as often as its image allows; with what it printed last.
    Unhealthy(String),
}

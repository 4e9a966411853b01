//! What an instance is to the rest of clnrm, whatever it runs as.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::BackendError;
use super::exit::{ExitRecord, ExitStatus};
use super::root::Root;
use crate::config::placeholder::Where;
use crate::folder::log_path;

/// Where an instance is found again: its id, unique in the project, and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePlace {
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

/// An engine, as it is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineMark {
    /// Its own id, for as long as its data folder lives.
    pub id: String,
    /// Where it was reached.
    pub address: String,
}

/// An instance that this command started, or watches.
#[derive(Debug, Clone)]
pub struct Running {
    /// How its use of resources is measured.
    pub root: Root,
    /// Its main process, as this machine numbers it; `None` = on another machine.
    pub main_pid: Option<i32>,
    /// What its engine knows it by; `None` = it is found by its folder.
    pub container: Option<RecordedContainer>,
    /// What its image's name meant when it was started; `None` = it has no image.
    pub image_id: Option<String>,
    /// Where it turned out to be; `None` = where it was told to be.
    pub reached: Option<Where>,
    /// Where it may be reached if not there.
    pub elsewhere: Option<Where>,
    /// Its log.
    pub log: PathBuf,
    /// The CPU that its engine allows, in cores; `None` = no limit.
    pub cpus: Option<f64>,
    /// Whether something looks again and again whether it is well.
    pub has_health_check: bool,
    /// What the user should know of its start.
    pub warnings: Vec<String>,
    /// How many lines of its output have matched each pattern that was given at its start.
    pub lines_seen: watch::Receiver<Vec<u32>>,
    /// Changes when it ends.
    pub state: watch::Receiver<TreeState>,
}

impl Running {
    /// One of this machine, of which nothing else is known; `dir` is its folder.
    pub fn of(
        root: Root,
        main_pid: Option<i32>,
        dir: &Path,
        state: watch::Receiver<TreeState>,
    ) -> Self {
        Self {
            root,
            main_pid,
            container: None,
            image_id: None,
            reached: None,
            elsewhere: None,
            log: log_path(dir),
            cpus: None,
            has_health_check: false,
            warnings: Vec::new(),
            lines_seen: watch::channel(Vec::new()).1,
            state,
        }
    }
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
    Unknown(BackendError),
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

/// What a backend has, at one moment.
#[derive(Debug)]
pub struct Survey {
    /// What there is of each instance that was asked for, in the same order.
    pub observed: Vec<Result<Observed, BackendError>>,
    /// The instances of this project of which it has something, as far as it knows without being told their ids.
    pub ids: Result<Vec<String>, BackendError>,
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

impl Ended {
    /// What ended before anybody asked it to.
    pub(super) fn as_recorded(exit: ExitRecord) -> Self {
        Self {
            killed: exit.killed,
            exit: Some(exit),
            leftovers: Vec::new(),
        }
    }

    /// Nothing was there.
    pub(super) fn nothing() -> Self {
        Self {
            exit: None,
            killed: false,
            leftovers: Vec::new(),
        }
    }
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

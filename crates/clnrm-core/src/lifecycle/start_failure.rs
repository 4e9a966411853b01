//! Why an instance did not start, in words that name the thing and the way out.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::stop::EndError;
use crate::backend::job::JobError;
use crate::backend::{BackendError, ErrorKind, NotReady};
use crate::config::placeholder::PlaceholderError;
use crate::exit::{Exit, Fatal};
use crate::store::{InstanceId, StoreError};

/// An instance that did not become ready. Nothing of it is left running.
#[derive(Debug, Error)]
#[error("service `{service}` did not start")]
pub struct StartFailure {
    pub service: String,
    /// The instance, where one was made.
    pub instance: Option<InstanceId>,
    #[source]
    pub cause: StartCause,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    /// Where the whole log is.
    pub log_file: Option<PathBuf>,
    /// What its image's own entry point made of a string command, e.g. `httpd sh -c …`.
    pub entry_point_ran: Option<String>,
}

impl Fatal for StartFailure {
    fn exit(&self) -> Exit {
        Exit::ServiceFailed
    }

    fn hint(&self) -> Option<String> {
        if let Some(ran) = &self.entry_point_ran {
            return Some(format!(
                "the image's own entry point ran: `{ran}`; with `entrypoint = []` the command runs alone"
            ));
        }
        let says_nothing = self.log_tail.is_empty() && self.cause.is_death();
        self.cause.hint().filter(|_| !says_nothing)
    }
}

/// Why an instance did not start.
#[derive(Debug, Error)]
pub enum StartCause {
    /// A fixed port is in use.
    #[error("port {port} is taken{holder}")]
    PortTaken {
        port: u16,
        /// Who has it.
        holder: PortHolder,
    },
    /// No port is free.
    #[error("no port of 127.0.0.1 is free")]
    NoFreePort,
    /// Its backend cannot even begin.
    #[error(transparent)]
    Backend(BackendError),
    /// A placeholder has no value.
    #[error("its definition cannot be filled in")]
    Placeholder(#[source] PlaceholderError),
    /// Its folder cannot be made.
    #[error("cannot create its folder {path}")]
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    /// It could not be spawned.
    #[error("it could not be started")]
    Spawn(#[source] BackendError),
    /// It did not become ready.
    #[error("it did not become ready")]
    NotReady(#[source] NotReady),
    /// It is a job, and not done.
    #[error("it has not done its work")]
    Job(#[source] JobError),
    /// It is a job and done, but what it left could not be ended.
    #[error("it is done, but what it left could not be ended")]
    Leftovers(#[source] EndError),
    /// The history failed.
    #[error("the history failed")]
    Store(#[source] StoreError),
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    /// An instance of this project.
    Instance(InstanceId),
    /// A process, as `name (pid 12)`.
    Process(String),
    /// Somebody whom this user may not see.
    Unknown,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => write!(f, " by {id}, which runs in this project"),
            Self::Process(process) => write!(f, " by {process}"),
            Self::Unknown => Ok(()),
        }
    }
}

impl StartCause {
    /// Whether it was only given up because something else went wrong.
    pub fn is_cancellation(&self) -> bool {
        match self {
            Self::NotReady(NotReady::Cancelled { .. }) | Self::Job(JobError::Cancelled) => true,
            Self::Spawn(error) => error.kind() == ErrorKind::GivenUp,
            _ => false,
        }
    }

    /// Whether something ran, and was not what was wanted.
    pub fn is_of_what_ran(&self) -> bool {
        matches!(
            self,
            Self::NotReady(NotReady::Died { .. } | NotReady::TimedOut { .. })
                | Self::Job(JobError::Failed(_) | JobError::TimedOut { .. })
        )
    }

    /// Whether its process failed by itself: only its log can say why.
    pub fn is_death(&self) -> bool {
        match self {
            Self::NotReady(NotReady::Died { status }) => !status.is_success(),
            Self::Job(JobError::Failed(_)) => true,
            _ => false,
        }
    }

    /// The way out, where one is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::PortTaken {
                port,
                holder: PortHolder::Instance(id),
            } => {
                // An id is the name of its service and a number.
                let service =
                    id.0.rsplit_once('-')
                        .map_or(id.0.as_str(), |(name, _)| name);
                format!(
                    "`clnrm services stop {service}` stops it; or write {{port}} instead of {port} to let clnrm choose a free one"
                )
            }
            Self::PortTaken { port, .. } => format!(
                "stop what listens there, or write {{port}} instead of {port} to let clnrm choose a free one"
            ),
            Self::Backend(error) | Self::Spawn(error) => return error.hint(),
            Self::NotReady(NotReady::Unreachable { .. }) => {
                "name an address of the engine's machine that is reached from here: [docker] host = \"172.17.0.1\" in clnrm.toml, or CLNRM_DOCKER_HOST; or run clnrm in the engine's own network".to_owned()
            }
            Self::NotReady(NotReady::TimedOut { .. }) => {
                "see its log; `ready` says what is waited for, `ready = { timeout = … }` how long"
                    .to_owned()
            }
            Self::NotReady(NotReady::Died { status }) if status.is_success() => {
                "a service must stay up; write `job = true` if it is to do its work and end"
                    .to_owned()
            }
            Self::NotReady(NotReady::Died { .. }) | Self::Job(JobError::Failed(_)) => {
                "its log says why".to_owned()
            }
            Self::Job(JobError::TimedOut { .. }) => {
                "`ready = { timeout = … }` says how long a job may take".to_owned()
            }
            Self::Store(error) => return error.hint(),
            _ => return None,
        })
    }
}

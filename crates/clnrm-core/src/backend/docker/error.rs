//! What can go wrong between clnrm and a container engine, in words that name the way out.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::backend::error::{BackendError, ErrorKind};

/// The engine cannot be asked, or refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// No socket of an engine is there.
    #[error("no container engine answers: there is no {} ({named_by})", one_of(.tried))]
    Absent {
        /// Where one was looked for.
        tried: Vec<PathBuf>,
        /// Who says that it is there.
        named_by: NamedBy,
    },
    /// The socket belongs to others.
    #[error("no permission to talk to the container engine at {address}")]
    NoPermission {
        /// Its socket.
        address: String,
    },
    /// Nobody listens, or the connection broke.
    #[error("the container engine at {address} does not answer: {message}")]
    Unreachable {
        /// Its socket or address.
        address: String,
        /// The operating system's or the connection's words.
        message: String,
    },
    /// An address that clnrm cannot talk to.
    #[error("clnrm cannot speak to {address}{} ({named_by})", if *.is_secured { " with TLS" } else { "" })]
    AddressNotSupported {
        /// As given.
        address: String,
        /// TLS is asked for.
        is_secured: bool,
        /// Who gave it.
        named_by: NamedBy,
    },
    /// A context was chosen, and what it means is not known.
    #[error("{named_by} cannot be used: {message}")]
    ContextUnknown {
        /// The context.
        named_by: NamedBy,
        message: String,
    },
    /// What is looked for is on another engine than the one that was asked.
    #[error(
        "{container} is on another container engine, at {there}; the one at {here} does not have it"
    )]
    Elsewhere {
        container: String,
        /// Where its own engine was reached.
        there: String,
        /// Where the one that was asked is.
        here: String,
    },
    /// The engine said no.
    #[error("the container engine refused to {action}: {message}")]
    Refused {
        /// What was asked for, e.g. `create a container`.
        action: &'static str,
        status: u16,
        /// The engine's words.
        message: String,
    },
}

/// What says where the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// `DOCKER_HOST`.
    DockerHost,
    /// A Docker context.
    Context {
        /// Its name.
        name: String,
        /// The configuration file that chooses it; `None` = `DOCKER_CONTEXT` does.
        chosen_in: Option<PathBuf>,
    },
    /// Nothing does.
    Nobody {
        /// Where a context might have been chosen.
        config: Option<PathBuf>,
    },
}

impl fmt::Display for NamedBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DockerHost => write!(out, "DOCKER_HOST"),
            Self::Context {
                name,
                chosen_in: None,
            } => write!(out, "the Docker context `{name}` of DOCKER_CONTEXT"),
            Self::Context {
                name,
                chosen_in: Some(file),
            } => write!(out, "the Docker context `{name}` of {}", file.display()),
            Self::Nobody { config } => {
                write!(out, "neither DOCKER_HOST nor DOCKER_CONTEXT")?;
                if let Some(file) = config {
                    write!(out, " nor {}", file.display())?;
                }
                write!(out, " names one")
            }
        }
    }
}

impl EngineError {
    /// Whether the engine said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the engine was not reached at all.
    pub fn is_unreachable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Absent { .. } => {
                "start Docker or Podman, or name its socket in DOCKER_HOST (unix:///path, tcp://host:port) or a Docker context"
                    .to_owned()
            }
            Self::NoPermission { .. } => {
                "add yourself to the group of the socket (usually `docker`), use a rootless engine, or set DOCKER_HOST"
                    .to_owned()
            }
            Self::Unreachable { .. } => {
                "see that the engine runs, e.g. with `docker version`".to_owned()
            }
            Self::AddressNotSupported { named_by, .. } => format!(
                "bring the engine's socket here with `ssh -N -L /tmp/engine.sock:/var/run/docker.sock HOST` and set \
                 DOCKER_HOST=unix:///tmp/engine.sock{}",
                match named_by {
                    NamedBy::Context { .. } => ", or choose another engine with `docker context use`",
                    _ => "; tcp://host:port works without TLS",
                }
            ),
            Self::ContextUnknown { .. } => {
                "see `docker context ls`; choose one with `docker context use` or DOCKER_CONTEXT, or set DOCKER_HOST"
                    .to_owned()
            }
            Self::Elsewhere { there, here, .. } if there == here => {
                "the engine there has been replaced since; with its old data folder it would find it".to_owned()
            }
            Self::Elsewhere { there, .. } => format!("set DOCKER_HOST={there}"),
            Self::Refused { message, .. } if message.contains("no space left") => {
                "make room on the engine's disk, e.g. with `docker system df` and `docker image prune`".to_owned()
            }
            Self::Refused { message, .. } if message.contains("address pool") => {
                "the engine has no range of addresses left for another network: `clnrm services stop --all` in other \
                 projects (`docker network ls --filter label=clnrm.project` lists theirs) and `docker network prune` \
                 free some; the engine's `default-address-pools` says how many there are"
                    .to_owned()
            }
            Self::Refused { .. } => return None,
        })
    }

    /// The same, with what may be behind a refusal.
    #[must_use]
    pub(super) fn because(self, why: Option<&str>) -> Self {
        match (self, why) {
            (
                Self::Refused {
                    action,
                    status,
                    message,
                },
                Some(why),
            ) => Self::Refused {
                action,
                status,
                message: format!("{message} ({why})"),
            },
            (error, _) => error,
        }
    }

    /// An error of the client library while `action` was asked of the engine at `address`.
    pub(super) fn from_client(
        error: bollard::errors::Error,
        action: &'static str,
        address: &str,
    ) -> Self {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => Self::Refused {
                action,
                status: status_code,
                message: one_line(&message),
            },
            Error::DockerStreamError { error } => Self::Refused {
                action,
                status: 0,
                message: one_line(&error),
            },
            Error::RequestTimeoutError => Self::Unreachable {
                address: address.to_owned(),
                message: format!("no answer in time to {action}"),
            },
            other => Self::Unreachable {
                address: address.to_owned(),
                message: innermost(&other),
            },
        }
    }
}

impl From<EngineError> for BackendError {
    fn from(error: EngineError) -> Self {
        let kind = match error.is_unreachable() {
            true => ErrorKind::Unreachable,
            false => ErrorKind::Refused,
        };
        let hint = error.hint();
        Self::new(error, kind, hint)
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The client's errors say "client error" several times over; the innermost one says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    one_line(&innermost.to_string())
}

fn one_of(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", and no ")
}

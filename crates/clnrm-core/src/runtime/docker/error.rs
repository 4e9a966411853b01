//! What can go wrong between clnrm and a container engine, in words that name the way out.

use std::path::PathBuf;

use thiserror::Error;

/// The engine cannot be asked, or refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// No socket of an engine is there.
    #[error("no container engine answers: there is no {}", one_of(.tried))]
    Absent {
        /// Where one was looked for.
        tried: Vec<PathBuf>,
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
    #[error("DOCKER_HOST={address} is not supported")]
    AddressNotSupported {
        /// As given.
        address: String,
    },
    /// The engine said no.
    #[error("the container engine refused to {action}: {message}")]
    Refused {
        /// What was asked for, e.g. `create a container`.
        action: &'static str,
        /// The HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
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

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Absent { .. } => {
                "start Docker or Podman, or name its socket in DOCKER_HOST (unix:///path, tcp://host:port)"
                    .to_owned()
            }
            Self::NoPermission { .. } => {
                "add yourself to the group of the socket (usually `docker`), use a rootless engine, or set DOCKER_HOST"
                    .to_owned()
            }
            Self::Unreachable { .. } => {
                "see that the engine runs, e.g. with `docker version`".to_owned()
            }
            Self::AddressNotSupported { .. } => {
                "use unix:///path or tcp://host:port; for ssh and TLS, forward the engine's socket".to_owned()
            }
            Self::Refused { message, .. } if message.contains("no space left") => {
                "make room on the engine's disk, e.g. with `docker system df` and `docker image prune`".to_owned()
            }
            Self::Refused { .. } => return None,
        })
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
                message: chain(&other),
            },
        }
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The client's errors say "client error" and keep the reason in their sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    one_line(&text)
}

fn one_of(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", and no ")
}

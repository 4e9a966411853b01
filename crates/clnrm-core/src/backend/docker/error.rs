//! What can go wrong between clnrm and a container engine, in words that name the way out.

use std::path::PathBuf;

use thiserror::Error;

use super::address::NamedBy;
use super::registry::PullFault;
use super::request::ContainerRequest;

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
        /// Why.
        message: String,
    },
    /// What is looked for is on another engine than the one that was asked.
    #[error(
        "{container} is on another container engine, at {there}; the one at {here} does not have it"
    )]
    Elsewhere {
        /// The container.
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
        /// The HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
}

/// Why a container could not be started.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// The engine cannot be asked, or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The image is neither here nor to be had.
    #[error("the image `{image}` is not there and cannot be pulled: {message}")]
    ImageAbsent {
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
        /// What they mean.
        fault: PullFault,
    },
    /// Its command is not in the image.
    #[error("the command `{program}` cannot be executed in the image `{image}`: {message}")]
    Command {
        /// The program.
        program: String,
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// A host port is in use.
    #[error("a port of it is taken: {message}")]
    PortTaken {
        /// The engine's words.
        message: String,
    },
    /// The caller wants it no more.
    #[error("its image `{image}` was still being pulled")]
    PullEnded {
        /// The image.
        image: String,
        /// An engine that says nothing while a registry refuses for the moment.
        by_podman: bool,
    },
    /// Somebody removed it while it was started.
    #[error("the container was removed while it was started")]
    Removed,
    /// The lock around the project's network.
    #[error("cannot lock {path}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ContainerError {
    /// What a refusal to start means for this request.
    pub(super) fn from_start(error: EngineError, request: &ContainerRequest) -> Self {
        let EngineError::Refused { message, .. } = &error else {
            return error.into();
        };
        let says = |text: &str| message.contains(text);
        if says("port is already allocated") || says("address already in use") {
            return Self::PortTaken {
                message: message.clone(),
            };
        }
        if says("executable file not found")
            || says("exec: \"")
            || says("permission denied") && says("exec")
        {
            let program = request.command.as_ref().and_then(|command| command.first());
            return Self::Command {
                program: program
                    .cloned()
                    .unwrap_or_else(|| "the image's own".to_owned()),
                image: request.image.clone(),
                message: message.clone(),
            };
        }
        error.into()
    }

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Engine(error) => return error.hint(),
            Self::ImageAbsent { image, fault, .. } => fault.hint(image),
            Self::Command { .. } => {
                "check that the program is in the image; a shell is not, unless the image brings one".to_owned()
            }
            Self::PortTaken { .. } => {
                "stop what listens there, or write the port inside alone (ports = [6379]) to let the engine choose"
                    .to_owned()
            }
            Self::PullEnded {
                image,
                by_podman: false,
            } => {
                format!("pull it beforehand, e.g. with `docker pull {image}`")
            }
            Self::PullEnded { image, .. } => format!(
                "pull it beforehand with `podman pull {image}`: Podman asks a registry that limits pulls (status 429) \
                 again and again, for minutes, before it says so"
            ),
            Self::Removed | Self::Lock { .. } => return None,
        })
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

    /// The way out.
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

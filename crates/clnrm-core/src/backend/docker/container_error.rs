//! Why a container cannot be started, in words that name the way out.

use std::path::PathBuf;

use thiserror::Error;

use super::error::EngineError;
use super::registry::PullFault;
use crate::backend::error::{BackendError, ErrorKind};

/// Why a container could not be started.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// The engine cannot be asked, or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The image is neither here nor to be had.
    #[error("the image `{image}` is not there and cannot be pulled: {message}")]
    ImageAbsent {
        image: String,
        /// The engine's words.
        message: String,
        /// What they mean.
        fault: PullFault,
    },
    /// Its command is not in the image.
    #[error("the command `{program}` cannot be executed in the image `{image}`: {message}")]
    Command {
        program: String,
        image: String,
        /// The engine's words.
        message: String,
    },
    /// It is told the address of a process that does not listen where a container can reach it.
    #[error(
        "what listens on port {port}, of service `{service}`, does so on 127.0.0.1 only, where no container can reach it"
    )]
    OnLoopbackOnly {
        /// The service of that process.
        service: String,
        /// Its port.
        port: u16,
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
        path: PathBuf,
        source: std::io::Error,
    },
}

impl ContainerError {
    /// What a refusal to start that command in that image means.
    pub(super) fn from_start(error: EngineError, command: Option<&[String]>, image: &str) -> Self {
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
            let program = command.and_then(<[String]>::first);
            return Self::Command {
                program: program
                    .cloned()
                    .unwrap_or_else(|| "the image's own".to_owned()),
                image: image.to_owned(),
                message: message.clone(),
            };
        }
        error.into()
    }

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
            Self::OnLoopbackOnly { service, .. } => format!(
                "let `{service}` listen on 0.0.0.0 (in its own command, {{host}} is 127.0.0.1), or give it an `image` too"
            ),
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

impl From<ContainerError> for BackendError {
    fn from(error: ContainerError) -> Self {
        let kind = match &error {
            ContainerError::Engine(error) => return error.clone().into(),
            ContainerError::PortTaken { .. } => ErrorKind::PortTaken,
            ContainerError::PullEnded { .. } => ErrorKind::GivenUp,
            _ => ErrorKind::Refused,
        };
        let hint = error.hint();
        Self::new(error, kind, hint)
    }
}

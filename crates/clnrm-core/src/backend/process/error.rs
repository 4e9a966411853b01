//! What can go wrong between clnrm and its process trees.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::backend::error::{BackendError, ErrorKind};

/// Why an instance could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
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
    NoWorkingDirectory { path: PathBuf },
    /// The instance's folder could not be made or written.
    #[error("cannot write the instance's folder {path}")]
    InstanceFolder { path: PathBuf, source: io::Error },
    /// The supervisor could not be started.
    #[error("cannot start the supervisor {program}")]
    Shim { program: PathBuf, source: io::Error },
    /// The supervisor ended before it could say how the start went.
    #[error("the supervisor of {id} ended during the start")]
    ShimLost { id: String },
}

/// Why an instance could not be stopped.
#[derive(Debug, Error)]
pub enum StopError {
    /// Its folder cannot be read.
    #[error("cannot read the instance's folder {path}")]
    Folder { path: PathBuf, source: io::Error },
    /// Its supervisor belongs to another user.
    #[error("no permission to stop {id} (pid {pid}): it was started by another user")]
    NotOurs { id: String, pid: i32 },
    /// The operating system refused.
    #[error("cannot signal the supervisor of {id}")]
    Signal { id: String, source: io::Error },
    /// Processes of the instance survived SIGKILL (they hang in the kernel).
    #[error("{} processes of {id} survive SIGKILL: {}", survivors.len(), survivors.join(", "))]
    Survivors {
        id: String,
        /// Names and pids.
        survivors: Vec<String>,
    },
}

/// The machinery failed, not the command.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The supervisor could not be started.
    #[error("cannot start the supervisor {program}")]
    Shim { program: PathBuf, source: io::Error },
    /// The supervisor ended without saying how the command did.
    #[error("the supervisor of `{id}` was killed")]
    ShimLost {
        /// The step or probe.
        id: String,
    },
}

impl From<SpawnError> for BackendError {
    fn from(error: SpawnError) -> Self {
        let hint = match &error {
            SpawnError::CommandNotFound { program } if program.contains('/') => Some(format!(
                "check the path `{program}`; relative ones start from the test file's folder"
            )),
            SpawnError::CommandNotFound { program } => Some(format!(
                "install `{program}`, or write its path; PATH is passed on to services"
            )),
            SpawnError::CommandNotExecutable { program, .. } => {
                Some(format!("check that `{program}` is executable"))
            }
            _ => None,
        };
        Self::new(error, ErrorKind::Refused, hint)
    }
}

impl From<StopError> for BackendError {
    fn from(error: StopError) -> Self {
        Self::new(error, ErrorKind::Refused, None)
    }
}

impl From<CommandError> for BackendError {
    fn from(error: CommandError) -> Self {
        Self::new(error, ErrorKind::Refused, None)
    }
}

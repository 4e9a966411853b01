//! Why a command on services that run failed.

use thiserror::Error;

use super::selection::SelectionError;
use crate::exit::{Exit, Fatal};
use crate::lifecycle::StartFailure;
use crate::lifecycle::recover::RecoverError;
use crate::lifecycle::stop::EndError;
use crate::store::StoreError;

/// Why a command on services failed.
#[derive(Debug, Error)]
pub enum ManageError {
    /// The state before could not be established.
    #[error("cannot put the project in order")]
    Recover(#[from] RecoverError),
    /// A name that matches nothing.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A job has no load, and no number of instances.
    #[error("only jobs are selected: they run once for each test, and are not managed")]
    OnlyJobs,
    #[error("cannot read or write the history")]
    Store(#[from] StoreError),
    /// Nothing runs that could be restarted.
    #[error("no instance of `{service}` is running")]
    NotRunning { service: String },
    /// There is nothing to restart.
    #[error(
        "`{service}` is a job: it runs before the services that wait for it, and is not restarted"
    )]
    Job { service: String },
    /// An instance could not be stopped.
    #[error(transparent)]
    Stop(#[from] EndError),
    /// The new instance did not start.
    #[error(transparent)]
    Start(#[from] StartFailure),
}

impl Fatal for ManageError {
    fn behind(&self) -> Option<&dyn Fatal> {
        match self {
            Self::Recover(error) => Some(error),
            Self::Selection(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Stop(error) => Some(error),
            Self::Start(failure) => Some(failure),
            Self::OnlyJobs | Self::NotRunning { .. } | Self::Job { .. } => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::OnlyJobs | Self::Job { .. } => Exit::Usage,
            Self::NotRunning { .. } => Exit::ServiceFailed,
            _ => self.behind().map_or(Exit::Internal, |error| error.exit()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning { .. } => {
                Some("`clnrm run --keep` starts it and leaves it up".to_owned())
            }
            _ => self.behind().and_then(|error| error.hint()),
        }
    }
}

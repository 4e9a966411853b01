//! Every error that ends a command, with its exit code and its way out.

use std::io;
use std::path::PathBuf;

use clnrm_demo::load::LoadError;
use clnrm_demo::server::ServeError;
use clnrm_demo::target::TargetError;
use thiserror::Error;

use super::exit::Exit;
use crate::config::ConfigError;
use crate::config::discovery::DiscoveryError;
use crate::config::project::ProjectError;
use crate::lifecycle::guard::GuardError;
use crate::lifecycle::recover::RecoverError;
use crate::manage::ManageError;
use crate::manage::services::ServicesError;
use crate::runner::RunError;
use crate::store::StoreError;

/// Ends a command.
#[derive(Debug, Error)]
pub(super) enum CliError {
    /// Test files could not be found.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A test file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Several test files are wrong; each was printed.
    #[error("{count} test files cannot be read")]
    SeveralFiles {
        /// How many.
        count: usize,
    },
    /// The project's settings are wrong.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The history cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `run` could not begin.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The project's instances could not be put in order.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The guard cannot go on.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// `services …` failed.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// `ai-manage` failed.
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// `demo serve` failed.
    #[error(transparent)]
    DemoServe(#[from] ServeError),
    /// `demo load` failed.
    #[error(transparent)]
    DemoLoad(#[from] LoadError),
    /// `demo load --target` is wrong.
    #[error("`{text}` is not a target")]
    DemoTarget {
        /// As given.
        text: String,
        /// Why.
        source: TargetError,
    },
    /// The demonstration itself did not work.
    #[error("the demonstration's services were never measured")]
    DemoNotMeasured,
    /// `init` would overwrite a file.
    #[error("{path} exists already")]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder cannot be used.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The machine does not offer what is needed.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The report could not be written.
    #[error("cannot write the report")]
    Output(#[from] io::Error),
}

impl CliError {
    pub(super) fn exit(&self) -> Exit {
        if let Some(error) = self.store_error() {
            // What a person can mend is no internal error.
            return if error.hint().is_some() {
                Exit::Usage
            } else {
                Exit::Internal
            };
        }
        match self {
            Self::Discovery(DiscoveryError::NothingFound { .. }) => Exit::NothingSelected,
            Self::Discovery(_) | Self::Config(_) | Self::SeveralFiles { .. } | Self::Project(_) => {
                Exit::Usage
            }
            Self::DemoTarget { .. } | Self::FileExists { .. } => Exit::Usage,
            Self::Services(error) => match error {
                ServicesError::Selection(_) | ServicesError::Job { .. } => Exit::Usage,
                ServicesError::NotRunning { .. } | ServicesError::Start(_) => Exit::ServiceFailed,
                ServicesError::Stop(_) => Exit::Leak,
                ServicesError::Recover(_) | ServicesError::Store(_) => Exit::Internal,
            },
            Self::Manage(ManageError::Selection(_) | ManageError::OnlyJobs) => Exit::Usage,
            Self::Manage(_)
            | Self::Store(_)
            | Self::Run(_)
            | Self::Recover(_)
            | Self::Guard(_)
            | Self::DemoServe(_)
            | Self::DemoLoad(_)
            | Self::DemoNotMeasured
            | Self::File { .. }
            | Self::System { .. }
            | Self::Output(_) => Exit::Internal,
        }
    }

    /// Why a history that may be sound cannot be written.
    pub(super) fn unwritable(&self) -> Option<&StoreError> {
        self.store_error().filter(|error| error.is_unwritable())
    }

    /// The error of the history that is behind this one.
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error)
            | Self::Run(RunError::Store(error) | RunError::Recover(RecoverError::Store(error)))
            | Self::Recover(RecoverError::Store(error))
            | Self::Guard(
                GuardError::Store(error) | GuardError::Recover(RecoverError::Store(error)),
            )
            | Self::Manage(
                ManageError::Store(error) | ManageError::Recover(RecoverError::Store(error)),
            )
            | Self::Services(
                ServicesError::Store(error) | ServicesError::Recover(RecoverError::Store(error)),
            ) => Some(error),
            _ => None,
        }
    }

    /// The way out, where one is known.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Discovery(DiscoveryError::NothingFound { .. }) => {
                Some("`clnrm init` writes a first test file; a file given by name may be called anything".to_owned())
            }
            Self::FileExists { .. } => Some("--force replaces it".to_owned()),
            Self::DemoTarget { .. } => Some("write 'http://127.0.0.1:8080/work,rate=40..180'".to_owned()),
            Self::Manage(ManageError::Selection(error)) | Self::Services(ServicesError::Selection(error)) => {
                error.hint()
            }
            Self::Services(ServicesError::NotRunning { .. }) => {
                Some("`clnrm run --keep` starts it and leaves it up".to_owned())
            }
            Self::Services(ServicesError::Start(failure)) => failure.hint(),
            Self::Services(ServicesError::Stop(error)) => error.hint(),
            _ => self.store_error().and_then(StoreError::hint),
        }
    }
}

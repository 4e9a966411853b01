//! What ends a command: any error that knows how, with its exit code and its way out.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::path::PathBuf;

use clnrm_demo::load::LoadError;
use clnrm_demo::server::ServeError;
use clnrm_demo::target::TargetError;
use thiserror::Error;

use crate::exit::{Exit, Fatal};
use crate::store::StoreError;

#[derive(Debug)]
pub struct CliError {
    pub(super) exit: Exit,
    pub(super) hint: Option<String>,
    pub(super) error: Box<dyn Error + Send + Sync>,
}

impl<E: Fatal + Send + Sync + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        Self {
            exit: error.exit(),
            hint: error.hint(),
            error: Box::new(error),
        }
    }
}

impl CliError {
    /// Why a history that may be sound cannot be written.
    pub(super) fn unwritable(&self) -> Option<&StoreError> {
        let error: &(dyn Error + 'static) = self.error.as_ref();
        successors(Some(error), |error| (*error).source())
            .find_map(|error| error.downcast_ref::<StoreError>())
            .filter(|error| error.is_unwritable())
    }

    /// Whether whoever reads the report has gone.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(
            self.error.downcast_ref(),
            Some(CommandFailure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe
        )
    }
}

/// What goes wrong in the commands themselves.
#[derive(Debug, Error)]
pub(super) enum CommandFailure {
    #[error("{count} test files cannot be read")]
    SeveralFiles { count: usize },
    #[error("`{text}` is not a target")]
    DemoTarget { text: String, source: TargetError },
    #[error("the demonstration's services were never measured")]
    DemoNotMeasured,
    #[error("{path} exists already")]
    FileExists { path: PathBuf },
    #[error("cannot {what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot {what}")]
    System {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot write the report")]
    Output(#[source] io::Error),
}

impl Fatal for CommandFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::SeveralFiles { .. } | Self::DemoTarget { .. } | Self::FileExists { .. } => {
                Exit::Usage
            }
            Self::DemoNotMeasured | Self::File { .. } | Self::System { .. } | Self::Output(_) => {
                Exit::Internal
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::DemoTarget { .. } => "write 'http://127.0.0.1:8080/work,rate=40..180'",
            Self::FileExists { .. } => "--force replaces it",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl Fatal for ServeError {}
impl Fatal for LoadError {}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        CommandFailure::Output(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BackendError, ErrorKind};
    use crate::lifecycle::recover::RecoverError;
    use crate::lifecycle::stop::EndError;
    use crate::manage::ManageError;
    use crate::store::InstanceId;

    fn full_disk() -> StoreError {
        StoreError::DiskFull {
            path: "/p/.clnrm/state.db".into(),
            operation: "record an end",
            source: io::Error::from(io::ErrorKind::StorageFull).into(),
        }
    }

    #[test]
    fn a_history_that_fails_while_stopping_is_no_leak_and_has_a_way_out() {
        let ended = || EndError::Store {
            id: InstanceId("api-1".to_owned()),
            source: full_disk(),
        };
        let errors: [CliError; 3] = [
            ManageError::Stop(ended()).into(),
            ManageError::Recover(RecoverError::Instance(ended())).into(),
            full_disk().into(),
        ];
        for error in errors {
            assert_eq!(error.exit, Exit::Usage, "{error:?}");
            assert_eq!(error.hint, full_disk().hint());
            assert!(error.unwritable().is_some());
        }
    }

    #[test]
    fn what_survived_is_a_leak_of_who_stops_it_and_a_failure_of_who_meant_something_else() {
        let survived = || EndError::Stop {
            id: InstanceId("api-1".to_owned()),
            source: BackendError::new(
                io::Error::from(io::ErrorKind::Other),
                ErrorKind::Refused,
                None,
            ),
        };
        assert_eq!(
            CliError::from(ManageError::Stop(survived())).exit,
            Exit::Leak
        );
        let recovering = CliError::from(RecoverError::Instance(survived()));
        assert_eq!(recovering.exit, Exit::Internal);
        assert!(recovering.unwritable().is_none());
    }
}

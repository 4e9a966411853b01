//! How a command ends: the exit codes that `docs/reference.md` lists, and the errors that know theirs.

use std::error::Error;
use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Good,
    TestFailed,
    /// A mistake on the command line or in a file, or something else that a person can mend.
    Usage,
    /// A service failed or never became ready.
    ServiceFailed,
    NothingSelected,
    Leak,
    Internal,
    /// A signal ended it, the number of which this is.
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::TestFailed => 1,
            Exit::Usage => 2,
            Exit::ServiceFailed => 3,
            Exit::NothingSelected => 4,
            Exit::Leak => 6,
            Exit::Internal => 70,
            Exit::Signal(signal) => 128_u8.saturating_add(signal),
        })
    }
}

/// An error that may end a command. It says how, and the way out where one is known.
pub trait Fatal: Error {
    /// The error that this one only passes on: it knows better.
    fn behind(&self) -> Option<&dyn Fatal> {
        None
    }

    fn exit(&self) -> Exit {
        self.behind().map_or(Exit::Internal, |error| error.exit())
    }

    /// The way out, as one line for a person.
    fn hint(&self) -> Option<String> {
        self.behind().and_then(|error| error.hint())
    }
}

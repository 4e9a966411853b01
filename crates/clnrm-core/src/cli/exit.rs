//! Exit codes. `docs/reference.md` lists them.

use std::process::ExitCode;

use crate::runner::result::RunReport;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Everything is well.
    Good,
    /// A test failed.
    TestFailed,
    /// A mistake on the command line or in a file.
    Usage,
    /// A service failed or never became ready.
    ServiceFailed,
    /// No test was selected.
    NothingSelected,
    /// Something was left behind.
    Leak,
    /// clnrm itself failed.
    Internal,
    /// A signal ended it.
    Signal(u8),
}

impl Exit {
    /// Of a finished run. A leak outweighs a failed test, which outweighs a failed service.
    pub(super) fn of_run(report: &RunReport, signal: Option<u8>) -> Self {
        match signal {
            Some(signal) => Self::Signal(signal),
            None if !report.leaks.leaked.is_empty() => Self::Leak,
            None if report.summary.failed + report.summary.contaminated > 0 => Self::TestFailed,
            None if report.summary.errors > 0 => Self::ServiceFailed,
            None => Self::Good,
        }
    }
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

//! Why tests and steps did not pass, as values that a record keeps. Deliberately absent: words, which are `report`'s.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::milliseconds;
use crate::backend::ExitStatus;
use crate::config::definition::ExpectedEnd;
use crate::text;

/// Why a test did not pass, with what was seen besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestCause {
    #[serde(flatten)]
    pub reason: TestReason,
    /// Containers that somebody paused, say, or whose own health check failed: often why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ServiceCondition>,
    /// What a second attempt on fresh instances showed, where it did not simply fail too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_attempt: Option<SecondAttempt>,
}

/// Why a test did not pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum TestReason {
    Interrupted,
    /// An earlier test did not pass.
    FailFast,
    /// Another file of the run could not be read, so nothing was run.
    OtherFileUnread,
    /// Its own file is wrong, or the run could not begin.
    NotRun {
        message: String,
    },
    ServiceNotStarted {
        service: String,
    },
    /// When the test's time was up.
    ServiceNotReady {
        service: String,
        #[serde(rename = "limit_ms", with = "milliseconds")]
        limit: Duration,
    },
    ServiceDied {
        service: String,
    },
    TimeUp {
        #[serde(rename = "limit_ms", with = "milliseconds")]
        limit: Duration,
    },
    StepFailed {
        step: String,
    },
    /// An assertion of older test files.
    TooFewCommands {
        executed: usize,
        wanted: u32,
    },
}

/// A service that was not well when the steps were done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceCondition {
    pub service: String,
    /// `unhealthy`, `paused` or `restarting`.
    pub condition: String,
}

/// A test that failed on used instances was run once more on fresh ones, and did not simply fail again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum SecondAttempt {
    /// It could not be made.
    NotMade { why: Option<Box<TestCause>> },
    /// It passed, and an instance of this service had ended under the first one.
    PassedAfterAnEnd { service: String },
    /// It passed: others had spoiled the instances of the first.
    Passed,
}

/// Why a step failed or was skipped, with what was seen besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCause {
    #[serde(flatten)]
    pub reason: StepReason,
    /// Containers that ran out of memory meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out_of_memory: Vec<MemoryKill>,
}

/// Processes of a container that the kernel killed for want of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryKill {
    pub service: String,
    /// What the container may have; `None` = as much as the machine has.
    pub memory_bytes: Option<u64>,
    pub processes: u64,
}

/// Why a step failed or was skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum StepReason {
    /// Skipped with its whole test.
    TestNotRun {
        cause: TestReason,
    },
    /// Skipped: the services of its test did not start.
    ServicesNotStarted,
    /// Skipped: its test was ended before it.
    TestEnded,
    /// Skipped: this earlier one failed.
    EarlierStepFailed {
        step: String,
    },
    /// Skipped: this one, on which it depends, did not pass.
    DependencyNotPassed {
        step: String,
    },
    /// The end of its test ended it.
    Ended(EndedDuring),
    TimedOut {
        #[serde(rename = "limit_ms", with = "milliseconds")]
        limit: Duration,
    },
    /// The container that it ran in ended under it.
    ContainerEnded {
        service: String,
        how: String,
    },
    NoWorkingDirectory {
        #[serde(serialize_with = "text::serialize_path")]
        path: PathBuf,
    },
    /// `container` = the service inside whose container it was looked for.
    NoSuchCommand {
        program: String,
        container: Option<String>,
    },
    NotExecutable {
        program: String,
        message: String,
    },
    WrongEnd {
        ended: ExitStatus,
        expected: ExpectedEnd,
    },
    /// Its output, or the body of an answer.
    WrongText(WrongText),
    /// `expected: None` = any 2xx.
    WrongStatus {
        status: u16,
        expected: Option<u16>,
    },
    NoHeader {
        header: String,
    },
    WrongHeader {
        header: String,
        value: String,
        pattern: String,
    },
    /// What somebody else said: an engine, the system, a server.
    Other {
        message: String,
    },
}

/// What the end of a test interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "during", rename_all = "snake_case")]
pub enum EndedDuring {
    Command,
    Request,
    /// The pause between two attempts.
    Pause,
}

/// A text that is not what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongText {
    pub of: TextOf,
    pub violation: Violation,
    /// The text or pattern that was expected or ruled out.
    pub expected: String,
    /// Bytes that were looked at, and bytes beyond the limit that were not; `None` = all were.
    pub cut: Option<(usize, u64)>,
    /// The expectation is about colour codes or carriage returns, which are left out.
    pub without_codes: bool,
}

/// Whose text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextOf {
    Output,
    Body,
}

/// How a text breaks an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    DoesNotContain,
    DoesNotMatch,
    Matches,
    /// It must not match, and not all of it was looked at.
    MayMatch,
}

impl From<TestReason> for TestCause {
    fn from(reason: TestReason) -> Self {
        Self {
            reason,
            conditions: Vec::new(),
            second_attempt: None,
        }
    }
}

impl From<StepReason> for StepCause {
    fn from(reason: StepReason) -> Self {
        Self {
            reason,
            out_of_memory: Vec::new(),
        }
    }
}

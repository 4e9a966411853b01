//! What a test does when its services are ready, and what it expects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::launch::CommandLine;
use crate::config::signal;

/// One step of a test. Its placeholders name their service: loading has made `{port}` into `{cache.port}`.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDefinition {
    pub name: String,
    pub action: StepAction,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// What happens after a failed attempt.
    pub retry: Retry,
    /// Whether later steps run although this one failed.
    pub continue_on_failure: bool,
    /// Names of earlier steps that must have passed, else this one is skipped.
    pub depends_on: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub max_attempts: u32,
    pub delay: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepAction {
    /// Runs a command, on this machine or inside a container.
    Command(CommandStep),
    Http(HttpStep),
}

/// A command and what is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandStep {
    pub command: CommandLine,
    /// The service in whose place it runs: inside its container, or with the environment and data directory of its
    /// process.
    pub service: Option<String>,
    /// Added to the inherited environment.
    pub env: BTreeMap<String, String>,
    /// Variables that it gets from the caller, where that has them; inside a container nothing else of the caller's is there.
    pub env_of_caller: BTreeSet<String>,
    /// Working directory, relative to the folder of the test file; absolute inside a container. `None` = that folder,
    /// the service's own, or the image's.
    pub working_dir: Option<PathBuf>,
    /// How it must end (with exit code 0 unless the file says otherwise).
    pub end: ExpectedEnd,
    /// Expectations on the output (stdout and stderr as they came).
    pub output: Expectations,
}

/// How a command must end. A signal and the code that a shell makes of it are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedEnd {
    Code(i32),
    /// By the signal of this number.
    Signal(i32),
}

impl ExpectedEnd {
    /// What a shell's `$?` shows of it.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal::shell_code(signal),
        }
    }
}

/// A request and what is expected of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpStep {
    /// `http://…`; may hold placeholders.
    pub url: String,
    /// GET, POST, …
    pub method: String,
    /// Request headers; values may hold placeholders.
    pub headers: BTreeMap<String, String>,
    /// Request body; may hold placeholders.
    pub body: Option<String>,
    /// Expected status; `None` = any 2xx.
    pub status: Option<u16>,
    pub body_expectations: Expectations,
    /// Expected answer headers: name → regular expression.
    pub header_regex: BTreeMap<String, String>,
}

/// Expectations on text, without placeholders. Regular expressions were compiled once when the file was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectations {
    /// Must match somewhere (multi-line mode is up to the pattern).
    pub regex: Option<String>,
    pub regex_not: Option<String>,
    pub contains: Option<String>,
    /// Matched with its escape sequences and carriage returns, which are left out otherwise.
    pub raw: bool,
}

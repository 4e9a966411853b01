//! A command that is run to its end, in whatever place: what it takes, and what became of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::exit::ExitStatus;

/// Output is kept up to this size for expectations; the rest is counted and dropped.
pub const OUTPUT_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// A command to run to its end.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// Names the step or probe.
    pub id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Where to run it; `None` = where the runtime runs things: the image's own folder, `/` for a process.
    pub working_dir: Option<PathBuf>,
    /// Longest time.
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct CommandResult {
    pub outcome: CommandOutcome,
    /// Its output, stdout and stderr as they came, at most [`OUTPUT_LIMIT_BYTES`] from the start.
    pub output: Vec<u8>,
    /// Bytes of output beyond that.
    pub output_dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    Exited(ExitStatus),
    /// It was ended after its timeout.
    TimedOut,
    /// It was ended because its caller wanted that.
    Cancelled,
    /// It could not be executed.
    NotStarted {
        message: String,
        /// `ENOENT`: there is no such program (or no such interpreter).
        not_found: bool,
    },
}

//! What a shim is told, what it answers, and what it leaves on disk.
//!
//! The starter writes one [`ShimSpec`] line to the shim's stdin; the shim writes [`ShimEvent`] lines to its stdout
//! and, for an instance, [`ShimRecord`] and [`ExitRecord`] files into the instance's folder, where a later command
//! finds them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::definition::{LogPattern, StopSpec};
use crate::config::signal;
use crate::procfs::ProcessIdentity;

/// The hidden subcommand under which the binary becomes a shim.
pub const SHIM_SUBCOMMAND: &str = "__shim";
/// Set in the environment of everything that an instance starts.
pub const INSTANCE_VARIABLE: &str = "CLNRM_INSTANCE_ID";

/// How the kernel ends what has run out of memory.
const SIGKILL: i32 = 9;
/// Tells a shim to end its tree without the grace period that SIGTERM gives it.
pub const END_NOW: Signal = Signal::QUIT;

const SHIM_FILE: &str = "shim.json";
const EXIT_FILE: &str = "exit.json";

/// What to run and how to end it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShimSpec {
    /// The instance or step, for the tree's mark.
    pub id: String,
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: BTreeMap<String, String>,
    /// Where to run it.
    pub working_dir: PathBuf,
    /// Where its output goes.
    pub output: ShimOutput,
    /// Lines of its output that the starter waits for.
    pub log_patterns: Vec<LogPattern>,
    /// How it is asked to stop.
    pub stop: StopSpec,
    /// `Some`: write records into this folder. `None`: a step, which ends when its starter does.
    pub record_dir: Option<PathBuf>,
}

/// Where the output of the tree goes.
#[derive(Debug, Serialize, Deserialize)]
pub enum ShimOutput {
    /// To a log file with a size cap, written by the shim.
    Log { path: PathBuf, limit_bytes: u64 },
    /// To the shim's own stderr, which the starter reads.
    Stderr,
}

/// What a shim tells its starter, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
pub enum ShimEvent {
    /// The program runs.
    Spawned(ShimRecord),
    /// The program could not be executed; the shim ends.
    SpawnFailed(SpawnFailure),
    /// How many lines have matched each pattern, whenever that changes.
    LinesSeen(Vec<u32>),
    /// The program itself ended (its descendants may live on).
    MainExited(ExitStatus),
    /// Nothing of the tree is left; the shim ends.
    Ended(ExitRecord),
}

/// Why a program could not be executed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpawnFailure {
    /// The operating system's number, where there is one.
    pub os_error: Option<i32>,
    /// The operating system's words.
    pub message: String,
}

/// Who supervises an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimRecord {
    /// The shim.
    pub shim: ProcessIdentity,
    /// The service's main process; `None` until it was spawned.
    pub main_pid: Option<i32>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// The kernel killed a container that had reached its limit of memory.
    OutOfMemory,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Of the main process.
    pub status: ExitStatus,
    /// It was asked to stop.
    pub requested: bool,
    /// SIGKILL was needed.
    pub killed: bool,
    /// UTC milliseconds.
    pub at_ms: i64,
    /// Bytes of output that could not be written to the log.
    pub log_bytes_lost: u64,
}

impl ExitStatus {
    /// Exit code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// What a shell's `$?` shows of it.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal::shell_code(signal),
            Self::OutOfMemory => signal::shell_code(SIGKILL),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal::name_of(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Self::OutOfMemory => f.write_str("signal 9 (SIGKILL: out of memory)"),
        }
    }
}

impl ShimRecord {
    /// Writes the record into an instance's folder; it is there whole or not at all.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_whole(dir, SHIM_FILE, self)
    }

    /// Whether the record is there: `false` only where it surely is not.
    pub fn is_in(dir: &Path) -> bool {
        !matches!(fs::symlink_metadata(dir.join(SHIM_FILE)), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// The record of an instance's folder; `None` where no shim ever got that far.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        read_json(&dir.join(SHIM_FILE))
    }
}

impl ExitRecord {
    /// Writes the record into an instance's folder; it is there whole or not at all.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_whole(dir, EXIT_FILE, self)
    }

    /// The record of an instance's folder; `None` where it has not ended (or its shim was killed).
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        read_json(&dir.join(EXIT_FILE))
    }
}

fn write_whole(dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    drop(file);
    fs::rename(&temporary, dir.join(name))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_way_through_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ExitRecord::read(dir.path()).unwrap(), None);
        let record = ExitRecord {
            status: ExitStatus::Signal(9),
            requested: true,
            killed: true,
            at_ms: 7,
            log_bytes_lost: 0,
        };
        record.write(dir.path()).unwrap();
        assert_eq!(ExitRecord::read(dir.path()).unwrap(), Some(record));
        assert_eq!(record.status.to_string(), "signal 9 (SIGKILL)");
    }

    #[test]
    fn a_record_cannot_be_written_into_a_folder_that_recovery_took_away() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let record = ShimRecord {
            shim: ProcessIdentity {
                pid: 1,
                start_ticks: 1,
                boot_id: String::new(),
            },
            main_pid: None,
        };
        assert!(record.write(&gone).is_err());
    }
}

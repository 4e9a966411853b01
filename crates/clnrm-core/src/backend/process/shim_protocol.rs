//! What a shim is told, what it answers, and what it leaves on disk.
//!
//! The starter writes one [`ShimSpec`] line to the shim's stdin; the shim writes [`ShimEvent`] lines to its stdout
//! and, for an instance, [`ShimRecord`] and [`ExitRecord`] files into the instance's folder, where a later command
//! finds them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::backend::exit::{ExitRecord, ExitStatus};
use crate::config::definition::{LogPattern, StopSpec};
use crate::folder::{read_json, write_whole};
use crate::procfs::ProcessIdentity;

/// The hidden subcommand under which the binary becomes a shim.
pub const SHIM_SUBCOMMAND: &str = "__shim";
/// Set in the environment of everything that an instance starts.
pub const INSTANCE_VARIABLE: &str = "CLNRM_INSTANCE_ID";

/// Tells a shim to end its tree without the grace period that SIGTERM gives it.
pub const END_NOW: Signal = Signal::QUIT;

const SHIM_FILE: &str = "shim.json";

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
    pub shim: ProcessIdentity,
    /// The service's main process; `None` until it was spawned.
    pub main_pid: Option<i32>,
}

/// In an instance's folder: nobody is to start there any more.
const GIVEN_UP: &str = "given-up";

/// Whoever finds no record in `dir` says that none may come. After this, either there is a record, or no shim will
/// ever begin there: each of the two looks for what the other writes after it has written its own.
pub(super) fn give_up(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(GIVEN_UP), "")
}

impl ShimRecord {
    /// Writes the record of a shim that is about to begin.
    pub fn begin(&self, dir: &Path) -> io::Result<()> {
        self.write(dir)?;
        match dir.join(GIVEN_UP).exists() {
            true => Err(io::Error::other("another command has given up this start")),
            false => Ok(()),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shim_begins_where_recovery_gave_up_or_there_is_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let record = ShimRecord {
            shim: ProcessIdentity {
                pid: 1,
                start_ticks: 1,
                boot_id: String::new(),
            },
            main_pid: None,
        };
        assert!(record.begin(&dir.path().join("gone")).is_err());
        record.begin(dir.path()).unwrap();
        give_up(dir.path()).unwrap();
        assert!(record.begin(dir.path()).is_err());
    }
}

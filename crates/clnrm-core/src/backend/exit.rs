//! How processes and instances end, and the file in an instance's folder that says so.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::signal;
use crate::folder::{read_json, write_whole};

/// How the kernel ends what has run out of memory.
const SIGKILL: i32 = 9;
const EXIT_FILE: &str = "exit.json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
    /// The kernel killed a container that had reached its limit of memory.
    OutOfMemory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
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
}

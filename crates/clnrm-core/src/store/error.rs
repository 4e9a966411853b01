//! What can go wrong with the history, and the way out of it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

use crate::exit::{Exit, Fatal};

/// A failure of the history. `path` is the database unless its text says otherwise.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Not a database, cut off, or a page of it is broken. It was left as it is.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        path: PathBuf,
        /// What SQLite says about it.
        detail: String,
    },
    /// A sound database that something else made. It was left as it is.
    #[error("{} belongs to another program (application id {application_id})", path.display())]
    Foreign {
        path: PathBuf,
        /// What it says it is; 0 = nothing.
        application_id: i32,
    },
    /// Its schema is from a later version. It was left as it is.
    #[error("{} was written by a newer clnrm (schema {found}, this one knows {known})", path.display())]
    Newer {
        path: PathBuf,
        /// The schema of the file.
        found: i32,
        /// The newest schema that this program knows.
        known: i32,
    },
    /// No space is left; the transaction was undone.
    #[error("the disk is full: cannot {operation} in {}", path.display())]
    DiskFull {
        path: PathBuf,
        operation: &'static str,
        source: Cause,
    },
    /// A directory or file cannot be created, opened or written.
    #[error("cannot write {}", path.display())]
    NotWritable { path: PathBuf, source: Cause },
    /// Its newest rows are in a write-ahead log that cannot be read where nothing can be written.
    #[error("cannot read {}: it was not closed, and its folder cannot be written", path.display())]
    NeedsCopy {
        path: PathBuf,
        source: rusqlite::Error,
    },
    /// Somebody deleted it while this command used it.
    #[error("{} was deleted while it was in use, with all that it recorded", path.display())]
    Deleted { path: PathBuf },
    /// Other commands held the database for longer than anyone should.
    #[error("cannot {operation}: {} stayed locked for {seconds} s", path.display())]
    Busy {
        path: PathBuf,
        operation: &'static str,
        seconds: u64,
    },
    /// A row holds what this program cannot read.
    #[error("cannot {operation}: {} holds an unreadable value", path.display())]
    Unreadable {
        path: PathBuf,
        operation: &'static str,
        /// The column and what is wrong with it.
        source: rusqlite::Error,
    },
    /// A path that cannot be recorded as text.
    #[error("{} is not UTF-8, so it cannot be recorded", path.display())]
    NotUtf8 { path: PathBuf },
    /// An instance that was never journalled, or was already forgotten.
    #[error("{} knows no instance {instance}", path.display())]
    UnknownInstance {
        path: PathBuf,
        /// The id that was asked for.
        instance: String,
    },
    /// The program is shutting down; the operation did not begin.
    #[error("{} was not asked: the program is shutting down", path.display())]
    ShuttingDown { path: PathBuf },
    /// Anything else that SQLite reports.
    #[error("cannot {operation} in {}", path.display())]
    Sqlite {
        path: PathBuf,
        operation: &'static str,
        source: rusqlite::Error,
    },
}

#[derive(Debug, Error)]
#[error(transparent)]
pub enum Cause {
    Io(#[from] io::Error),
    Sqlite(#[from] rusqlite::Error),
}

/// How long a command waits for its turn to write. Measured worst wait of eight busy writers: 8 s.
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// `SQLITE_IOERR_SHMSIZE`: the wal-index could not grow, which only a full disk causes.
const SHARED_MEMORY_FULL: i32 = 4874;
/// `SQLITE_IOERR_WRITE` and `SQLITE_IOERR_SHMOPEN`: the system refuses to write (a quota, say), or to make the index.
const REFUSED_WRITES: [i32; 2] = [778, 4618];

impl StoreError {
    /// Sorts an error of SQLite by what a person can do about it.
    pub(super) fn from_sqlite(
        path: &Path,
        operation: &'static str,
        source: rusqlite::Error,
    ) -> Self {
        let path = path.to_path_buf();
        match source {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => Self::Unreadable {
                path,
                operation,
                source,
            },
            rusqlite::Error::SqliteFailure(failure, ref message) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged {
                    path,
                    detail: message.clone().unwrap_or_else(|| failure.to_string()),
                },
                ErrorCode::DiskFull => Self::DiskFull {
                    path,
                    operation,
                    source: source.into(),
                },
                ErrorCode::SystemIoFailure if failure.extended_code == SHARED_MEMORY_FULL => {
                    Self::DiskFull {
                        path,
                        operation,
                        source: source.into(),
                    }
                }
                ErrorCode::SystemIoFailure if REFUSED_WRITES.contains(&failure.extended_code) => {
                    Self::NotWritable {
                        path,
                        source: source.into(),
                    }
                }
                ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                    Self::NotWritable {
                        path,
                        source: source.into(),
                    }
                }
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy {
                    path,
                    operation,
                    seconds: BUSY_TIMEOUT.as_secs(),
                },
                _ => Self::Sqlite {
                    path,
                    operation,
                    source,
                },
            },
            _ => Self::Sqlite {
                path,
                operation,
                source,
            },
        }
    }

    /// Sorts an error of the file system; `path` is what could not be created or written.
    pub(super) fn from_io(path: &Path, operation: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path,
                operation,
                source: source.into(),
            },
            _ => Self::NotWritable {
                path,
                source: source.into(),
            },
        }
    }

    /// Whether the history may be sound and is only not to be written.
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::NotWritable { .. } | Self::DiskFull { .. })
    }
}

impl Fatal for StoreError {
    /// What a person can mend is no internal error.
    fn exit(&self) -> Exit {
        match self.hint() {
            Some(_) => Exit::Usage,
            None => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. } | Self::Unreadable { path, .. } => Some(format!(
                "start a new history by moving this one away (the next command ends what still runs): {}",
                move_away(path)
            )),
            Self::Newer { path, .. } => Some(format!(
                "use the newer clnrm, or move its history away: {}",
                move_away(path)
            )),
            Self::Foreign { .. } => {
                Some("set CLNRM_STATE_DIR to a directory that only clnrm uses".into())
            }
            Self::DiskFull { path, .. } => Some(format!(
                "free some space, or set CLNRM_STATE_DIR to a directory on another disk (df {})",
                shell_quoted(path.parent().unwrap_or(path))
            )),
            Self::NotWritable { .. } => {
                Some("set CLNRM_STATE_DIR to a directory that you may write to".into())
            }
            Self::NeedsCopy { path, .. } => Some(format!(
                "look at a copy of it: cp -r {} COPY && CLNRM_STATE_DIR=$PWD/COPY clnrm services status",
                shell_quoted(path.parent().unwrap_or(path))
            )),
            Self::Deleted { .. } => Some(
                "what it recorded as running was ended; keep .clnrm out of what is cleaned meanwhile".into(),
            ),
            Self::Busy { path, .. } => Some(format!(
                "see which process holds it: fuser {}",
                shell_quoted(path)
            )),
            Self::NotUtf8 { .. } => Some("rename it".into()),
            Self::UnknownInstance { .. } | Self::ShuttingDown { .. } | Self::Sqlite { .. } => None,
        }
    }
}

/// Moves the database with its `-wal` file, which holds the newest rows. The instances' folders stay: the next command
/// finds in them what still runs without a row, and ends it.
fn move_away(database: &Path) -> String {
    let directory = shell_quoted(database.parent().unwrap_or(database));
    format!("cd {directory} && mkdir old-history && mv state.db* old-history/")
}

/// The path as one word of a shell command.
fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use rusqlite::ffi;

    use super::*;

    fn from_code(code: i32) -> StoreError {
        let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("words".into()));
        StoreError::from_sqlite(Path::new("/p/.clnrm/state.db"), "record samples", failure)
    }

    #[test]
    fn sqlite_codes_become_what_a_person_can_act_on() {
        assert!(matches!(
            from_code(ffi::SQLITE_CORRUPT),
            StoreError::Damaged { .. }
        ));
        assert!(matches!(
            from_code(ffi::SQLITE_NOTADB),
            StoreError::Damaged { .. }
        ));
        for code in [ffi::SQLITE_FULL, SHARED_MEMORY_FULL] {
            assert!(matches!(from_code(code), StoreError::DiskFull { .. }));
        }
        for code in REFUSED_WRITES {
            assert!(from_code(code).is_unwritable());
        }
        for code in [ffi::SQLITE_READONLY, ffi::SQLITE_CANTOPEN, ffi::SQLITE_PERM] {
            assert!(matches!(from_code(code), StoreError::NotWritable { .. }));
        }
        assert!(matches!(
            from_code(ffi::SQLITE_BUSY),
            StoreError::Busy { .. }
        ));
        assert!(matches!(
            from_code(ffi::SQLITE_ERROR),
            StoreError::Sqlite { .. }
        ));
    }

    #[test]
    fn the_text_names_the_file_and_leaves_the_cause_to_the_source() {
        let error = from_code(ffi::SQLITE_FULL);
        assert_eq!(
            error.to_string(),
            "the disk is full: cannot record samples in /p/.clnrm/state.db"
        );
        assert!(error.source().is_some_and(|s| s.to_string() == "words"));
    }

    #[test]
    fn hints_are_commands_that_can_be_pasted() {
        let error = StoreError::Newer {
            path: "/my files/it's/state.db".into(),
            found: 7,
            known: 1,
        };
        assert_eq!(
            error.hint().unwrap(),
            r"use the newer clnrm, or move its history away: cd '/my files/it'\''s' && mkdir old-history && mv state.db* old-history/"
        );
    }
}

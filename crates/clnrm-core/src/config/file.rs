//! Reads files that people write.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::reader::{Problem, position};
use crate::exit::{Exit, Fatal};

/// No test file that people write comes near this size; a disk image given by mistake does.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// A file could not be read or does not say what it must. `Display` prints one line per problem.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is nothing at this path.
    #[error("{}: no such file", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A directory, device, socket or pipe.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Larger than any test file.
    #[error("{}: larger than {LARGEST_FILE_BYTES} bytes, which no clnrm file is", path.display())]
    TooLarge {
        /// The path as it was given.
        path: PathBuf,
    },
    /// It exists but cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        source: io::Error,
    },
    #[error("{}:{line}:{column}: not UTF-8 text", path.display())]
    NotUtf8 {
        /// The path as it was given.
        path: PathBuf,
        /// Line of the first bad byte, from 1.
        line: usize,
        /// Column of the first bad byte, from 1.
        column: usize,
    },
    #[error("{}", Listing(path, problems))]
    Invalid {
        /// The path as it was given.
        path: PathBuf,
        /// Everything that is wrong, in the file's order; never empty.
        problems: Vec<Problem>,
    },
}

impl Fatal for ConfigError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// `path:line:column: key: message; hint`, one line per problem.
struct Listing<'a>(&'a Path, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.1.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{problem}", self.0.display())?;
        }
        Ok(())
    }
}

pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let owned = || path.to_owned();
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::NotFound { path: owned() },
        _ => ConfigError::Unreadable {
            path: owned(),
            source,
        },
    };
    // Asked before opening: opening a pipe would wait for its writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(ConfigError::NotAFile { path: owned() });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LARGEST_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST_FILE_BYTES {
        return Err(ConfigError::TooLarge { path: owned() });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let (line, column) = position(&text, valid);
        ConfigError::NotUtf8 {
            path: owned(),
            line,
            column,
        }
    })?;
    // A checkout may have put in Windows line ends; they mean nothing to TOML, and another program to the shell.
    Ok(text.replace("\r\n", "\n"))
}

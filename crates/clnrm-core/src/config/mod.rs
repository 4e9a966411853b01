//! TOML in, validated definitions out.
//!
//! [`load_test`] reads one test file and reports all its mistakes at once. Deliberately absent: starting
//! anything, and the environment, which callers pass in.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::exit::{Exit, Fatal};
use crate::services::service_manager::AutoScaleConfig;

pub mod container_settings;
pub mod definition;
pub mod discovery;
pub mod identity;
pub mod placeholder;
mod pool;
pub mod project;
mod reader;
mod server;
pub mod signal;
pub mod step_variables;
pub mod template;
mod test_file;

use definition::{ServerForm, TestDefinition};
use identity::Digest;
pub use reader::Problem;
pub(crate) use test_file::name_of;

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
        /// What the system said.
        source: io::Error,
    },
    /// Not text.
    #[error("{}:{line}:{column}: not UTF-8 text", path.display())]
    NotUtf8 {
        /// The path as it was given.
        path: PathBuf,
        /// Line of the first bad byte, from 1.
        line: usize,
        /// Column of the first bad byte, from 1.
        column: usize,
    },
    /// Its content is wrong.
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

/// Reads and checks one test file; `servers` are the kinds that `metrics` may name.
///
/// # Errors
/// [`ConfigError::Invalid`] lists every mistake in the file.
pub fn load_test(path: &Path, servers: &[&ServerForm]) -> Result<TestDefinition, ConfigError> {
    let root = project::find_root(&folder_of(path)?);
    load_test_with(path, &root, &AutoScaleConfig::default(), servers)
}

/// [`load_test`] in the project with this root, with its own defaults for `scale`.
///
/// # Errors
/// As [`load_test`].
pub fn load_test_with(
    path: &Path,
    root: &Path,
    scale_defaults: &AutoScaleConfig,
    servers: &[&ServerForm],
) -> Result<TestDefinition, ConfigError> {
    let text = read_text(path)?;
    let base_dir = folder_of(path)?;
    // It is recorded and shown as text; a name that is none would be lost on the way.
    if base_dir.to_str().is_none() {
        return Err(ConfigError::Unreadable {
            path: base_dir,
            source: io::Error::new(io::ErrorKind::InvalidData, "the folder's name is not UTF-8"),
        });
    }
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let context = test_file::Context {
        file: path,
        base_dir: &base_dir,
        folder: base_dir.strip_prefix(root).unwrap_or(&base_dir),
        scale_defaults,
        servers,
    };
    parse_test(&text, &context)
}

/// The folder that a file is in, absolute and without links.
fn folder_of(file: &Path) -> Result<PathBuf, ConfigError> {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    folder.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::NotFound {
            path: file.to_owned(),
        },
        _ => ConfigError::Unreadable {
            path: file.to_owned(),
            source,
        },
    })
}

fn parse_test(text: &str, context: &test_file::Context<'_>) -> Result<TestDefinition, ConfigError> {
    reader::read(text, |table| {
        test_file::read(table, context, Digest::of(text.as_bytes()))
    })
    .map_err(|problems| ConfigError::Invalid {
        path: context.file.to_owned(),
        problems,
    })
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
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
        let (line, column) = reader::position(&text, valid);
        ConfigError::NotUtf8 {
            path: owned(),
            line,
            column,
        }
    })?;
    // A checkout may have put in Windows line ends; they mean nothing to TOML, and another program to the shell.
    Ok(text.replace("\r\n", "\n"))
}

/// The known name that `name` was probably meant to be, if any is close: at most one edit in three characters.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most_edits = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(edits, _)| *edits <= most_edits)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests;

//! TOML in, validated definitions out.
//!
//! [`load_test`] reads one test file and reports all its mistakes at once. Deliberately absent: starting
//! anything, and the environment, which callers pass in.

use std::io;
use std::path::{Path, PathBuf};

use crate::services::service_manager::AutoScaleConfig;

pub mod definition;
pub mod discovery;
mod file;
pub mod identity;
pub mod placeholder;
pub mod project;
mod reader;
pub mod revision;
pub mod signal;
mod spelling;
pub mod step_variables;
pub mod template;
mod test_file;

use definition::{ServerForm, TestDefinition};
pub use file::ConfigError;
use file::read_text;
use identity::Digest;
pub use reader::Problem;
pub(crate) use test_file::name_of;

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

#[cfg(test)]
mod tests;

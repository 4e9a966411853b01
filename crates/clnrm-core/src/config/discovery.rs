//! Finds test files.
//!
//! Deliberately absent: reading them. A file that is named is taken whatever it is called.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use walkdir::{DirEntry, WalkDir};

use crate::exit::{Exit, Fatal};

/// What a discovered test file's name ends in.
pub const SUFFIX: &str = ".clnrm.toml";

/// Test files could not be found.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// A path that was given does not exist.
    #[error("{}: no such file or directory", path.display())]
    NotFound { path: PathBuf },
    /// A directory cannot be listed; its tests would be missed silently.
    #[error("{}: cannot be searched for tests", path.display())]
    Unreadable {
        path: PathBuf,
        source: walkdir::Error,
    },
    /// The directories were searched and hold no test.
    #[error("no *{SUFFIX} file in {}", Paths(searched))]
    NothingFound {
        /// The directories, as they were given.
        searched: Vec<PathBuf>,
    },
}

impl Fatal for DiscoveryError {
    fn exit(&self) -> Exit {
        match self {
            Self::NothingFound { .. } => Exit::NothingSelected,
            Self::NotFound { .. } | Self::Unreadable { .. } => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint =
            "`clnrm init` writes a first test file; a file given by name may be called anything";
        matches!(self, Self::NothingFound { .. }).then(|| hint.to_owned())
    }
}

struct Paths<'a>(&'a [PathBuf]);

impl std::fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths: Vec<String> = self
            .0
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        f.write_str(&paths.join(", "))
    }
}

/// The test files at `paths`, or in `cwd` when there are none, sorted within each path and each only once.
///
/// Relative paths are looked up in `cwd` and stay relative, as messages should show them. Hidden directories,
/// `target` and `node_modules` are skipped unless they were given.
///
/// # Errors
/// A path that does not exist, a directory that cannot be listed, or nothing found.
pub fn discover(paths: &[PathBuf], cwd: &Path) -> Result<Vec<PathBuf>, DiscoveryError> {
    let here = [PathBuf::from(".")];
    let paths = if paths.is_empty() { &here } else { paths };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in paths {
        let full = cwd.join(path);
        let files = if full.is_dir() {
            walk(path, &full)?
        } else if full.exists() {
            vec![path.clone()]
        } else {
            return Err(DiscoveryError::NotFound { path: path.clone() });
        };
        for file in files {
            // The same file may be reached twice: given twice, or through a symbolic link.
            let full = cwd.join(&file);
            if seen.insert(full.canonicalize().unwrap_or(full)) {
                found.push(file);
            }
        }
    }
    if found.is_empty() {
        let searched = paths.to_vec();
        return Err(DiscoveryError::NothingFound { searched });
    }
    Ok(found)
}

fn walk(path: &Path, full: &Path) -> Result<Vec<PathBuf>, DiscoveryError> {
    let mut files = Vec::new();
    let entries = WalkDir::new(full).follow_links(true).sort_by_file_name();
    for entry in entries.into_iter().filter_entry(is_searched) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_harmless(&error) => continue,
            Err(source) => {
                let path = source.path().unwrap_or(full).to_owned();
                return Err(DiscoveryError::Unreadable { path, source });
            }
        };
        if entry.file_type().is_dir() || !is_test_name(entry.path()) {
            continue;
        }
        let below = entry.path().strip_prefix(full).unwrap_or(entry.path());
        files.push(if path == Path::new(".") {
            below.to_owned()
        } else {
            path.join(below)
        });
    }
    Ok(files)
}

/// A link to a directory above itself, or a dangling link that is not called like a test.
fn is_harmless(error: &walkdir::Error) -> bool {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let dangling = error.io_error().is_some_and(is_missing);
    let is_test = error.path().is_some_and(is_test_name);
    error.loop_ancestor().is_some() || (dangling && !is_test)
}

fn is_test_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(SUFFIX)
}

fn is_searched(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
    entry.depth() == 0 || !entry.file_type().is_dir() || !skipped
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        root
    }

    fn names(found: Result<Vec<PathBuf>, DiscoveryError>) -> Vec<String> {
        let found = found.unwrap();
        found
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn searches_directories_in_order_and_skips_hidden_and_built_ones() {
        let root = tree(&[
            "b.clnrm.toml",
            "a/x.clnrm.toml",
            "a/Cargo.toml",
            ".hidden/x.clnrm.toml",
            ".clnrm/x.clnrm.toml",
            "target/x.clnrm.toml",
            "a/node_modules/x.clnrm.toml",
        ]);
        let found = discover(&[], root.path());
        assert_eq!(names(found), ["a/x.clnrm.toml", "b.clnrm.toml"]);
        let found = discover(&["a".into(), "./a".into(), "target".into()], root.path());
        assert_eq!(names(found), ["a/x.clnrm.toml", "target/x.clnrm.toml"]);
    }

    #[test]
    fn takes_a_named_file_whatever_it_is_called() {
        let root = tree(&["odd.txt"]);
        assert_eq!(
            names(discover(&["odd.txt".into()], root.path())),
            ["odd.txt"]
        );
    }

    #[test]
    fn survives_symbolic_link_loops_and_dangling_links() {
        let root = tree(&["a/x.clnrm.toml"]);
        symlink(root.path(), root.path().join("a/up")).unwrap();
        symlink("nowhere", root.path().join("a/dangling")).unwrap();
        symlink("a", root.path().join("z")).unwrap();
        assert_eq!(names(discover(&[], root.path())), ["a/x.clnrm.toml"]);
        symlink("nowhere", root.path().join("a/y.clnrm.toml")).unwrap();
        let error = discover(&[], root.path()).unwrap_err();
        assert!(
            matches!(error, DiscoveryError::Unreadable { .. }),
            "{error}"
        );
    }

    #[test]
    fn says_what_is_missing() {
        let root = tree(&["a/Cargo.toml"]);
        let error = discover(&["a".into()], root.path()).unwrap_err();
        assert_eq!(error.to_string(), "no *.clnrm.toml file in a");
        let error = discover(&["b".into()], root.path()).unwrap_err();
        assert_eq!(error.to_string(), "b: no such file or directory");
    }
}

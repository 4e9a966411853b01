//! Where GitHub has the files that a report names.

use std::path::{Component, Path, PathBuf};

/// Where the repository and the files of a run are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkout {
    /// `GITHUB_WORKSPACE`; empty = not known.
    pub workspace: PathBuf,
    /// What relative paths start from.
    pub current_dir: PathBuf,
}

impl Checkout {
    /// From the workspace on, without `.` and `..`; as it is where it lies elsewhere.
    pub(super) fn path_of(&self, file: &Path) -> PathBuf {
        let mut path = PathBuf::new();
        for component in self.current_dir.join(file).components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    path.pop();
                }
                other => path.push(other),
            }
        }
        match path.strip_prefix(&self.workspace) {
            Ok(inside) if inside.is_relative() => inside.to_owned(),
            _ => file.to_owned(),
        }
    }
}

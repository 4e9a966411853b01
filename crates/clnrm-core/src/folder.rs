//! Where an instance keeps its files: a folder below the project's state, the same for every backend.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The folder of a state directory that holds one folder per instance.
pub fn instances_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("instances")
}

pub fn log_path(dir: &Path) -> PathBuf {
    dir.join("output.log")
}

/// The folder that belongs to the service itself.
pub fn data_dir(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// Writes a file of an instance's folder; it is there whole or not at all.
pub(crate) fn write_whole(dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    drop(file);
    fs::rename(&temporary, dir.join(name))
}

/// `None` = there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

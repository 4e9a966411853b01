//! Instances that are containers of a Docker Engine, or of whatever speaks its API.
//!
//! A container is found again by its recorded id, and until that is recorded by its name, which follows from the project
//! and the instance's id: a crash in between loses nothing. Deliberately absent: building images.

mod address;
mod client_config;
mod container;
mod container_error;
mod data_folder;
mod end;
mod engine;
pub mod error;
mod exec;
mod exec_output;
mod health;
mod image;
mod instance;
pub mod labels;
mod leftover;
mod list;
mod log;
mod moment;
mod network;
mod observe;
mod prepare;
mod project_mark;
mod published;
mod registry;
mod request;
mod start;
mod state_words;
mod stats;
mod subnet;
mod sweep;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Mutex;

use registry::Logins;

use engine::Engine;
pub use error::{EngineError, NamedBy};
pub use project_mark::ProjectMark;

/// Starts containers of one project.
#[derive(Debug)]
pub struct DockerBackend {
    engine: Arc<Engine>,
    project: ProjectMark,
    state_dir: PathBuf,
    /// Where what it publishes is reached, where the user knows better.
    host: Option<String>,
    logins: Logins,
    /// Held while an image is pulled; the images that were pulled because the file always wants that.
    pulling: Mutex<BTreeSet<String>>,
    /// The id of the project's network, once this command knows it; held while it is made.
    network: Mutex<Option<String>>,
    /// This command is about to make containers.
    needs_network: AtomicBool,
    /// What commands have left running in containers and could not be ended, by the container's id.
    left_running: Mutex<BTreeMap<String, String>>,
}

impl DockerBackend {
    /// The containers of the project whose state is in `state_dir`, on the engine that `environment` means. Connects
    /// to nothing yet. `host` is where what it publishes is reached, where the user knows better.
    pub fn new(
        environment: &BTreeMap<String, String>,
        state_dir: &Path,
        host: Option<&str>,
    ) -> Self {
        Self {
            engine: Arc::new(Engine::of_environment(environment)),
            host: host.map(str::to_owned),
            project: ProjectMark::of(state_dir),
            state_dir: state_dir.to_owned(),
            logins: Logins::of_environment(environment),
            pulling: Mutex::default(),
            network: Mutex::new(None),
            needs_network: AtomicBool::new(false),
            left_running: Mutex::default(),
        }
    }
}

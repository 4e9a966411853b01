//! What every command of a project works with, put together once at the border.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::backend::docker::{EngineMark, OnPull};
use crate::backend::ports;
use crate::backend::{
    DockerRuntime, InstancePlace, LaunchError, Launchable, ProcessRuntime, RecordedContainer,
    Running, Runtime,
};
use crate::clock::{Clock, Timestamp};
use crate::config::placeholder::{Bindings, InstanceBinding};
use crate::procfs::ProcessIdentity;
use crate::store::{InstanceId, InstanceRow, RuntimeKind, StoreHandle};

/// Variables of the caller's environment that instances see; everything else comes from the test file.
const INHERITED: [&str; 10] = [
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME", "SHELL", "TZ",
];

/// A project and what acts on it.
#[derive(Debug)]
pub struct Project {
    /// Its history.
    pub store: StoreHandle,
    /// Starts processes, and runs commands on this machine.
    pub processes: ProcessRuntime,
    /// Starts containers.
    pub containers: DockerRuntime,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where its state lives.
    pub state_dir: PathBuf,
    /// This command.
    pub owner: ProcessIdentity,
    /// The path of this binary, for `{clnrm}`.
    pub clnrm: PathBuf,
    /// The environment that this command was given.
    pub environment: BTreeMap<String, String>,
    /// Its history is a copy that is kept nowhere: nothing is started, ended or scaled.
    pub looks_only: bool,
    /// Cancelled when nothing that ends gets time for it any more.
    pub hurry: CancellationToken,
    /// For ids and ports.
    pub rng: Mutex<StdRng>,
}

impl Project {
    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What instances of that kind live in.
    pub fn runtime(&self, kind: RuntimeKind) -> &dyn Runtime {
        match kind {
            RuntimeKind::Process => &self.processes,
            RuntimeKind::Container => &self.containers,
        }
    }

    /// Starts an instance; it runs when this returns, and need not be ready.
    pub async fn launch(
        &self,
        launchable: &Launchable,
        on_pull: &OnPull,
        cancel: &CancellationToken,
    ) -> Result<Running, LaunchError> {
        Ok(match launchable {
            Launchable::Process(request) => self.processes.start(request).await?,
            Launchable::Container(request) => {
                self.containers.start(request, on_pull, cancel).await?
            }
        })
    }

    /// The allow-listed part of the environment.
    pub fn inherited_environment(&self) -> BTreeMap<String, String> {
        self.passed_on(&INHERITED)
    }

    /// Those of these variables that the environment has.
    pub fn passed_on<'a, N: AsRef<str> + 'a>(
        &self,
        names: impl IntoIterator<Item = &'a N>,
    ) -> BTreeMap<String, String> {
        let names = names.into_iter();
        let found = names.filter_map(|name| self.environment.get_key_value(name.as_ref()));
        found
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Bindings that know nothing but this binary.
    pub fn empty_bindings(&self) -> Bindings {
        Bindings {
            clnrm: self.clnrm.clone(),
            ..Bindings::default()
        }
    }

    /// What an instance of a pool knows: itself.
    pub fn own_bindings(&self, service: &str, own: &InstanceBinding) -> Bindings {
        let mut bindings = self.empty_bindings();
        bindings.own = Some(service.to_owned());
        bindings.services.insert(service.to_owned(), own.clone());
        bindings
    }

    /// The folder that holds one folder per instance.
    pub fn instances_dir(&self) -> PathBuf {
        instances_dir(&self.state_dir)
    }

    /// A new instance's id, e.g. `cache-7f3a9c`.
    pub fn new_instance_id(&self, service: &str) -> InstanceId {
        InstanceId(format!("{service}-{:06x}", self.random_number()))
    }

    /// One of 16 million, for names.
    pub fn random_number(&self) -> u32 {
        self.with_rng(|rng| rng.random_range(0..1 << 24))
    }

    /// A port that is free now and that no live instance was given.
    pub fn free_port(&self, taken: &[u16]) -> Option<u16> {
        self.with_rng(|rng| ports::free_port(rng, taken))
    }

    /// The folder of one instance.
    pub fn instance_dir(&self, id: &InstanceId) -> PathBuf {
        self.instances_dir().join(&id.0)
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        // A generator is as good after a panic as before.
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The folder of a state directory that holds one folder per instance.
pub fn instances_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("instances")
}

/// Where a recorded instance is.
pub fn place(row: &InstanceRow) -> InstancePlace {
    InstancePlace {
        id: row.start.id.0.clone(),
        dir: row.start.dir.clone(),
        container: row.container_id.clone().map(|id| RecordedContainer {
            id,
            engine: row.engine.clone().map(|engine| EngineMark {
                id: engine.id,
                address: engine.address,
            }),
        }),
    }
}

/// A path as reports show it: relative to the current folder where it lies below it.
pub fn shown(path: &Path, current_dir: &Path) -> PathBuf {
    path.strip_prefix(current_dir).unwrap_or(path).to_owned()
}

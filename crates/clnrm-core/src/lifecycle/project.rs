//! What every command of a project works with, put together once at the border.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::backend::root::{ContainerRoot, Root};
use crate::backend::{Backends, EngineMark, InstancePlace, RecordedContainer};
use crate::clock::{Clock, Timestamp};
use crate::config::placeholder::{Bindings, Where};
use crate::folder::instances_dir;
use crate::procfs::ProcessIdentity;
use crate::store::{InstanceId, InstanceRow, StoreHandle};

/// A project and what acts on it.
#[derive(Debug)]
pub struct Project {
    /// Its history.
    pub store: StoreHandle,
    /// What its instances run in.
    pub backends: Backends,
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
    /// For ids, names and ports.
    pub rng: Mutex<StdRng>,
}

impl Project {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Bindings that know nothing but this binary.
    pub fn empty_bindings(&self) -> Bindings {
        Bindings {
            clnrm: self.clnrm.clone(),
            ..Bindings::default()
        }
    }

    /// What an instance of a pool knows: itself.
    pub fn own_bindings(&self, service: &str, own: &Where) -> Bindings {
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

    /// The folder of one instance.
    pub fn instance_dir(&self, id: &InstanceId) -> PathBuf {
        self.instances_dir().join(&id.0)
    }

    /// For whoever draws from a generator of its own.
    pub(super) fn new_seed(&self) -> u64 {
        self.with_rng(|rng| rng.random())
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        // A generator is as good after a panic as before.
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
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

/// How the use of resources of a recorded instance is measured; `None` = it was not started yet.
pub(crate) fn root(row: &InstanceRow) -> Option<Root> {
    let shim = row.shim.clone().map(Root::ProcessTree);
    shim.or_else(|| {
        Some(Root::Container(ContainerRoot {
            container_id: row.container_id.clone()?,
            main_pid: row.main_pid,
        }))
    })
}

/// A path as reports show it: relative to the current folder where it lies below it.
pub fn shown(path: &Path, current_dir: &Path) -> PathBuf {
    path.strip_prefix(current_dir).unwrap_or(path).to_owned()
}

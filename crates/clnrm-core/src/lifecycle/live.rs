//! An instance that this command uses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, InstancePlace, Running, TreeState};
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::Where;
use crate::store::{InstanceId, LeaseId, ServiceId};

/// An instance that is ready.
#[derive(Debug, Clone)]
pub struct LiveInstance {
    pub id: InstanceId,
    pub service: ServiceId,
    pub definition: ServiceDefinition,
    /// What it runs in.
    pub backend: Arc<dyn Backend>,
    /// Its folder.
    pub dir: PathBuf,
    /// Where it is; of a job that is done, its folder alone.
    pub reached: Where,
    /// Its environment, without what was inherited.
    pub env: BTreeMap<String, String>,
    /// What runs.
    pub running: Running,
    /// Start to ready.
    pub ready_in: Duration,
    /// How the test came by it.
    pub acquired: Acquired,
}

/// How a test came by an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acquired {
    /// It was running already.
    pub warm: bool,
    /// Tests that it had served before, and was cleaned after.
    pub uses: u32,
    /// How long the reset and verification took that made it free again.
    pub cleaned_in: Option<Duration>,
    /// From the wish to the instance.
    pub waited: Duration,
    /// Why it cannot be proven clean later: its fresh state was not recorded.
    pub not_recorded: Option<String>,
    /// The lease under which the test holds it.
    pub lease: Option<LeaseId>,
}

impl LiveInstance {
    /// Where it is found.
    pub fn place(&self) -> InstancePlace {
        InstancePlace {
            id: self.id.0.clone(),
            dir: self.dir.clone(),
            container: self.running.container.clone(),
        }
    }

    /// Whether it has done its work: nothing of it runs, so it is neither leased nor measured.
    pub fn is_job(&self) -> bool {
        self.definition.is_job()
    }

    /// Whether it has not ended since it became ready, as far as anybody has told.
    pub fn is_up(&self) -> bool {
        matches!(
            *self.running.state.borrow(),
            TreeState::Running | TreeState::MainLeft
        )
    }
}

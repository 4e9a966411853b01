//! What stopping instances found and did.

use serde::{Deserialize, Serialize};

use crate::backend::Backend;

/// One instance that was stopped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoppedInstance {
    pub service: String,
    pub id: String,
    pub exit: Option<String>,
    pub took_ms: u64,
    /// SIGKILL was needed after the grace period.
    pub killed: bool,
}

/// Proof that nothing was left behind.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LeakReport {
    /// Process trees whose end was checked.
    pub processes_checked: u32,
    /// Containers whose end was checked.
    pub containers_checked: u32,
    /// Why containers could not be checked; the next command that finds the engine does it.
    pub unchecked: Option<String>,
    /// What had survived: named, and ended now. Each makes exit code 6.
    pub leaked: Vec<String>,
}

impl LeakReport {
    /// Counts instances of a backend as checked.
    pub(crate) fn count(&mut self, backend: &dyn Backend, checked: u32) {
        if backend.has_inside() {
            self.containers_checked += checked;
        } else {
            self.processes_checked += checked;
        }
    }
}

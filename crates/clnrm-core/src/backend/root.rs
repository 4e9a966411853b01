//! What an instance is to the kernel or to an engine, so that readings of two different ones are never compared.

use serde::{Deserialize, Serialize};

use crate::procfs::ProcessIdentity;

/// Where an instance's usage is read. Two readings of one instance make a rate only if their roots are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// A process tree below this process (its shim), which is not counted itself.
    ProcessTree(ProcessIdentity),
    Container(ContainerRoot),
}

/// One start of one container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContainerRoot {
    /// The full id of the container.
    pub container_id: String,
    /// Its first process as the engine's host numbers it: another one after each start. `None` = the engine does not say.
    pub main_pid: Option<i32>,
}

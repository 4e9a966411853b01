//! What a container may be told beyond its image, command, ports and volumes.
//!
//! Every key is handed to the engine as it stands. Deliberately absent: what would let a container leave the network or
//! the life that clnrm gives it (`network_mode`, `restart`, `container_name`), which the reader refuses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Settings of a container. The default is: as the image and the engine have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerSettings {
    /// `user[:group]`, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Whether the engine's small init is process 1; `None` = only below a shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// `os/architecture[/variant]` of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// When the image is pulled.
    #[serde(skip_serializing_if = "PullPolicy::is_default")]
    pub pull: PullPolicy,
    /// Nothing but volumes and `tmpfs` can be written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Folders in memory, each with its mount options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Size of `/dev/shm` in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
    /// Limits of its processes by the names of `setrlimit`, e.g. `nofile`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Capabilities beyond the engine's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// `(name, address)`; the address may be `host-gateway`, which is this machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Kernel parameters of its namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ContainerSettings {
    /// Whether the file says none of it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One limit; -1 = none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub soft: i64,
    /// What the process may raise it to.
    pub hard: i64,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Where the engine does not have it.
    #[default]
    Missing,
    /// Once per run, before its first container.
    Always,
    /// Not at all: it must be there.
    Never,
}

impl PullPolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

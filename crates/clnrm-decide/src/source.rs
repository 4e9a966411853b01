//! Who measured a value.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `/proc`, over the instance's whole process tree.
    Procfs,
    /// The same, of processes that may share memory: each page counts divided by the number of processes that map it.
    SmapsRollup,
    /// The kernel's socket statistics, over the instance's ports.
    SockDiag,
    /// The control group of a container on this machine.
    Cgroup,
    /// The interfaces and sockets of a container on this machine.
    NetworkNamespace,
    /// The engine's stream of statistics of a container that cannot be read here.
    EngineStats,
    /// The service itself, by the name of its kind, e.g. `redis`.
    #[serde(untagged)]
    Server(Cow<'static, str>),
}

impl Source {
    /// A server of the kind that has this name in test files.
    pub const fn server(name: &'static str) -> Self {
        Self::Server(Cow::Borrowed(name))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Procfs => "procfs",
            Self::SmapsRollup => "smaps_rollup",
            Self::SockDiag => "sock_diag",
            Self::Cgroup => "cgroup",
            Self::NetworkNamespace => "network_namespace",
            Self::EngineStats => "engine_stats",
            Self::Server(name) => name,
        })
    }
}

//! What a backend tells of an instance's use of resources, where this machine's kernel cannot: a stream of items.

use tokio::time::Instant;

use super::error::BackendError;
use crate::clock::Timestamp;

/// One item. `None` = the engine does not say.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EngineStats {
    /// When the engine looked, by its clock.
    pub read_at: Option<Timestamp>,
    /// When the item came; `None` = it has not come over a stream.
    pub arrived: Option<Instant>,
    /// CPU time used so far.
    pub cpu_seconds: Option<f64>,
    /// Memory in use, with the file cache.
    pub memory_bytes: Option<u64>,
    /// What that is made of.
    pub memory_parts: Option<MemoryParts>,
    /// Bytes received and sent over all networks so far.
    pub network_bytes: Option<u64>,
}

/// What the memory of a control group is made of, by its `memory.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryParts {
    /// Memory of processes, shared memory, tmpfs and what is locked, for which there is no other place.
    pub own_bytes: u64,
    /// Contents of files and caches of the kernel that can be made again: it drops them before it lets a process wait or
    /// die for lack of memory, whether they were used lately ("active") or not. `None` = version 1, which does not tell
    /// what of the kernel's own memory is of that kind (16 MB for a file of 600 MB).
    pub droppable_bytes: Option<u64>,
}

impl MemoryParts {
    /// Of the lines of a `memory.stat`, of either version.
    pub fn of(field: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let sum = |names: [&str; 3]| names.iter().map(|name| field(name)).sum::<Option<u64>>();
        // Version 1 has the group's own values, and by these names those with the groups below.
        let with_groups_below = [
            "total_active_anon",
            "total_inactive_anon",
            "total_unevictable",
        ];
        if let Some(own_bytes) = sum(with_groups_below) {
            return Some(Self {
                own_bytes,
                droppable_bytes: None,
            });
        }
        Some(Self {
            own_bytes: sum(["active_anon", "inactive_anon", "unevictable"])?,
            droppable_bytes: Some(sum(["active_file", "inactive_file", "slab_reclaimable"])?),
        })
    }

    /// How much of so much memory in use cannot be dropped. The two were not read at the same moment.
    pub fn kept_of(self, usage_bytes: u64) -> u64 {
        let without = |droppable| usage_bytes.saturating_sub(droppable);
        let kept = self.droppable_bytes.map_or(0, without);
        kept.max(self.own_bytes)
    }
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq)]
pub enum StatsStream {
    Waiting,
    /// The newest item.
    Newest(EngineStats),
    /// The instance does not run any more.
    Ended,
    /// The stream is broken, and the instance may still run.
    Broken(BackendError),
}

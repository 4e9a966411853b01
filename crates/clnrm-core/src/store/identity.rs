//! Who a process is, across reuse of its id and across reboots.
//!
//! Deliberately absent: reading it from the system, and telling whether it still lives.

use serde::{Deserialize, Serialize};

/// A process that can be recognised later: a bare pid may since belong to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The boot that `start_ticks` counts from (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

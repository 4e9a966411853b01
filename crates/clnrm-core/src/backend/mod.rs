//! Starting, watching and ending instances: the only part of clnrm that spawns anything or talks to a container engine.
//!
//! Everything else asks a [`Backend`], and never which one it is. Those that there are stand in [`list`]: a process tree
//! of this machine ([`process`]), and a container that its engine keeps ([`docker`]). Deliberately absent: what to start
//! and when (`lifecycle`), and the history (`store`).

pub mod command;
pub mod contract;
pub mod docker;
pub mod environment;
pub mod error;
pub mod exit;
pub mod guard;
pub mod instance;
pub mod job;
mod kernel_listeners;
pub mod list;
mod listening;
pub mod log_file;
pub mod names;
pub mod port_owner;
pub mod ports;
pub mod probe;
pub mod process;
pub mod pull;
pub mod readiness;
pub mod root;
pub mod signal;
mod socket_table;
pub mod start;
pub mod stats;
pub mod wanted_lines;

pub use command::{CommandOutcome, CommandRequest, CommandResult};
pub use contract::Backend;
pub use error::{BackendError, ErrorKind};
pub use exit::{ExitRecord, ExitStatus};
pub use instance::{
    Condition, Ended, EngineMark, FetchedLog, Health, InstancePlace, Loss, Observed, Patience,
    RecordedContainer, Running, Survey, TreeState,
};
pub use list::Backends;
pub use names::NetworkNames;
pub use pull::{OnPull, PullProgress};
pub use readiness::{NotReady, ReadyContext, can_connect, wait_until_ready};

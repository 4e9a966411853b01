//! Starting, watching and ending instances: the only part of clnrm that spawns anything or talks to a container engine.
//!
//! Every process runs below a *shim* ([`shim`]): the same binary, executed again as a session leader and child
//! subreaper, which owns the whole process tree and survives the command that started it. A container is kept by its
//! engine ([`docker`]). Once started, both are the same to the rest of clnrm: a [`Runtime`] and an [`InstancePlace`].
//! Deliberately absent: what to start and when (`lifecycle`), and the history (`store`).

pub mod command;
pub mod docker;
pub mod guard;
pub mod instance;
pub mod job;
mod kernel_listeners;
mod listening;
pub mod log_file;
pub mod mark;
pub mod port_owner;
pub mod ports;
pub mod process;
mod process_instance;
pub mod readiness;
pub mod recovery;
pub mod shim;
pub mod shim_protocol;
pub mod signal;
mod socket_table;
pub mod wanted_lines;

pub use command::{CommandOutcome, CommandRequest, CommandResult};
pub use docker::{ContainerError, ContainerRequest, DockerRuntime, EngineError};
pub use instance::{
    Condition, Ended, FetchedLog, Health, InstanceError, InstancePlace, LaunchError, Launchable,
    Loss, Observed, Patience, Published, RecordedContainer, Running, Runtime, Supervisor,
    TreeState,
};
pub use process::{ProcessRuntime, StartError, StartRequest, StopError, StopOutcome};
pub use readiness::{NotReady, ReadyContext, can_connect, wait_until_ready};
pub use shim_protocol::ExitRecord;

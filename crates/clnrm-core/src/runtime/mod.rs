//! Starting, watching and ending processes: the only part of clnrm that spawns anything.
//!
//! Every process runs below a *shim* ([`shim`]): the same binary, executed again as a session leader and child
//! subreaper, which owns the whole process tree and survives the command that started it.
//! Deliberately absent: what to start and when (`control`), and the history (`store`).

pub mod command;
pub mod docker;
pub mod log_file;
pub mod mark;
pub mod ports;
pub mod process;
pub mod readiness;
pub mod recovery;
pub mod shim;
pub mod shim_protocol;
pub mod signal;

pub use command::{CommandOutcome, CommandRequest, CommandResult};
pub use process::{
    ProcessRuntime, RunningProcess, StartError, StartRequest, StopError, StopOutcome, TreeState,
};
pub use readiness::{NotReady, ReadyContext, wait_until_ready};
pub use shim_protocol::ExitRecord;

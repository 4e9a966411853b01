//! The life of an instance: prepared, started, leased, cleaned, stopped, recovered, guarded; journalled at each turn.
//!
//! Deliberately absent: test files and steps (`runner`), decisions (`manage`), and anything that prints (`report`).

pub mod clean;
mod command_place;
mod fixed_ports;
pub mod guard;
mod job;
pub mod live;
pub mod neighbours;
pub mod plan;
pub mod pool;
pub mod pool_size;
mod preparation;
pub mod project;
pub mod recover;
mod relocate;
pub mod sampler;
pub mod start;
pub mod start_failure;
pub mod stop;
pub mod stopped;
mod verdict;

pub use live::{Acquired, LiveInstance};
pub use plan::StartPlan;
pub use project::Project;

pub use start_failure::{StartCause, StartFailure};

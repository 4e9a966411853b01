//! From test files to a run: start what is needed, run the steps, always clean up.
//!
//! Deliberately absent: anything that prints. What happens is told as [`event::RunEvent`]s.

mod attempt;
pub mod cause;
mod command_step;
mod contamination;
mod early_end;
pub mod event;
mod expectations;
mod finished_test;
mod http_step;
mod kept;
mod memory_watch;
mod milliseconds;
mod neighbourhood;
mod pool_counts;
mod pools;
mod record;
pub mod replay;
pub mod result;
mod run;
mod run_state;
mod schedule;
mod service_set;
mod step;
mod test_run;

pub use run::{RunError, RunOptions, run};

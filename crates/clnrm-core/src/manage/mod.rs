//! One pass of `ai-manage` (gather, decide, act), and the commands on services that run.
//!
//! Deliberately absent: how an instance starts and ends (`lifecycle`), and anything that prints (`report`).

mod decide;
mod decided;
mod error;
mod evidence;
mod options;
mod pass;
mod scale;
pub mod selection;
pub mod services;
pub mod status_report;

pub use error::ManageError;
pub use options::ManageOptions;
pub use pass::{ManagePass, PassedService, manage};
pub use scale::{ScalingError, ScalingOutcome};

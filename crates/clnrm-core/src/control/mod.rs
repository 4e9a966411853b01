//! The loop: gather ([`sampler`]), decide (ask the service manager), act ([`lifecycle`], [`stop`]), report.
//!
//! Deliberately absent: test files and steps (`runner`), and anything that prints (`report`).

mod assessment_view;
pub mod clean;
mod container;
mod decide;
pub mod evidence;
mod fixed_ports;
pub mod forecast_report;
mod forecast_view;
pub mod guard;
mod job;
pub mod lifecycle;
mod look_over;
pub mod manage;
pub mod manage_report;
pub mod pool;
mod preparation;
pub mod project;
pub mod recover;
mod relocate;
pub mod sampler;
mod scale;
pub mod selection;
pub mod services;
pub mod start;
pub mod status_report;
pub mod stop;

pub use lifecycle::{Acquired, LiveInstance, StartPlan};
pub use project::Project;
pub use start::{StartCause, StartFailure};

/// An error and its sources in one line, for reports that keep sentences.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

//! The loop: gather (sampler), decide (ask the service manager), act (lifecycle), report.

pub mod manage_report;
pub mod status_report;

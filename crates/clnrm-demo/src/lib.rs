//! What `clnrm demo` is made of: a small real service, a load generator and the tour's test file.
//!
//! All of it is real: the server burns the CPU and holds the memory that it is asked for, and both sides count exactly.
//! Deliberately absent: starting processes and printing, which belong to the command.

pub mod load;
pub mod load_report;
mod request_metrics;
mod routes;
pub mod schedule;
pub mod server;
pub mod target;
mod work;

/// The test file that `clnrm demo` runs in a temporary project.
pub const TOUR_TEST_FILE: &str = include_str!("tour.clnrm.toml");

#[cfg(test)]
mod tests;

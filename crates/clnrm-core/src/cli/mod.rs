//! The command line.

mod help;
pub mod types;

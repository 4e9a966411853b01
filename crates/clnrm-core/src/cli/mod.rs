//! The command line.

mod help;
pub mod types;

use std::process::ExitCode;

use crate::runtime::{shim, shim_protocol::SHIM_SUBCOMMAND};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|argument| argument == SHIM_SUBCOMMAND)
    {
        return shim::run();
    }
    ExitCode::SUCCESS
}

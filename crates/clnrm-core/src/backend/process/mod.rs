//! Instances that are local process trees.
//!
//! Each runs below a *shim* ([`shim`]): this binary, executed again as a session leader and child subreaper, which owns
//! the whole tree and survives the command that started it. A later command finds it by what it wrote into the
//! instance's folder.

mod abandoned;
pub mod command;
mod error;
mod instance;
mod leftover;
mod mark;
mod prepare;
mod program;
pub mod shim;
pub mod shim_protocol;
mod spawn;
mod stop;

use std::path::{Path, PathBuf};

pub use command::run_command;

/// Starts the process trees of one project below shims.
#[derive(Debug, Clone)]
pub struct ProcessBackend {
    shim_program: PathBuf,
    instances_dir: PathBuf,
}

impl ProcessBackend {
    /// Uses this binary as the shim: one whose `main` runs [`shim::run`] for the hidden subcommand.
    pub fn new(shim_program: PathBuf, state_dir: &Path) -> Self {
        Self {
            shim_program,
            instances_dir: crate::folder::instances_dir(state_dir),
        }
    }
}

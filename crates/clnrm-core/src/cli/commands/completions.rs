//! `clnrm completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::types::Cli;

/// The completion script of a shell.
pub(in crate::cli) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clnrm", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

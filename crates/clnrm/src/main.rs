//! The `clnrm` command. Everything happens in `clnrm-core`.

use std::process::ExitCode;

fn main() -> ExitCode {
    clnrm_core::cli::main()
}

//! `clnrm init`.

use std::fs::OpenOptions;
use std::io::{self, Write};

use crate::cli::error::{CliError, CommandFailure};
use crate::cli::invocation::Invocation;
use crate::cli::types::InitArguments;
use crate::config::template::FIRST_TEST;
use crate::exit::Exit;
use crate::report::file_report::InitReport;
use crate::report::{Format, Printer, unless_closed};

const FILE_NAME: &str = "first.clnrm.toml";

/// Writes a first test file that passes as it stands.
pub(in crate::cli) fn init(
    options: InitArguments,
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let given = options.path.unwrap_or_default();
    let folder = invocation.current_dir.join(&given).is_dir();
    let file = if folder { given.join(FILE_NAME) } else { given };
    let path = invocation.current_dir.join(&file);
    let replaced = options.force && path.exists();
    let mut open = OpenOptions::new();
    open.write(true);
    if options.force {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let written = open
        .open(&path)
        .and_then(|mut target| target.write_all(FIRST_TEST.as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CommandFailure::FileExists { path: file.clone() },
        _ => CommandFailure::File {
            what: "write",
            path: file.clone(),
            source,
        },
    })?;
    unless_closed(printer.init(
        &InitReport {
            schema: InitReport::SCHEMA,
            file,
            replaced,
        },
        format,
    ))?;
    Ok(Exit::Good)
}

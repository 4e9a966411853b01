//! `clnrm services logs`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::services::looking;
use crate::backend::log_file::{LogReader, tail};
use crate::cli::error::{CliError, CommandFailure};
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::types::LogsArguments;
use crate::exit::Exit;
use crate::lifecycle::Project;
use crate::manage::selection::SelectionError;
use crate::manage::services::{KnownInstance, reported_state};
use crate::report::log_report::{FollowedLine, InstanceLog, LogReport};
use crate::report::{Format, Printer, unless_closed};

const FOLLOW_PAUSE: Duration = Duration::from_millis(100);

/// Shows the end of a service's log, and what comes after it.
pub(in crate::cli) async fn logs(
    options: LogsArguments,
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let look = async |project: &Arc<Project>, printer: &mut Printer<'_>| {
        for note in project.recover().await?.notes {
            unless_closed(printer.warning(&note))?;
        }
        let known = project.instances_named(&options.name).await?;
        Ok((Arc::clone(project), known))
    };
    let Some((project, known)) = looking(invocation, printer, look).await? else {
        let nothing = SelectionError::NoMatch {
            pattern: options.name,
            known: Vec::new(),
        };
        return Err(nothing.into());
    };
    let (files, problems) = project.fetch_logs(&known, options.lines).await;
    for problem in problems {
        unless_closed(printer.warning(&problem))?;
    }
    // The readers start where the shown tail ends.
    let readers: Vec<(String, LogReader)> = known
        .iter()
        .zip(&files)
        .map(|(known, file)| {
            (
                known.row.start.id.0.clone(),
                LogReader::from_end(&file.path),
            )
        })
        .collect();
    let instances = known
        .iter()
        .zip(&files)
        .map(|(known, file)| instance_log(known, &file.path, options.lines))
        .collect::<Result<_, _>>()?;
    let report = LogReport {
        schema: LogReport::SCHEMA,
        service: options.name,
        instances,
    };
    unless_closed(printer.logs(&report, format))?;
    let exit = if options.follow {
        // Ends with this command.
        project.follow_logs(&known, &files);
        follow(readers, format, printer).await
    } else {
        Ok(Exit::Good)
    };
    project.forget_fetched_logs(&known, &files);
    exit
}

fn instance_log(known: &KnownInstance, file: &Path, lines: usize) -> Result<InstanceLog, CliError> {
    let lines = tail(file, lines).map_err(|source| CommandFailure::File {
        what: "read",
        path: file.to_owned(),
        source,
    })?;
    Ok(InstanceLog {
        id: known.row.start.id.0.clone(),
        state: reported_state(known.row.state),
        file: file.to_owned(),
        lines,
    })
}

async fn follow(
    mut readers: Vec<(String, LogReader)>,
    format: Format,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen()?;
    let named = readers.len() > 1;
    loop {
        for (id, reader) in &mut readers {
            for line in reader.new_lines().unwrap_or_default() {
                printer.followed_line(FollowedLine { id, line: &line }, named, format)?;
            }
        }
        if interrupt
            .token
            .run_until_cancelled(sleep(FOLLOW_PAUSE))
            .await
            .is_none()
        {
            return Ok(interrupt.signal().map_or(Exit::Good, Exit::Signal));
        }
    }
}

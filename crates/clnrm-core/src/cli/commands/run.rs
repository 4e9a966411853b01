//! `clnrm run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::validate::sentences;
use crate::cli::error::{CliError, CommandFailure};
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::types::RunArguments;
use crate::clock::{Clock as _, SystemClock};
use crate::config::definition::TestDefinition;
use crate::config::discovery::discover;
use crate::config::project::ProjectSettings;
use crate::config::revision::Revision;
use crate::config::{self, ConfigError};
use crate::exit::Exit;
use crate::lifecycle::Project;
use crate::report::{Printer, RunFormat, unless_closed};
use crate::runner::cause::TestReason;
use crate::runner::event::{EventKind, Events};
use crate::runner::replay::report_of;
use crate::runner::result::{RunReport, TestReport, TestStatus};
use crate::runner::{self, RunError, RunOptions};
use crate::servers;
use crate::store::{RunOrigin, StoreError};
use crate::text::one_line;

/// Runs tests against their services.
pub(in crate::cli) async fn run(
    options: RunArguments,
    format: RunFormat,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    match plan_and_run(&options, invocation, printer).await {
        Ok((report, not_recorded, signal)) => {
            unless_closed(printer.run(&report, format))?;
            summarize(&report, invocation, printer)?;
            match (exit_of(&report, signal), not_recorded) {
                (Exit::Good, Some(error)) => Err(error.into()),
                (exit, _) => Ok(exit),
            }
        }
        Err(NoRun { error, tests }) => {
            let report = RunReport::without_run(tests, SystemClock.now());
            // The error says it all to people; a file that another program reads must never be empty.
            if format != RunFormat::Human {
                unless_closed(printer.run(&report, format))?;
            }
            unless_closed(printer.annotations(&report))?;
            summarize(&report, invocation, printer)?;
            Err(error)
        }
    }
}

/// A leak outweighs a failed test, which outweighs a failed service.
fn exit_of(report: &RunReport, signal: Option<u8>) -> Exit {
    match signal {
        Some(signal) => Exit::Signal(signal),
        None if !report.leaks.leaked.is_empty() => Exit::Leak,
        None if report.summary.failed + report.summary.contaminated > 0 => Exit::TestFailed,
        None if report.summary.errors > 0 => Exit::ServiceFailed,
        None => Exit::Good,
    }
}

/// Adds the run to GitHub's summary, where there is one.
fn summarize(
    report: &RunReport,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<(), CliError> {
    let summary = invocation.variables.get("GITHUB_STEP_SUMMARY");
    if let Some(summary) = summary.filter(|path| !path.is_empty()) {
        unless_closed(printer.step_summary(Path::new(summary), report))?;
    }
    Ok(())
}

/// Why nothing was run, and what a report of it holds.
struct NoRun {
    error: CliError,
    tests: Vec<TestReport>,
}

impl<E: Into<CliError>> From<E> for NoRun {
    fn from(error: E) -> Self {
        let error = error.into();
        let tests = match error.exit {
            Exit::NothingSelected => Vec::new(),
            _ => vec![TestReport::not_run(
                "clnrm".to_owned(),
                PathBuf::new(),
                TestStatus::Error,
                TestReason::NotRun {
                    message: one_line(error.error.as_ref()),
                },
            )],
        };
        Self { error, tests }
    }
}

async fn plan_and_run(
    options: &RunArguments,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<(RunReport, Option<StoreError>, Option<u8>), NoRun> {
    // From here on an interrupt ends with a report.
    let interrupt = Interrupt::listen()?;
    let settings = invocation.settings()?;
    let files = discover(&options.paths, &invocation.current_dir)?;
    let tests = load(&files, &settings, printer)?;
    let run_options = resolve(options, &settings, invocation);
    invocation.end_abandoned(&settings, printer).await?;
    let project = invocation.open(&settings, &interrupt.hurry)?;
    let (report, not_recorded) =
        run_and_show(project, tests, run_options, &interrupt, printer).await?;
    Ok((report, not_recorded, interrupt.signal()))
}

/// All files are read before anything starts, and every mistake in them is told at once.
fn load(
    files: &[PathBuf],
    settings: &ProjectSettings,
    printer: &mut Printer<'_>,
) -> Result<Vec<TestDefinition>, NoRun> {
    let mut tests = Vec::new();
    let mut reports = Vec::new();
    let mut wrong: Vec<ConfigError> = Vec::new();
    for file in files {
        let (name, status, reason) = match config::load_test_with(
            file,
            &settings.root,
            &settings.config.scale,
            &servers::forms(),
        ) {
            Ok(test) => {
                let name = test.name.clone();
                tests.push(test);
                (name, TestStatus::Skipped, TestReason::OtherFileUnread)
            }
            Err(error) => {
                let message = sentences(&error).join(
                    "
",
                );
                wrong.push(error);
                let reason = TestReason::NotRun { message };
                (config::name_of(file), TestStatus::Error, reason)
            }
        };
        reports.push(TestReport::not_run(name, file.clone(), status, reason));
    }
    let error = match wrong.len() {
        0 => return Ok(tests),
        1 => wrong.remove(0).into(),
        count => {
            for error in &wrong {
                unless_closed(printer.error(error, None))?;
            }
            CommandFailure::SeveralFiles { count }.into()
        }
    };
    Err(NoRun {
        error,
        tests: reports,
    })
}

/// Flag, then variable or project file, then default: keep, but stop where `CI` is set.
fn resolve(
    options: &RunArguments,
    settings: &ProjectSettings,
    invocation: &Invocation,
) -> RunOptions {
    let config = &settings.config;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = options
        .jobs
        .or(config.jobs)
        .map_or(cores, |jobs| jobs as usize);
    let keep = match (options.keep, options.stop) {
        (true, _) => true,
        (_, true) => false,
        _ => config.keep.unwrap_or(!invocation.in_ci()),
    };
    RunOptions {
        jobs,
        fail_fast: options.fail_fast,
        keep,
        origin: RunOrigin {
            selection: (options.paths.iter())
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
            revision: Revision::of(&settings.root, &invocation.variables),
        },
    }
}

/// Runs the tests and shows what happens meanwhile. Beside the report, why the end of the run could not be recorded.
async fn run_and_show(
    project: Arc<Project>,
    tests: Vec<TestDefinition>,
    options: RunOptions,
    interrupt: &Interrupt,
    printer: &mut Printer<'_>,
) -> Result<(RunReport, Option<StoreError>), RunError> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    // Fails only when nobody shows events any more.
    let notify = Box::new(move |event| drop(sender.send(event)));
    let events = Arc::new(Events::new(Arc::clone(&project.clock), notify));
    let cancel = interrupt.token.clone();
    let running = runner::run(project, tests, options, Arc::clone(&events), cancel);
    tokio::pin!(running);
    let mut told = Vec::new();
    let mut progress = printer.progress();
    let (mut told_of_interrupt, mut told_of_hurry) = (false, false);
    let ended = loop {
        tokio::select! {
            biased;
            Some(event) = receiver.recv() => {
                // A closed stderr must not end a run.
                drop(progress.on_event(&event));
                told.push(event);
            }
            ended = &mut running => break ended,
            () = interrupt.token.cancelled(), if !told_of_interrupt => {
                told_of_interrupt = true;
                events.tell(interrupted(interrupt));
            }
            () = interrupt.hurry.cancelled(), if !told_of_hurry => {
                told_of_hurry = true;
                events.tell(EventKind::InterruptedAgain);
            }
        }
    };
    if interrupt.token.is_cancelled() && !told_of_interrupt {
        // It came with the last event.
        events.tell(interrupted(interrupt));
    }
    while let Ok(event) = receiver.try_recv() {
        drop(progress.on_event(&event));
        told.push(event);
    }
    progress.finish();
    let not_recorded = ended?;
    Ok((report_of(&told), not_recorded))
}

fn interrupted(interrupt: &Interrupt) -> EventKind {
    EventKind::Interrupted {
        signal: interrupt.name().unwrap_or("a signal").to_owned(),
    }
}

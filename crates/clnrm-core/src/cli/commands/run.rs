//! `clnrm run`.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::types;
use crate::config::definition::TestDefinition;
use crate::config::discovery::discover;
use crate::config::project::ProjectConfig;
use crate::config::{self, ConfigError};
use crate::control::Project;
use crate::report::{Printer, RunFormat, unless_closed};
use crate::runner::event::RunEvent;
use crate::runner::{self, RunError, RunOptions, RunOutcome};

/// Runs tests against their services.
pub(in crate::cli) async fn run(
    options: types::RunOptions,
    format: RunFormat,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let settings = invocation.settings()?;
    let files = discover(&options.paths, &invocation.current_dir)?;
    let tests = load(&files, &settings.config, printer)?;
    let run_options = resolve(&options, &settings.config, invocation);
    let project = invocation.open(&settings)?;
    let interrupt = Interrupt::listen()?;
    let RunOutcome {
        report,
        not_recorded,
    } = run_and_show(project, tests, run_options, &interrupt, printer).await?;
    unless_closed(printer.run(&report, format))?;
    if let Some(summary) = invocation
        .variables
        .get("GITHUB_STEP_SUMMARY")
        .filter(|path| !path.is_empty())
    {
        unless_closed(printer.step_summary(Path::new(summary), &report))?;
    }
    match (Exit::of_run(&report, interrupt.signal()), not_recorded) {
        (Exit::Good, Some(error)) => Err(error.into()),
        (exit, _) => Ok(exit),
    }
}

/// All files are read before anything starts, and every mistake in them is told at once.
fn load(
    files: &[std::path::PathBuf],
    config: &ProjectConfig,
    printer: &mut Printer<'_>,
) -> Result<Vec<TestDefinition>, CliError> {
    let mut tests = Vec::new();
    let mut wrong: Vec<ConfigError> = Vec::new();
    for file in files {
        match config::load_test_with(file, &config.scale) {
            Ok(test) => tests.push(test),
            Err(error) => wrong.push(error),
        }
    }
    match wrong.len() {
        0 => Ok(tests),
        1 => Err(CliError::Config(wrong.remove(0))),
        count => {
            for error in &wrong {
                unless_closed(printer.error(error, None))?;
            }
            Err(CliError::SeveralFiles { count })
        }
    }
}

/// Flag, then variable or project file, then default: keep, but stop where `CI` is set.
fn resolve(
    options: &types::RunOptions,
    config: &ProjectConfig,
    invocation: &Invocation,
) -> RunOptions {
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
    }
}

/// Runs the tests and shows what happens meanwhile.
pub(super) async fn run_and_show(
    project: Arc<Project>,
    tests: Vec<TestDefinition>,
    options: RunOptions,
    interrupt: &Interrupt,
    printer: &mut Printer<'_>,
) -> Result<RunOutcome, RunError> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let told = sender.clone();
    // Fails only when nobody shows events any more.
    let notify = Arc::new(move |event| drop(told.send(event)));
    let cancel = interrupt.token.clone();
    let running = runner::run(project, tests, options, notify, cancel);
    tokio::pin!(running);
    let mut progress = printer.progress();
    let mut told_of_interrupt = false;
    let report = loop {
        tokio::select! {
            biased;
            // A closed stderr must not end a run.
            Some(event) = events.recv() => drop(progress.on_event(&event)),
            report = &mut running => break report,
            () = interrupt.token.cancelled(), if !told_of_interrupt => {
                told_of_interrupt = true;
                let signal = interrupt.name().unwrap_or("a signal");
                drop(progress.on_event(&RunEvent::Interrupted { signal }));
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        drop(progress.on_event(&event));
    }
    progress.finish();
    let mut outcome = report?;
    outcome.report.interrupted_by = interrupt.name();
    Ok(outcome)
}

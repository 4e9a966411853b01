//! `clnrm demo`: the main job on small real services, in a temporary project, leaving nothing behind.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clnrm_demo::TOUR_TEST_FILE;
use clnrm_demo::load::{LoadOptions, load};
use clnrm_demo::server::{ServeOptions, serve, termination_signal};
use clnrm_demo::target::LoadTarget;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::services::Passes;
use crate::cli::error::{CliError, CommandFailure};
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::types::{DemoArguments, DemoLoadArguments, DemoPart, DemoServeArguments};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config;
use crate::config::project::CostRates;
use crate::exit::Exit;
use crate::lifecycle::Project;
use crate::manage::ManageOptions;
use crate::report::{Format, Printer, RunFormat, unless_closed};
use crate::runner::event::Events;
use crate::runner::replay::report_of;
use crate::runner::result::RunReport;
use crate::runner::{self, RunOptions};
use crate::servers;
use crate::store::RunOrigin;

/// The report comes after so many samples: recommendations take 30.
const SAMPLES_WANTED: usize = 34;
/// The horizon of the tour's report, short enough for its short history.
const HORIZON: Duration = Duration::from_secs(60);

/// Shows the main job, or runs the part of it that its test file asks for.
pub(in crate::cli) async fn demo(
    options: DemoArguments,
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    match options.part {
        Some(DemoPart::Serve(options)) => serve_demo(options).await,
        Some(DemoPart::Load(options)) => load_demo(options, printer).await,
        None => tour(format, invocation, printer).await,
    }
}

async fn serve_demo(options: DemoServeArguments) -> Result<Exit, CliError> {
    let shutdown = termination_signal().map_err(|source| CommandFailure::System {
        what: "listen for signals",
        source,
    })?;
    let options = ServeOptions {
        port: options.port,
        memory_limit_mb: options.memory_limit_mb,
        started_at: SystemClock.now().since(Timestamp::default()),
    };
    serve(options, std::io::stdout(), shutdown).await?;
    Ok(Exit::Good)
}

async fn load_demo(
    options: DemoLoadArguments,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let parse = |text: &String| {
        text.parse::<LoadTarget>()
            .map_err(|source| CommandFailure::DemoTarget {
                text: text.clone(),
                source,
            })
    };
    let options = LoadOptions {
        targets: options
            .targets
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()?,
        duration: options.duration,
        connections: options.connections,
        jitter: options.jitter,
        seed: options.seed,
    };
    let seed = options.seed;
    for report in load(options).await? {
        unless_closed(printer.text(&format!("{report} (seed {seed})\n")))?;
    }
    Ok(Exit::Good)
}

/// A folder that goes when this does.
struct TemporaryFolder(PathBuf);

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is in the temporary folder at least.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl TemporaryFolder {
    fn create() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("clnrm-demo-{}", std::process::id()));
        let failed = |source| CommandFailure::File {
            what: "create",
            path: path.clone(),
            source,
        };
        fs::create_dir(&path).map_err(failed)?;
        Ok(Self(path))
    }
}

async fn tour(
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen()?;
    let folder = TemporaryFolder::create()?;
    let file = folder.0.join("demo.clnrm.toml");
    fs::write(&file, TOUR_TEST_FILE).map_err(|source| CommandFailure::File {
        what: "write",
        path: file.clone(),
        source,
    })?;
    let invocation = invocation.elsewhere(folder.0.clone());
    let project = invocation.open(&invocation.settings()?, &interrupt.hurry)?;
    unless_closed(printer.note(
        "clnrm demo: three small servers under real load, measured once a second; the report follows in about 40 s",
    ))?;
    // The report is made while the load goes on, as someone would who watches a load test.
    let end_of_load = interrupt.token.child_token();
    let running = tokio::spawn(run_tour(Arc::clone(&project), file, end_of_load.clone()));
    let reported = report_under_load(&project, &interrupt, format, printer).await;
    end_of_load.cancel();
    let run = running
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
    let stopped = project.stop_services(&[]).await?;
    if let Some(signal) = interrupt.signal() {
        return Ok(Exit::Signal(signal));
    }
    if !reported? {
        unless_closed(printer.run(&run, RunFormat::Human))?;
        return Err(CommandFailure::DemoNotMeasured.into());
    }
    let checked = run.leaks.processes_checked + stopped.leaks.processes_checked;
    let leaked = run.leaks.leaked.len() + stopped.leaks.leaked.len();
    unless_closed(printer.note(&format!(
        "clnrm demo: everything is stopped again; {leaked} leaked ({checked} process trees checked)"
    )))?;
    Ok(if leaked == 0 { Exit::Good } else { Exit::Leak })
}

async fn run_tour(
    project: Arc<Project>,
    file: PathBuf,
    cancel: CancellationToken,
) -> Result<RunReport, CliError> {
    let test = config::load_test(&file, &servers::forms())?;
    let options = RunOptions {
        jobs: 1,
        fail_fast: false,
        keep: false,
        origin: RunOrigin::default(),
    };
    let (sender, receiver) = mpsc::channel();
    let notify = Box::new(move |event| drop(sender.send(event)));
    let events = Arc::new(Events::new(Arc::clone(&project.clock), notify));
    runner::run(project, vec![test], options, events, cancel).await?;
    Ok(report_of(&receiver.try_iter().collect::<Vec<_>>()))
}

/// `false` where nothing was ever measured.
async fn report_under_load(
    project: &Arc<Project>,
    interrupt: &Interrupt,
    format: Format,
    printer: &mut Printer<'_>,
) -> Result<bool, CliError> {
    let measured = wait_for_samples(project);
    if interrupt
        .token
        .run_until_cancelled(measured)
        .await
        .unwrap_or(Ok(false))?
    {
        let options = ManageOptions {
            auto_scale: true,
            predict_load: true,
            optimize_resources: true,
            horizon: HORIZON,
            dry_run: false,
            selection: Vec::new(),
            cost: CostRates::default(),
        };
        let report = Passes::new(Arc::clone(project))
            .next(&options, printer)
            .await?;
        unless_closed(printer.manage(&report, format))?;
        return Ok(true);
    }
    Ok(false)
}

/// `false` when that takes too long: the run has failed.
async fn wait_for_samples(project: &Project) -> Result<bool, CliError> {
    for _ in 0..600 {
        let counts = project
            .store
            .call(|store| {
                let services = store.services()?;
                services
                    .iter()
                    .map(|service| Ok(store.raw_samples(service.id)?.len()))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        if counts
            .iter()
            .min()
            .is_some_and(|fewest| *fewest >= SAMPLES_WANTED)
        {
            return Ok(true);
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(false)
}

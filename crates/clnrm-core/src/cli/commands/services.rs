//! `clnrm services status | restart | stop | ai-manage`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cli::error::CliError;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::types::{AiManageArguments, RestartArguments, StopArguments};
use crate::clock::{Clock, SystemClock};
use crate::config::project::{CostRates, HORIZON_MINUTES};
use crate::exit::Exit;
use crate::lifecycle::Project;
use crate::lifecycle::recover::Conditions;
use crate::lifecycle::sampler::{Observer, Warn};
use crate::lifecycle::stopped::LeakReport;
use crate::manage::selection::SelectionError;
use crate::manage::status_report::{StatusReport, StopReport};
use crate::manage::{ManageOptions, ManagePass, PassedService, manage};
use crate::report::{Format, Printer, unless_closed};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// Lists the instances of the project.
pub(in crate::cli) async fn status(
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let report = looking(invocation, printer, async |project, printer| {
        let conditions = put_in_order(project, printer).await?;
        project.ensure_guard().await?;
        Ok(project.status(&conditions).await?)
    });
    let report = report.await?.unwrap_or_else(|| StatusReport {
        schema: StatusReport::SCHEMA,
        instances: Vec::new(),
        guard: None,
    });
    unless_closed(printer.status(&report, SystemClock.now(), format))?;
    Ok(Exit::Good)
}

/// Looks at the project's state and, where that cannot be written, at a copy of it; `None` = there is none.
pub(super) async fn looking<T>(
    invocation: &Invocation,
    printer: &mut Printer<'_>,
    look: impl AsyncFn(&Arc<Project>, &mut Printer<'_>) -> Result<T, CliError>,
) -> Result<Option<T>, CliError> {
    let nobody = CancellationToken::new();
    let looked = match invocation.open_existing(&nobody, printer).await {
        Ok(None) => return Ok(None),
        Ok(Some(project)) => look(&project, printer).await,
        Err(error) => Err(error),
    };
    match looked {
        Err(error) => match invocation.open_copy(error, printer)? {
            Some(copy) => look(&copy, printer).await.map(Some),
            None => Ok(None),
        },
        looked => looked.map(Some),
    }
}

/// Stops services and proves that nothing of them is left.
pub(in crate::cli) async fn stop(
    options: StopArguments,
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    // What has begun is finished first; a later second signal ends the grace periods.
    let interrupt = Interrupt::listen()?;
    let settings = invocation.settings()?;
    let not_looked_for = invocation.end_abandoned(&settings, printer).await?;
    let mut report = match invocation.open_if_there(&settings, &interrupt.hurry)? {
        Some(project) => {
            put_in_order(&project, printer).await?;
            project.stop_services(&options.names).await?
        }
        None if options.all => StopReport {
            schema: StopReport::SCHEMA,
            stopped: Vec::new(),
            leaks: LeakReport::default(),
        },
        None => return Err(no_match(options.names).into()),
    };
    if let Some(error) = not_looked_for {
        report.leaks.unchecked.get_or_insert(error.to_string());
    }
    unless_closed(printer.stop(&report, format))?;
    Ok(match interrupt.signal() {
        _ if !report.leaks.leaked.is_empty() => Exit::Leak,
        Some(signal) => Exit::Signal(signal),
        None => Exit::Good,
    })
}

/// Replaces a service's instances by fresh ones.
pub(in crate::cli) async fn restart(
    options: RestartArguments,
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    // What has begun is finished first; a later second signal ends the grace periods.
    let interrupt = Interrupt::listen()?;
    let Some(project) = invocation.open_existing(&interrupt.hurry, printer).await? else {
        return Err(no_match(vec![options.name]).into());
    };
    put_in_order(&project, printer).await?;
    let report = project.restart_service(&options.name).await?;
    unless_closed(printer.restart(&report, format))?;
    Ok(interrupt.signal().map_or(Exit::Good, Exit::Signal))
}

/// Predicts load, scales services and advises on resources, from what was measured.
pub async fn ai_manage(
    options: AiManageArguments,
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen()?;
    let settings = invocation.settings()?;
    let pause = options.interval.unwrap_or(DEFAULT_INTERVAL);
    let watch = options.watch;
    let options = manage_options(options, settings.config.cost.clone());
    let opened = invocation.open_existing(&interrupt.hurry, printer).await;
    let opened = match opened {
        Err(error) if !options.acts() => invocation.open_copy(error, printer)?,
        opened => opened?,
    };
    let Some(project) = opened else {
        if !options.selection.is_empty() {
            return Err(no_match(options.selection).into());
        }
        unless_closed(printer.manage(&ManagePass::empty(&options, SystemClock.now()), format))?;
        return Ok(Exit::Good);
    };
    project.ensure_guard().await?;
    let mut passes = Passes::new(project);
    loop {
        // An interrupt takes effect between passes: a scaling that has begun is finished first.
        let report = passes.next_anyhow(&options, invocation, printer).await?;
        if watch {
            printer.manage_again(&report, format)?;
        } else {
            printer.manage(&report, format)?;
        }
        let failed = report.services.iter().any(has_failed);
        if !watch {
            return Ok(if failed {
                Exit::ServiceFailed
            } else {
                Exit::Good
            });
        }
        passes.sample_until(&interrupt.token);
        if interrupt
            .token
            .run_until_cancelled(sleep(pause))
            .await
            .is_none()
        {
            return Ok(interrupt.signal().map_or(Exit::Good, Exit::Signal));
        }
    }
}

/// Passes over one project, one after the other.
pub(super) struct Passes {
    project: Arc<Project>,
    observer: Arc<Observer>,
    sampling: Option<JoinHandle<()>>,
    warn: Arc<Warn>,
    notes: mpsc::UnboundedReceiver<String>,
}

impl Passes {
    pub(super) fn new(project: Arc<Project>) -> Self {
        let (sender, notes) = mpsc::unbounded_channel();
        let warn: Arc<Warn> = Arc::new(move |note: String| drop(sender.send(note)));
        Self {
            observer: Arc::new(Observer::new(Arc::clone(&project), Arc::clone(&warn))),
            project,
            sampling: None,
            warn,
            notes,
        }
    }

    /// One pass; over a copy, from now on, where it cannot be recorded and nothing else is to be done.
    async fn next_anyhow(
        &mut self,
        options: &ManageOptions,
        invocation: &Invocation,
        printer: &mut Printer<'_>,
    ) -> Result<ManagePass, CliError> {
        match self.next(options, printer).await {
            Err(error) if !options.acts() && !self.project.looks_only => {
                if let Some(copy) = invocation.open_copy(error, printer)? {
                    if let Some(sampling) = self.sampling.take() {
                        sampling.abort();
                    }
                    *self = Self::new(copy);
                }
                self.next(options, printer).await
            }
            report => report,
        }
    }

    /// One pass; what had to be put in order is told on stderr.
    pub(super) async fn next(
        &mut self,
        options: &ManageOptions,
        printer: &mut Printer<'_>,
    ) -> Result<ManagePass, CliError> {
        let report = manage(&self.project, options, &self.observer, self.warn.as_ref()).await?;
        while let Ok(note) = self.notes.try_recv() {
            unless_closed(printer.warning(&note))?;
        }
        Ok(report)
    }

    /// Samples between the passes that are to come.
    fn sample_until(&mut self, cancel: &CancellationToken) {
        if self.sampling.is_none() {
            self.sampling = Some(self.observer.go_on_until(cancel.clone()));
        }
    }
}

fn has_failed(service: &PassedService) -> bool {
    service
        .scaling
        .as_ref()
        .is_some_and(|scaling| scaling.error.is_some())
}

fn manage_options(options: AiManageArguments, cost: CostRates) -> ManageOptions {
    let minutes = options.horizon_minutes.unwrap_or(HORIZON_MINUTES);
    ManageOptions {
        auto_scale: options.auto_scale,
        predict_load: options.predict_load,
        optimize_resources: options.optimize_resources,
        horizon: Duration::from_secs(minutes * 60),
        dry_run: options.dry_run,
        selection: options.service,
        cost,
    }
}

async fn put_in_order(
    project: &Project,
    printer: &mut Printer<'_>,
) -> Result<Conditions, CliError> {
    let recovered = project.recover().await?;
    for note in recovered.notes {
        unless_closed(printer.warning(&note))?;
    }
    Ok(recovered.conditions)
}

fn no_match(names: Vec<String>) -> SelectionError {
    SelectionError::NoMatch {
        pattern: names.into_iter().next().unwrap_or_default(),
        known: Vec::new(),
    }
}

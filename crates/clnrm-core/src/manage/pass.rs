//! One pass of `ai-manage`: gather, decide, act, report.

use std::sync::Arc;
use std::time::Duration;

use super::assessment_view;
use super::decide::{Decided, decide};
use super::error::ManageError;
use super::manage_report::{ManageReport, Recommendation, ServiceReport, ServiceState};
use super::scale::Scaling;
use super::selection::select;
use crate::config::project::CostRates;
use crate::lifecycle::project::Project;
use crate::lifecycle::sampler::{Observer, Warn};
use crate::store::InstanceRow;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ManageOptions {
    /// Decide about scaling and, without `dry_run`, carry it out.
    pub auto_scale: bool,
    /// Predict load.
    pub predict_load: bool,
    /// Advise on pools and allotments.
    pub optimize_resources: bool,
    /// How far ahead.
    pub horizon: Duration,
    /// Do nothing but say what would be done.
    pub dry_run: bool,
    /// Names or patterns; empty = every service.
    pub selection: Vec<String>,
    /// Prices.
    pub cost: CostRates,
}

impl ManageOptions {
    /// Whether anything may be started or stopped.
    pub fn acts(&self) -> bool {
        self.auto_scale && !self.dry_run
    }
}

/// Makes one pass over what `observer` sees. Notes about what had to be put in order go to `warn`.
pub async fn manage(
    project: &Arc<Project>,
    options: &ManageOptions,
    observer: &Observer,
    warn: &Warn,
) -> Result<ManageReport, ManageError> {
    let recovered = project.recover().await?;
    let conditions = recovered.conditions;
    recovered.notes.into_iter().for_each(warn);
    let services = project.store.call(|store| store.services()).await?;
    let mut services = select(services, &options.selection)?;
    services.retain(|service| !service.definition.is_job());
    if services.is_empty() && !options.selection.is_empty() {
        return Err(ManageError::OnlyJobs);
    }
    let looked = observer.look_at(&services).await;
    looked?;

    let generated_at = project.now();
    let decided = decide(project, services, options, conditions, generated_at).await?;
    let mut reports = Vec::new();
    let mut recommendations = Vec::new();
    let scalings = act(project, &decided, options).await;
    let ambiguous = names_used_twice(&decided);
    for (service, scaling) in decided.iter().zip(scalings) {
        let file = ambiguous
            .contains(&service.row.name)
            .then(|| service.row.file.display().to_string());
        let mut report = assessment_view::service(service, file);
        report.scaling = scaling.map(|scaling| assessment_view::beside_memory(scaling, service));
        reports.push(report);
        recommendations.extend(service.assessment.recommendations.iter().cloned());
    }
    crate::services::service_manager::cost::sort(&mut recommendations);
    let currency = options.cost.currency.as_deref();
    let recommendations: Vec<Recommendation> = recommendations
        .iter()
        .map(|found| assessment_view::recommendation(found, currency))
        .collect();
    Ok(ManageReport {
        schema: ManageReport::SCHEMA,
        generated_at,
        horizon_minutes: options.horizon.as_secs() / 60,
        dry_run: options.dry_run,
        services: reports,
        recommendations: options.optimize_resources.then_some(recommendations),
    })
}

/// Act: carry out what was decided, all services at once.
async fn act(
    project: &Arc<Project>,
    decided: &[Decided],
    options: &ManageOptions,
) -> Vec<Option<super::manage_report::ScalingReport>> {
    let scalings = decided.iter().map(|service| {
        let project = Arc::clone(project);
        let scaling = Scaling::of(service);
        let (auto_scale, dry_run) = (options.auto_scale, options.dry_run);
        async move {
            if !auto_scale {
                return None;
            }
            match scaling {
                None => Some(assessment_view::nothing_to_scale()),
                Some(scaling) if dry_run => Some(scaling.report),
                Some(scaling) => Some(scaling.carry_out(&project).await),
            }
        }
    });
    let tasks: Vec<_> = scalings.map(tokio::spawn).collect();
    let mut reports = Vec::with_capacity(tasks.len());
    for task in tasks {
        reports.push(finished(task.await));
    }
    reports
}

/// What a task answered; its panic goes on here.
pub(super) fn finished<T>(answer: Result<T, tokio::task::JoinError>) -> T {
    answer.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

fn names_used_twice(decided: &[Decided]) -> Vec<String> {
    let mut names: Vec<&str> = decided
        .iter()
        .map(|service| service.row.name.as_str())
        .collect();
    names.sort_unstable();
    names
        .windows(2)
        .filter(|pair| pair.first() == pair.last())
        .filter_map(|pair| Some((*pair.first()?).to_owned()))
        .collect()
}

impl ServiceReport {
    /// Whether a service with these instances runs.
    pub(super) fn state_of(live: &[InstanceRow]) -> ServiceState {
        if live.is_empty() {
            ServiceState::Stopped
        } else {
            ServiceState::Running
        }
    }
}

//! One pass of `ai-manage`: gather, decide, act, report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::manage_report::{ManageReport, Recommendation, ServiceReport, ServiceState};
use super::project::Project;
use super::recover::RecoverError;
use super::sampler::{Sampler, root, watched};
use super::scale::{self, Scaling};
use super::selection::{SelectionError, select};
use super::{assessment_view, evidence};
use crate::clock::Timestamp;
use crate::config::project::CostRates;
use crate::metrics::Reading;
use crate::runtime::Supervisor;
use crate::services::service_manager::{Assessment, Requested};
use crate::store::{
    ActionId, InstanceRow, InstanceState, LeaseRow, ServiceId, ServiceRow, StoreError, StoreHandle,
};

/// From so many services on, a second connection that reads half of them saves more than opening it costs.
const WORTH_TWO_READERS: usize = 50;

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

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ManageError {
    /// The state before could not be established.
    #[error("cannot put the project in order")]
    Recover(#[source] RecoverError),
    /// A name that matches nothing.
    #[error(transparent)]
    Selection(SelectionError),
    /// The history failed.
    #[error("cannot read or write the history")]
    Store(#[source] StoreError),
}

/// Everything about one service, before anything is done.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) row: ServiceRow,
    pub(super) live: Vec<InstanceRow>,
    pub(super) assessment: Assessment,
    pub(super) pool_basis: Option<String>,
    /// The newest action that the decision took into account.
    pub(super) last_action: Option<ActionId>,
    pub(super) sources: Option<String>,
}

/// Makes one pass. Notes about what had to be put in order go to `warn`.
pub async fn manage(
    project: &Arc<Project>,
    options: &ManageOptions,
    warn: Arc<super::sampler::Warn>,
) -> Result<ManageReport, ManageError> {
    let recovered = project.recover().await.map_err(ManageError::Recover)?;
    recovered.notes.into_iter().for_each(|note| warn(note));
    let services = project
        .store
        .call(|store| store.services())
        .await
        .map_err(ManageError::Store)?;
    let services = select(services, &options.selection).map_err(ManageError::Selection)?;
    sample(project, &services, Arc::clone(&warn)).await?;

    let generated_at = project.now();
    let decided = decide(project, services, options, generated_at).await?;
    let mut reports = Vec::new();
    let mut recommendations = Vec::new();
    let scalings = act(project, &decided, options).await;
    let ambiguous = names_used_twice(&decided);
    for (service, scaling) in decided.iter().zip(scalings) {
        let file = ambiguous
            .contains(&service.row.name)
            .then(|| service.row.file.display().to_string());
        let mut report = assessment_view::service(service, file, options);
        report.scaling = scaling;
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

/// Gather: a fresh sample of everything selected that runs.
async fn sample(
    project: &Arc<Project>,
    services: &[ServiceRow],
    warn: Arc<super::sampler::Warn>,
) -> Result<(), ManageError> {
    let (live, readings) = project
        .store
        .call(|store| Ok((store.live_instances()?, store.readings()?)))
        .await
        .map_err(ManageError::Store)?;
    let sampler = Sampler::new(Arc::clone(project), Arc::clone(&warn));
    let mut anything = false;
    for instance in live
        .iter()
        .filter(|instance| instance.state == InstanceState::Running)
    {
        let Some(service) = services
            .iter()
            .find(|service| service.id == instance.start.service)
        else {
            continue;
        };
        let Some(supervisor) = supervisor(instance) else {
            continue;
        };
        let binding = scale::binding(instance);
        let bindings = project.empty_bindings();
        match watched(
            service.id,
            &service.definition,
            &instance.start.id,
            root(&supervisor, instance.main_pid),
            &binding,
            bindings,
        ) {
            Ok(mut watched) => {
                let stored = readings.get(&instance.start.id);
                watched.last =
                    stored.and_then(|reading| serde_json::from_str::<Reading>(&reading.json).ok());
                sampler.watch(instance.start.id.clone(), watched).await;
                anything = true;
            }
            Err(error) => warn(format!(
                "service `{}` cannot be measured: {error}",
                service.name
            )),
        }
    }
    if anything {
        sampler.ensure_two_readings().await;
        sampler.sample().await.map_err(ManageError::Store)?;
    }
    Ok(())
}

fn supervisor(instance: &InstanceRow) -> Option<Supervisor> {
    let shim = instance.shim.clone().map(Supervisor::Shim);
    shim.or_else(|| instance.container_id.clone().map(Supervisor::Container))
}

/// A service that is to be decided about.
pub(super) struct Undecided {
    pub(super) row: ServiceRow,
    pub(super) live: Vec<InstanceRow>,
    pub(super) sources: Option<String>,
}

/// Decide: service by service, so that memory does not grow with the length of their histories.
async fn decide(
    project: &Arc<Project>,
    services: Vec<ServiceRow>,
    options: &ManageOptions,
    now: Timestamp,
) -> Result<Vec<Decided>, ManageError> {
    // The samples that were just taken carry sources newer than those of `services`.
    let (instances, leases, mut sources) = project
        .store
        .call(|store| {
            Ok((
                store.live_instances()?,
                store.open_leases()?,
                store.sources()?,
            ))
        })
        .await
        .map_err(ManageError::Store)?;
    let mut live: BTreeMap<ServiceId, Vec<InstanceRow>> = BTreeMap::new();
    for instance in instances {
        live.entry(instance.start.service)
            .or_default()
            .push(instance);
    }
    let mut first: Vec<Undecided> = services
        .into_iter()
        .map(|row| Undecided {
            live: live.remove(&row.id).unwrap_or_default(),
            sources: sources.remove(&row.id),
            row,
        })
        .collect();
    let decider = Decider {
        leases: Arc::new(leases),
        requested: Requested {
            horizon: options.horizon,
            predict_load: options.predict_load,
            auto_scale: options.auto_scale,
            optimize_resources: options.optimize_resources,
        },
        cost: options.cost.clone(),
        now,
    };
    if first.len() < WORTH_TWO_READERS {
        return decider
            .decide(&project.store, first)
            .await
            .map_err(ManageError::Store);
    }
    let second = first.split_off(first.len() / 2);
    let another = project.store.another().await.map_err(ManageError::Store)?;
    let (mut decided, others) = tokio::try_join!(
        decider.clone().decide(&project.store, first),
        decider.decide(&another, second),
    )
    .map_err(ManageError::Store)?;
    decided.extend(others);
    Ok(decided)
}

/// What all decisions of one pass share.
#[derive(Clone)]
pub(super) struct Decider {
    pub(super) leases: Arc<Vec<LeaseRow>>,
    pub(super) requested: Requested,
    pub(super) cost: CostRates,
    pub(super) now: Timestamp,
}

impl Decider {
    async fn decide(
        self,
        store: &StoreHandle,
        services: Vec<Undecided>,
    ) -> Result<Vec<Decided>, StoreError> {
        store
            .call(move |store| {
                services
                    .into_iter()
                    .map(|service| evidence::decide_one(store, service, &self))
                    .collect()
            })
            .await
    }
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
        reports.push(
            task.await
                .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())),
        );
    }
    reports
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

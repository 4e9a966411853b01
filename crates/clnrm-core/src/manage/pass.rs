//! One pass of `ai-manage`: gather, decide, act, report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::decide::decide;
use super::decided::{Decided, finished};
use super::error::ManageError;
use super::options::ManageOptions;
use super::scale::{Scaling, ScalingOutcome};
use super::selection::select;
use crate::backend::Condition;
use crate::clock::Timestamp;
use crate::lifecycle::project::Project;
use crate::lifecycle::sampler::{Observer, Warn};
use crate::services::service_manager::{Assessment, CostRecommendation, Sources, cost};
use crate::store::{InstanceId, StoreError};

/// What one pass saw, decided and did: records, for whoever words them.
#[derive(Debug)]
pub struct ManagePass {
    pub generated_at: Timestamp,
    /// How far ahead it looked.
    pub horizon: Duration,
    /// Decisions were made, nothing was done.
    pub dry_run: bool,
    pub currency: Option<String>,
    pub services: Vec<PassedService>,
    /// Of all services, most important first; `None` = resources were not looked at.
    pub recommendations: Option<Vec<CostRecommendation>>,
}

/// One service in a pass.
#[derive(Debug)]
pub struct PassedService {
    pub name: String,
    /// The test file that declares it, where two services share the name.
    pub file: Option<PathBuf>,
    /// Live instances before anything was done.
    pub instances: u32,
    pub assessment: Assessment,
    /// Where its metrics come from, or why they are absent.
    pub sources: Sources,
    /// The instances that do not serve.
    pub impaired: Vec<(InstanceId, Condition)>,
    /// What became of the decision about its instances; `None` = there was none to be made.
    pub scaling: Option<ScalingOutcome>,
}

impl ManagePass {
    pub fn empty(options: &ManageOptions, generated_at: Timestamp) -> Self {
        Self {
            generated_at,
            horizon: options.horizon,
            dry_run: options.dry_run,
            currency: options.cost.currency.clone(),
            services: Vec::new(),
            recommendations: options.optimize_resources.then(Vec::new),
        }
    }
}

/// Makes one pass over what `observer` sees. Notes about what had to be put in order go to `warn`.
pub async fn manage(
    project: &Arc<Project>,
    options: &ManageOptions,
    observer: &Observer,
    warn: &Warn,
) -> Result<ManagePass, ManageError> {
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
    let mut decided = decide(project, services, options, conditions, generated_at).await?;
    if options.acts() {
        record(project, &mut decided).await?;
    }
    let outcomes = act(project, &decided, options).await;
    let ambiguous = names_used_twice(&decided);
    let passed = |(service, scaling): (Decided, _)| PassedService {
        instances: u32::try_from(service.live.len()).unwrap_or(u32::MAX),
        file: ambiguous
            .contains(&service.row.name)
            .then_some(service.row.file),
        name: service.row.name,
        assessment: service.assessment,
        sources: service.sources.unwrap_or_default(),
        impaired: service.impaired,
        scaling,
    };
    let services: Vec<PassedService> = decided.into_iter().zip(outcomes).map(passed).collect();
    Ok(ManagePass {
        recommendations: options
            .optimize_resources
            .then(|| ranked_recommendations(&services)),
        services,
        ..ManagePass::empty(options, generated_at)
    })
}

fn ranked_recommendations(services: &[PassedService]) -> Vec<CostRecommendation> {
    let found = services.iter();
    let mut found: Vec<CostRecommendation> = found
        .flat_map(|service| service.assessment.recommendations.iter().cloned())
        .collect();
    cost::sort(&mut found);
    found
}

/// What was decided is on record before anything is done about it.
async fn record(project: &Project, decided: &mut [Decided]) -> Result<(), StoreError> {
    let scaled = |service: &&mut Decided| service.assessment.scaling.is_some();
    let decisions: Vec<_> = decided
        .iter()
        .filter_map(|service| Some((service.row.id, service.assessment.scaling.clone()?)))
        .collect();
    let ids = project
        .store
        .call(move |store| store.record_decisions(&decisions))
        .await?;
    for (service, id) in decided.iter_mut().filter(scaled).zip(ids) {
        service.decision = Some(id);
    }
    Ok(())
}

/// Act: carry out what was decided, all services at once.
async fn act(
    project: &Arc<Project>,
    decided: &[Decided],
    options: &ManageOptions,
) -> Vec<Option<ScalingOutcome>> {
    let scalings = decided.iter().map(|service| {
        let project = Arc::clone(project);
        let scaling = Scaling::of(service);
        let auto_scale = options.auto_scale;
        async move {
            match scaling {
                Some(scaling) => Some(scaling.carry_out(&project).await),
                None => auto_scale.then(ScalingOutcome::default),
            }
        }
    });
    let tasks: Vec<_> = scalings.map(tokio::spawn).collect();
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        outcomes.push(finished(task.await));
    }
    outcomes
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

//! Carries out a scaling decision: starts instances and waits until they are ready, or drains and stops idle ones.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::decided::Decided;
use crate::backend::{NetworkNames, OnPull};
use crate::config::definition::ServiceDefinition;
use crate::lifecycle::StartPlan;
use crate::lifecycle::neighbours::{names_like, neighbours};
use crate::lifecycle::project::Project;
use crate::lifecycle::start_failure::StartFailure;
use crate::lifecycle::stop::EndError;
use crate::services::service_manager::{ScalingAction, ScalingDecision};
use crate::store::{
    ActionId, ActionRow, ActionStart, DecisionId, InstanceRow, InstanceState, NewAction, ServiceId,
    StoreError,
};
use crate::text::one_line;

/// A decision together with what carrying it out takes.
#[derive(Debug)]
pub(super) struct Scaling {
    service: ServiceId,
    definition: ServiceDefinition,
    live: Vec<InstanceRow>,
    decision: ScalingDecision,
    recorded: DecisionId,
    last_action: Option<ActionId>,
}

/// What became of a decision.
#[derive(Debug, Default)]
pub struct ScalingOutcome {
    /// Whether it was carried out.
    pub performed: bool,
    /// How long that took, readiness included.
    pub took: Option<Duration>,
    /// Instances that really run afterwards, where it was carried out (also in part).
    pub instances_after: Option<u32>,
    /// Why it could not be carried out.
    pub error: Option<ScalingError>,
}

/// Why a decision was not carried out, or not to the end.
#[derive(Debug, Error)]
pub enum ScalingError {
    /// Two commands never scale twice.
    #[error(
        "another command scaled this service at {} ({} → {}) since this was decided",
        .0.at, .0.from_instances, .0.to_instances
    )]
    Superseded(ActionRow),
    /// An instance did not start.
    #[error("{}", sentence(.0))]
    Start(Box<StartFailure>),
    /// An instance did not stop.
    #[error("{}", one_line(.0))]
    Stop(EndError),
    /// Fewer were idle than were to go.
    #[error("every other instance is leased")]
    AllLeased,
    #[error(transparent)]
    Store(StoreError),
}

struct Reached {
    instances: u32,
    error: Option<ScalingError>,
}

impl Scaling {
    /// `None` where nothing is to be carried out: the service has no instances, or nobody is to act.
    pub(super) fn of(decided: &Decided) -> Option<Self> {
        let (decision, recorded) = (decided.assessment.scaling.clone()?, decided.decision?);
        Some(Self {
            service: decided.row.id,
            definition: decided.row.definition.clone(),
            live: decided.live.clone(),
            recorded,
            last_action: decided.last_action,
            decision,
        })
    }

    /// Does it, unless another command has acted since the decision was made.
    pub(super) async fn carry_out(self, project: &Arc<Project>) -> ScalingOutcome {
        let mut outcome = ScalingOutcome::default();
        if self.decision.action == ScalingAction::NoAction {
            return outcome;
        }
        let started = Instant::now();
        let action = match self.begin(project).await {
            Ok(ActionStart::Begun(action)) => action,
            Ok(ActionStart::Superseded(other)) => {
                outcome.error = Some(ScalingError::Superseded(other));
                outcome.instances_after = self.live_now(project).await;
                return outcome;
            }
            Err(error) => {
                outcome.error = Some(ScalingError::Store(error));
                return outcome;
            }
        };
        let reached = match self.decision.action {
            ScalingAction::ScaleUp { by } => self.add(project, by).await,
            ScalingAction::ScaleDown { by } => self.remove(project, by).await,
            ScalingAction::NoAction => return outcome,
        };
        let took = started.elapsed();
        let message = reached.error.as_ref().map(ToString::to_string);
        outcome.performed = reached.error.is_none();
        outcome.took = Some(took);
        outcome.instances_after = Some(reached.instances);
        outcome.error = reached.error;
        if let Err(error) = record(project, action, message, took).await {
            outcome.error.get_or_insert(ScalingError::Store(error));
        }
        outcome
    }

    async fn live_now(&self, project: &Project) -> Option<u32> {
        let service = self.service;
        let live = project
            .store
            .call(move |store| store.live_instances_of(service))
            .await
            .ok()?;
        u32::try_from(live.len()).ok()
    }

    /// The action is on record before anything is started: the cool-down holds even if we are killed now.
    async fn begin(&self, project: &Project) -> Result<ActionStart, StoreError> {
        let action = NewAction {
            service: self.service,
            decision: self.recorded,
            expected_last: self.last_action,
            at: project.now(),
            from_instances: self.decision.from,
            to_instances: self.decision.to,
            reason: self.decision.reason.clone(),
            memory_mb_before: self.decision.memory_before_mb,
        };
        project
            .store
            .call(move |store| store.begin_action(&action))
            .await
    }

    async fn add(&self, project: &Arc<Project>, by: u32) -> Reached {
        let neighbours = match neighbours(project, &self.definition, self.live.first()).await {
            Ok(neighbours) => Arc::new(neighbours),
            Err(error) => {
                return Reached {
                    instances: self.decision.from,
                    error: Some(ScalingError::Store(error)),
                };
            }
        };
        let mut starting = JoinSet::new();
        let sibling = (self.live.iter()).rfind(|row| row.start.reached.inside.is_some());
        let names = match &self.definition.pool {
            pool if pool.is_wanted() => NetworkNames::default(),
            _ => names_like(sibling.and_then(|row| row.start.reached.inside.as_ref())),
        };
        for _ in 0..by {
            let (project, neighbours) = (Arc::clone(project), Arc::clone(&neighbours));
            let names = names.clone();
            let (service, definition) = (self.service, self.definition.clone());
            starting.spawn(async move {
                let plan = StartPlan {
                    service,
                    definition: &definition,
                    run: None,
                    neighbours: &neighbours,
                    names,
                    preferred: None,
                    cancel: project.hurry.clone(),
                    on_pull: OnPull::default(),
                };
                project.start_spare(&plan).await.map(drop)
            });
        }
        let results = starting.join_all().await;
        let failed = results.iter().filter(|result| result.is_err()).count();
        Reached {
            instances: self
                .decision
                .to
                .saturating_sub(u32::try_from(failed).unwrap_or(u32::MAX)),
            error: results
                .into_iter()
                .find_map(Result::err)
                .map(|failure| ScalingError::Start(Box::new(failure))),
        }
    }

    /// Newest first: the older ones are what tests and people know.
    async fn remove(&self, project: &Arc<Project>, by: u32) -> Reached {
        let mut removed = 0;
        let mut error = None;
        let mut idle: Vec<&InstanceRow> = self
            .live
            .iter()
            .filter(|instance| instance.state == InstanceState::Running)
            .collect();
        idle.sort_by_key(|instance| std::cmp::Reverse(instance.start.created_at));
        for instance in idle {
            if removed == by {
                break;
            }
            let id = instance.start.id.clone();
            // Claimed atomically: a test that leases it in this very moment keeps it.
            match project
                .store
                .call(move |store| store.record_stopping_if_idle(&id))
                .await
            {
                Ok(true) => {}
                Ok(false) => continue,
                Err(failure) => {
                    error.get_or_insert(ScalingError::Store(failure));
                    break;
                }
            }
            match project
                .stop_instance(instance, &self.definition.name, self.definition.stop.grace)
                .await
            {
                Ok(_) => removed += 1,
                // It is on record as stopping, and goes with the next command: no other one goes in its place.
                Err(failure) => {
                    error = Some(ScalingError::Stop(failure));
                    break;
                }
            }
        }
        if removed < by {
            error.get_or_insert(ScalingError::AllLeased);
        }
        Reached {
            instances: self.decision.from.saturating_sub(removed),
            error,
        }
    }
}

fn sentence(failure: &StartFailure) -> String {
    let log = failure
        .log_tail
        .last()
        .map(|line| format!(" (last line of its log: {line})"))
        .unwrap_or_default();
    format!("{}{log}", one_line(failure))
}

async fn record(
    project: &Project,
    action: ActionId,
    error: Option<String>,
    took: Duration,
) -> Result<(), StoreError> {
    project
        .store
        .call(move |store| match error {
            None => store.finish_action(action, took),
            Some(message) => store.fail_action(action, &message, took),
        })
        .await
}

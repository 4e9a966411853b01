//! The containers that an engine has, in one question.

use std::collections::HashMap;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptions;

use super::DockerBackend;
use super::error::EngineError;
use super::labels::{INSTANCE, PROJECT};
use super::project_mark::container_name;
use super::state_words::understood;
use crate::backend::instance::Condition;

const NETWORK_ID_DIGITS: usize = 64;

/// A container of this project, as the engine lists it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) id: String,
    /// Whether it has the name that it was given. An image that was made of a container hands the labels on.
    pub(super) has_our_name: bool,
    pub(super) instance: String,
    pub(super) state: ListedState,
}

/// What this project has on the engine, at one moment.
#[derive(Debug)]
pub(super) struct ContainerList(pub(super) Vec<Listed>);

impl ContainerList {
    /// The instances that have a container, whatever its state.
    pub(super) fn instance_ids(&self) -> Vec<String> {
        let ours = self.0.iter().filter(|listed| listed.has_our_name);
        ours.map(|listed| listed.instance.clone()).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListedState {
    Created,
    Up(Condition),
    Down,
}

impl DockerBackend {
    /// Every container of this project.
    pub(super) async fn containers(&self) -> Result<ContainerList, EngineError> {
        use bollard::models::ContainerSummaryStateEnum as State;
        self.engine.wait_while_away().await;
        let found = self.labelled(&[&self.project.label()]).await?;
        let listed = found.into_iter().filter_map(|container| {
            let instance = container.labels.as_ref()?.get(INSTANCE)?.clone();
            Some(Listed {
                id: container.id.clone()?,
                has_our_name: project_of_ours(&container).is_some(),
                instance,
                state: match container.state {
                    Some(State::CREATED) => ListedState::Created,
                    Some(State::RUNNING) => ListedState::Up(while_running(&container)),
                    Some(State::PAUSED) => ListedState::Up(Condition::Paused),
                    Some(State::RESTARTING) => ListedState::Up(Condition::Restarting),
                    _ => ListedState::Down,
                },
            })
        });
        Ok(ContainerList(listed.collect()))
    }

    /// Every container with these labels, whoever made it.
    pub(super) async fn labelled(
        &self,
        labels: &[&str],
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
            ..ListContainersOptions::default()
        };
        self.engine
            .ask("list containers", async |client| {
                understood(client.list_containers(Some(options)).await)
            })
            .await
    }
}

/// The project of a container that clnrm made: one that has the name that its labels lead to.
pub(super) fn project_of_ours(container: &ContainerSummary) -> Option<String> {
    let labels = container.labels.as_ref()?;
    let (project, instance) = (labels.get(PROJECT)?, labels.get(INSTANCE)?);
    let name = container_name(project, instance);
    // The engine writes a slash before each name.
    let mut names = container.names.iter().flatten();
    let has_name = names.any(|given| given.trim_start_matches('/') == name);
    has_name.then(|| project.clone())
}

/// Whether it is in no network any more, and was made in one: Docker tells its id, Podman only its kind.
fn is_disconnected(container: &ContainerSummary) -> bool {
    let settings = container.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let made_in = container.host_config.as_ref();
    let made_in = made_in.and_then(|config| config.network_mode.as_ref());
    networks.is_some_and(HashMap::is_empty)
        && made_in.is_some_and(|id| id.len() == NETWORK_ID_DIGITS)
}

/// A list has the verdict of the health check in words only: `Up 2 hours (unhealthy)`.
fn while_running(container: &ContainerSummary) -> Condition {
    if is_disconnected(container) {
        return Condition::Disconnected;
    }
    match &container.status {
        Some(status) if status.contains("(unhealthy)") => Condition::Unhealthy,
        _ => Condition::Serving,
    }
}

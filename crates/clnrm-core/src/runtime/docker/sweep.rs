//! Ends what must not be there: by label, and nothing without ours.

use std::collections::HashMap;

use bollard::query_parameters::ListContainersOptions;

use super::container::Listed;
use super::error::{ContainerError, EngineError};
use super::{DockerRuntime, labels};
use crate::clock::Timestamp;

impl DockerRuntime {
    /// The instances that have a container in this project, whatever its state.
    pub async fn instance_ids(&self) -> Result<Vec<String>, EngineError> {
        let containers = self.containers().await?;
        Ok(containers
            .into_iter()
            .map(|listed| listed.instance)
            .collect())
    }

    /// Removes the project's network if nothing hangs on it.
    pub async fn tidy(&self) -> Result<(), ContainerError> {
        self.remove_idle_network().await
    }

    /// Removes containers of projects whose folder was deleted, once they have expired; returns what they were.
    ///
    /// Only on an engine of this machine: elsewhere a folder that is not here may well be there.
    pub async fn end_abandoned(&self, now: Timestamp) -> Result<Vec<String>, EngineError> {
        if !self
            .engine
            .connected()
            .await?
            .address
            .starts_with("unix://")
        {
            return Ok(Vec::new());
        }
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([(
                "label".to_owned(),
                vec![labels::EXPIRES.to_owned(), labels::STATE_DIR.to_owned()],
            )])),
            ..ListContainersOptions::default()
        };
        let found = self
            .engine
            .ask("list containers", async |client| {
                client.list_containers(Some(options)).await
            })
            .await?;
        let mut ended = Vec::new();
        for container in found {
            let (Some(id), Some(labels)) = (container.id, container.labels) else {
                continue;
            };
            if labels::is_abandoned(&labels, now) {
                self.remove(&id).await?;
                ended.push(format!("container {} of a deleted project", short(&id)));
            }
        }
        Ok(ended)
    }

    pub(super) async fn end_marked(
        &self,
        is_meant: impl Fn(&Listed) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let mut ended = Vec::new();
        for container in self.containers().await? {
            if is_meant(&container) {
                self.remove(&container.id).await?;
                ended.push(format!(
                    "container {} of {}",
                    short(&container.id),
                    container.instance
                ));
            }
        }
        Ok(ended)
    }
}

/// An id as the `docker` command shows it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

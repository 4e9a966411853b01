//! Ends what must not be there: by label and name, and nothing that only has one of them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::error::EngineError;
use super::list::project_of_ours;
use super::network::is_named_as_ours;
use super::{DockerBackend, labels};
use crate::clock::Timestamp;

/// A command that needs no container waits for an engine no longer than this.
const GLANCE_TIMEOUT: Duration = Duration::from_secs(2);

impl DockerBackend {
    /// Removes every container of this project, and its network: for one whose history was deleted. `is_forgotten` is
    /// asked once more when they are known: whoever makes a history meanwhile does so before any container of it.
    ///
    /// An engine that is slow to say what it has is not waited for.
    pub(super) async fn end_without_history(
        &self,
        is_forgotten: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<String>, EngineError> {
        let looking = async {
            let containers = self.containers().await?.instance_ids();
            let label = self.project.label();
            Ok((containers, self.list_networks(Some(&label)).await?))
        };
        let found = timeout(GLANCE_TIMEOUT, looking).await;
        let (containers, networks) = found.unwrap_or_else(|_elapsed| {
            Err(EngineError::Unreachable {
                address: self.engine.address().unwrap_or("its address").to_owned(),
                message: format!("nothing came within {GLANCE_TIMEOUT:?}"),
            })
        })?;
        if !is_forgotten() || containers.is_empty() && networks.is_empty() {
            return Ok(Vec::new());
        }
        let ended = self
            .end_ours(|instance| containers.contains(instance))
            .await?;
        // Best effort: the next container uses it, and whoever ends that removes it.
        let _ = self
            .remove_idle_networks_of(self.project.hash(), |_| true)
            .await;
        Ok(ended)
    }

    /// Removes containers and networks of this user's projects whose folder was deleted, containers once they have
    /// expired; says so in a sentence each.
    ///
    /// Only on an engine of this machine: elsewhere a folder that is not here may well be there.
    pub(super) async fn end_expired(&self, now: Timestamp) -> Result<Vec<String>, EngineError> {
        if !self.engine.is_here().await? {
            return Ok(Vec::new());
        }
        let mut ended = Vec::new();
        let mut projects = self.networks_of_gone_projects().await?;
        for container in self.labelled(&[labels::EXPIRES, labels::HOME]).await? {
            let (Some(id), Some(project)) = (&container.id, project_of_ours(&container)) else {
                continue;
            };
            let labels = container.labels.as_ref();
            if labels.is_some_and(|labels| {
                labels::has_expired(labels, now) && self.project.knows_to_be_gone(labels)
            }) {
                self.remove(id).await?;
                ended.push(format!(
                    "container {} of a deleted project: it had expired, and was removed",
                    short(id)
                ));
                projects.insert(project);
            }
        }
        for project in projects {
            // Best effort: whoever looks next tries again.
            let is_gone = |labels: &_| self.project.knows_to_be_gone(labels);
            let _ = self.remove_idle_networks_of(&project, is_gone).await;
        }
        Ok(ended)
    }

    async fn networks_of_gone_projects(&self) -> Result<BTreeSet<String>, EngineError> {
        let networks = self.list_networks(Some(labels::HOME)).await?.into_iter();
        let gone = networks.filter_map(|network| {
            let labels = network.labels.as_ref()?;
            let project = labels.get(labels::PROJECT)?;
            let is_ours = is_named_as_ours(&network, project);
            (is_ours && self.project.knows_to_be_gone(labels)).then(|| project.clone())
        });
        Ok(gone.collect())
    }

    /// Removes containers of this project by their instances; names what it removed.
    pub(super) async fn end_ours(
        &self,
        is_meant: impl Fn(&String) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let mut ended = Vec::new();
        for container in self.containers().await?.0 {
            if container.has_our_name && is_meant(&container.instance) {
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

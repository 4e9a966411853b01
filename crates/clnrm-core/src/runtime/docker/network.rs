//! The project's own network: the default bridge may be missing, and what hangs on it is not ours.
//!
//! One network a project, made when its first container needs it and removed with its last. It is found by its label and
//! named by its id, because engines up to Docker 24 allow two networks of one name.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;

use super::DockerRuntime;
use super::error::{ContainerError, EngineError};
use super::labels::PROJECT;
use super::project_mark::network_name;
use super::sweep::project_of_ours;

impl DockerRuntime {
    /// The id of the project's network, which is made where there is none.
    pub(super) async fn network(&self) -> Result<String, ContainerError> {
        if let Some(id) = self.networks().await?.into_iter().next() {
            return Ok(id);
        }
        let _one_command_at_a_time = self.network_lock().await?;
        if let Some(id) = self.networks().await?.into_iter().next() {
            return Ok(id);
        }
        let request = NetworkCreateRequest {
            name: network_name(self.project.hash()),
            driver: Some("bridge".to_owned()),
            labels: Some(self.project.labels()),
            ..NetworkCreateRequest::default()
        };
        let made = self
            .engine
            .have_done("create a network", Duration::ZERO, async |client| {
                client.create_network(request).await
            })
            .await?;
        Ok(made.id)
    }

    /// Removes the project's network, if no container is left that might need it.
    pub(super) async fn remove_idle_network(&self) -> Result<(), ContainerError> {
        if self.networks().await?.is_empty() {
            return Ok(());
        }
        let _one_command_at_a_time = self.network_lock().await?;
        Ok(self.remove_idle_network_of(self.project.hash()).await?)
    }

    /// The same for any project, whose own commands may just need it: they make it again then.
    pub(super) async fn remove_idle_network_of(&self, project: &str) -> Result<(), EngineError> {
        let label = format!("{PROJECT}={project}");
        let containers = self.labelled(&[&label]).await?;
        if containers.iter().any(|one| project_of_ours(one).is_some()) {
            return Ok(());
        }
        let name = network_name(project);
        for network in self.labelled_networks(&label).await? {
            let (Some(id), true) = (network.id, network.name.as_deref() == Some(&name)) else {
                continue;
            };
            let removed = self
                .engine
                .have_done("remove a network", Duration::ZERO, async |client| {
                    client.remove_network(&id).await
                })
                .await;
            match removed {
                // 403: a container that another command has just created hangs on it.
                Ok(())
                | Err(EngineError::Refused {
                    status: 403 | 404, ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn networks(&self) -> Result<Vec<String>, EngineError> {
        let found = self.labelled_networks(&self.project.label()).await?;
        Ok(found.into_iter().filter_map(|network| network.id).collect())
    }

    /// Every network with this label.
    pub(super) async fn labelled_networks(&self, label: &str) -> Result<Vec<Network>, EngineError> {
        let options = ListNetworksOptions {
            filters: Some(HashMap::from([(
                "label".to_owned(),
                vec![label.to_owned()],
            )])),
        };
        self.engine
            .ask("list networks", async |client| {
                client.list_networks(Some(options)).await
            })
            .await
    }

    async fn network_lock(&self) -> Result<File, ContainerError> {
        let path = self.state_dir.join("network.lock");
        let locked = path.clone();
        tokio::task::spawn_blocking(move || lock(&locked))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| ContainerError::Lock { path, source })
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.lock()?;
    Ok(file)
}

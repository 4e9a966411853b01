//! The project's own network: the default bridge may be missing, what hangs on it is not ours, and it resolves no names.
//!
//! One network a project, made when its first container needs it and removed with its last. It is found by its label and
//! named by its id, because engines up to Docker 24 allow two networks of one name. Whoever makes one has locked a file
//! in the state folder before: where there is none, there never was a network.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;

use super::DockerRuntime;
use super::error::{ContainerError, EngineError};
use super::labels::PROJECT;
use super::project_mark::network_name;
use super::subnet::{self, Range};
use super::sweep::project_of_ours;

/// Ranges of our own choosing that are tried before the engine chooses.
const RANGES_TRIED: usize = 8;

impl DockerRuntime {
    /// Makes the project's network before anybody asks for it: a container that has to wait for that is ready some 60 ms
    /// later. Until [`DockerRuntime::release_network`] this command does not remove it.
    pub async fn prepare_network(&self) {
        self.needs_network.store(true, Ordering::Release);
        // Whoever needs it is told what is wrong.
        let _ = self.network().await;
    }

    /// The network may go again, once no container is left.
    pub fn release_network(&self) {
        self.needs_network.store(false, Ordering::Release);
    }

    /// Whether this project may ever have had a network.
    pub fn had_network(&self) -> bool {
        self.network_lock_path().exists()
    }

    /// The id of the project's network, which is made where there is none.
    pub(super) async fn network(&self) -> Result<String, ContainerError> {
        let mut known = self.network.lock().await;
        if let Some(id) = &*known {
            return Ok(id.clone());
        }
        let id = match self.networks().await?.into_iter().next() {
            Some(id) => id,
            None => {
                let _one_command_at_a_time = self.network_lock().await?;
                match self.networks().await?.into_iter().next() {
                    Some(id) => id,
                    None => self.make_network().await?,
                }
            }
        };
        Ok(known.insert(id).clone())
    }

    /// It is not there any more.
    pub(super) async fn forget_network(&self) {
        *self.network.lock().await = None;
    }

    async fn make_network(&self) -> Result<String, EngineError> {
        let mut ranges = self.free_ranges().await?;
        let of_the_engine = if self.engine.is_here().await? {
            ranges.len()
        } else {
            // What is routed there is not known here, so the engine chooses as long as it can.
            0
        };
        ranges.insert(of_the_engine, None);
        let mut refused = None;
        for range in ranges {
            match self.make_network_of(range).await {
                Err(error) if is_about_the_range(&error) => {
                    refused.get_or_insert(error);
                }
                made => return made,
            }
        }
        let nothing = EngineError::Refused {
            action: "create a network",
            status: 0,
            message: "no range of addresses was tried".to_owned(),
        };
        Err(refused.unwrap_or(nothing))
    }

    /// `None` in place of a range = the engine chooses one.
    async fn make_network_of(&self, range: Option<String>) -> Result<String, EngineError> {
        let config = range.map(|subnet| IpamConfig {
            subnet: Some(subnet),
            ..IpamConfig::default()
        });
        let request = NetworkCreateRequest {
            name: network_name(self.project.hash()),
            driver: Some("bridge".to_owned()),
            labels: Some(self.project.labels()),
            ipam: config.map(|config| Ipam {
                config: Some(vec![config]),
                ..Ipam::default()
            }),
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

    /// Ranges that neither a network of the engine nor a route of this machine has.
    async fn free_ranges(&self) -> Result<Vec<Option<String>>, EngineError> {
        let networks = self.list_networks(None).await?;
        let configs = networks
            .into_iter()
            .filter_map(|network| network.ipam?.config);
        let subnets = configs.flatten().filter_map(|config| config.subnet);
        let mut taken: Vec<Range> = subnets.filter_map(|subnet| Range::read(&subnet)).collect();
        let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
        taken.extend(subnet::routes(&routes));
        let seed = self.project.hash().get(..2).unwrap_or_default();
        let seed = u8::from_str_radix(seed, 16).unwrap_or_default();
        let free = subnet::free(&taken, seed).take(RANGES_TRIED);
        Ok(free.map(Some).collect())
    }

    /// Removes the project's network, if no container is left that might need it.
    pub(super) async fn remove_idle_network(&self) -> Result<(), ContainerError> {
        if self.needs_network.load(Ordering::Acquire) || self.networks().await?.is_empty() {
            return Ok(());
        }
        let _one_command_at_a_time = self.network_lock().await?;
        self.forget_network().await;
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
        for network in self.list_networks(Some(&label)).await? {
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
        let found = self.list_networks(Some(&self.project.label())).await?;
        Ok(found.into_iter().filter_map(|network| network.id).collect())
    }

    /// Every network with this label; without one, every network.
    pub(super) async fn list_networks(
        &self,
        label: Option<&str>,
    ) -> Result<Vec<Network>, EngineError> {
        let options = ListNetworksOptions {
            filters: label
                .map(|label| HashMap::from([("label".to_owned(), vec![label.to_owned()])])),
        };
        self.engine
            .ask("list networks", async |client| {
                client.list_networks(Some(options)).await
            })
            .await
    }

    fn network_lock_path(&self) -> PathBuf {
        self.state_dir.join("network.lock")
    }

    async fn network_lock(&self) -> Result<File, ContainerError> {
        let path = self.network_lock_path();
        let locked = path.clone();
        tokio::task::spawn_blocking(move || lock(&locked))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| ContainerError::Lock { path, source })
    }
}

/// Whether somebody else was quicker, or has what we could not see.
fn is_about_the_range(error: &EngineError) -> bool {
    let words = ["overlap", "already used", "already in use", "conflict"];
    matches!(error, EngineError::Refused { message, .. }
        if words.iter().any(|word| message.contains(word)))
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

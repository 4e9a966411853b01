//! The project's own network: the default bridge may be missing, what hangs on it is not ours, and it resolves no names.
//!
//! One network a project, made when its first container needs it and removed with its last. Whoever makes or removes it
//! has locked a file in the state folder before, and the file has its id: where there is none, there never was a network.
//! An engine goes on making one for a command that was killed, so there may be another all the same. No two have one
//! name, as a container that is started looks for its network by name; and whoever looks next removes the other one.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;

use super::DockerBackend;
use super::container_error::ContainerError;
use super::error::EngineError;
use super::labels::{PROJECT, STATE_DIR};
use super::list::project_of_ours;
use super::project_mark::{is_network_name, new_network_name};
use super::subnet::{self, Range};
use crate::config::placeholder::HOST_GATEWAY;

/// Ranges of our own choosing that are tried before the engine chooses.
const RANGES_TRIED: usize = 8;

impl DockerBackend {
    /// The id of the project's network, which is made where there is none.
    pub(super) async fn network(&self) -> Result<String, ContainerError> {
        let mut known = self.network.lock().await;
        if let Some(id) = &*known {
            return Ok(id.clone());
        }
        let id = self.find_or_make_network().await?;
        Ok(known.insert(id).clone())
    }

    pub(super) async fn find_or_make_network(&self) -> Result<String, ContainerError> {
        let mut lock = self.network_lock().await?;
        let there = self.networks().await?;
        let ours = there
            .iter()
            .find(|network| network.id == lock.recorded)
            .or_else(|| there.iter().find(|network| network.is_of_this_folder));
        let id = match ours {
            Some(network) => network.id.clone(),
            None => self.make_network().await?,
        };
        self.record_network(&mut lock, &id)?;
        for other in there.iter().filter(|network| network.id != id) {
            // Best effort: one that is in use, or stays, is in nobody's way.
            let _ = self.remove_network(&other.id).await;
        }
        Ok(id)
    }

    /// What stands for this machine in the hosts file of a container on this network. Podman 4 writes Docker's word for it
    /// down as it is: there it is the network's gateway.
    pub(super) async fn host_gateway(&self, network_id: &str) -> Result<String, EngineError> {
        let word = HOST_GATEWAY.to_owned();
        if self.engine.has_links().await? {
            return Ok(word);
        }
        let networks = self.list_networks(Some(&self.project.label())).await?;
        let ours = networks
            .into_iter()
            .find(|network| network.id.as_deref() == Some(network_id));
        let configs = ours.and_then(|network| network.ipam?.config);
        let gateway = configs
            .into_iter()
            .flatten()
            .find_map(|config| config.gateway);
        Ok(gateway.unwrap_or(word))
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
            name: new_network_name(self.project.hash(), rand::random()),
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
        if self.needs_network.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut known = self.network.lock().await;
        if self.networks().await?.is_empty() {
            return Ok(());
        }
        let _one_command_at_a_time = self.network_lock().await?;
        *known = None;
        Ok(self
            .remove_idle_networks_of(self.project.hash(), |_| true)
            .await?)
    }

    /// The same for any project, whose own commands may just need it: they make it again then.
    pub(super) async fn remove_idle_networks_of(
        &self,
        project: &str,
        is_meant: impl Fn(&HashMap<String, String>) -> bool,
    ) -> Result<(), EngineError> {
        let label = format!("{PROJECT}={project}");
        let containers = self.labelled(&[&label]).await?;
        if containers.iter().any(|one| project_of_ours(one).is_some()) {
            return Ok(());
        }
        for network in self.list_networks(Some(&label)).await? {
            let is_ours = is_named_as_ours(&network, project);
            if let (Some(id), Some(labels), true) = (network.id, network.labels, is_ours)
                && is_meant(&labels)
            {
                self.remove_network(&id).await?;
            }
        }
        Ok(())
    }

    /// Unless it is in use.
    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let removed = self
            .engine
            .have_done("remove a network", Duration::ZERO, async |client| {
                client.remove_network(id).await
            })
            .await;
        match removed {
            // 403: a container that another command has just created hangs on it.
            Ok(())
            | Err(EngineError::Refused {
                status: 403 | 404, ..
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn networks(&self) -> Result<Vec<Found>, EngineError> {
        let found = self.list_networks(Some(&self.project.label())).await?;
        let ours = found
            .into_iter()
            .filter(|network| is_named_as_ours(network, self.project.hash()));
        let state_dir = self.state_dir.display().to_string();
        let found = ours.filter_map(|network| {
            let labels = network.labels.unwrap_or_default();
            Some(Found {
                id: network.id?,
                is_of_this_folder: labels.get(STATE_DIR) == Some(&state_dir),
            })
        });
        Ok(found.collect())
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

    pub(super) fn network_lock_path(&self) -> PathBuf {
        self.state_dir.join("network.lock")
    }

    async fn network_lock(&self) -> Result<NetworkLock, ContainerError> {
        let path = self.network_lock_path();
        tokio::task::spawn_blocking(move || NetworkLock::take(&path))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| self.lock_error(source))
    }

    fn record_network(&self, lock: &mut NetworkLock, id: &str) -> Result<(), ContainerError> {
        lock.record(id).map_err(|source| self.lock_error(source))
    }

    fn lock_error(&self, source: io::Error) -> ContainerError {
        let path = self.network_lock_path();
        ContainerError::Lock { path, source }
    }
}

/// A network that has this project's label and name.
#[derive(Debug)]
struct Found {
    id: String,
    /// A folder may have the number of one that was deleted, whose network is still there.
    is_of_this_folder: bool,
}

/// Held by the one command that makes or removes the project's network.
#[derive(Debug)]
struct NetworkLock {
    file: File,
    /// The id of the last one; empty = none, or whoever wrote it was killed.
    recorded: String,
}

impl NetworkLock {
    fn take(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        file.lock()?;
        let mut recorded = String::new();
        file.read_to_string(&mut recorded)?;
        Ok(Self { file, recorded })
    }

    fn record(&mut self, id: &str) -> io::Result<()> {
        if self.recorded == id {
            return Ok(());
        }
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(id.as_bytes())?;
        id.clone_into(&mut self.recorded);
        Ok(())
    }
}

pub(super) fn is_named_as_ours(network: &Network, project: &str) -> bool {
    let name = network.name.as_deref();
    name.is_some_and(|name| is_network_name(name, project))
}

/// Whether somebody else was quicker, or has what we could not see.
fn is_about_the_range(error: &EngineError) -> bool {
    let words = ["overlap", "already used", "already in use", "conflict"];
    matches!(error, EngineError::Refused { message, .. }
        if words.iter().any(|word| message.contains(word)))
}

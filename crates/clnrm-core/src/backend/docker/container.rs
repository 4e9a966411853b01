//! One container: made, started, looked at.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::engine::EngineMark;
use super::error::{ContainerError, EngineError};
use super::image::{ImageFacts, OnPull};
use super::labels::{INSTANCE, PROJECT};
use super::published::{PublishedAt, host_of};
use super::request::{Attachment, ContainerRequest, body};
use super::state_words::understood;
use super::{DockerRuntime, log};
use crate::backend::instance::{
    Condition, InstancePlace, Published, Running, Supervisor, TreeState,
};
use crate::backend::process::log_path;
use crate::backend::shim_protocol::{ExitRecord, ExitStatus};
use crate::backend::wanted_lines::LineWatch;
use crate::clock::Timestamp;
use crate::config::definition::Protocol;

/// Another command may remove the project's network just when we want to use it.
const NETWORK_ATTEMPTS: usize = 3;
const NETWORK_ID_DIGITS: usize = 64;
/// One core.
const NANO_CPUS: i64 = 1_000_000_000;

/// What Docker makes of SIGKILL.
pub(super) const KILLED: i32 = 128 + 9;

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
pub struct ContainerList(pub(super) Vec<Listed>);

impl ContainerList {
    /// The instances that have a container, whatever its state.
    pub fn instance_ids(&self) -> Vec<String> {
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

impl DockerRuntime {
    /// Starts a container and returns as soon as its program runs. It lives on when this process ends. `cancel` ends
    /// the pull of its image.
    pub async fn start(
        &self,
        request: &ContainerRequest,
        on_pull: &OnPull,
        cancel: &CancellationToken,
    ) -> Result<Running, ContainerError> {
        // A pull may take minutes. What comes after it is finished once begun: the engine would not stop halfway either.
        let wanted = request.wanted_image();
        let image = self.image(&wanted, on_pull, cancel).await?;
        let name = self.project.container_name(&request.place.id);
        let published_at = self.published_at().await?;
        let mut warnings = Vec::new();
        let mut remedies = Remedies::default();
        let lines_seen = loop {
            let network_id = self.network().await?;
            let attachment = Attachment {
                host_gateway: self.host_gateway(&network_id).await?,
                network_id,
                bind: published_at.bind.clone(),
                has_links: self.engine.has_links().await?,
            };
            let mut body = body(request, &image, &attachment, &self.project);
            remedies.apply(&mut body);
            let error = match self.create_and_start(&name, body, request, &image).await {
                Ok(lines_seen) => break lines_seen,
                Err(error) => error,
            };
            if !self
                .can_be_remedied(&error, &attachment.network_id, &mut remedies)
                .await?
            {
                return Err(ContainerError::from_start(error, request));
            }
            self.remove(&name).await?;
        };
        if let (Some(wanted), Some(cpus)) = (request.cpus, remedies.cpus) {
            warnings.push(format!(
                "`cpus = {wanted}` is more than the {cpus} of the engine's machine: a container gets all of them"
            ));
        }
        let found = self.inspect(&name).await?.ok_or(ContainerError::Removed)?;
        let id = found.id.clone().unwrap_or_default();
        let now = exit_of(&found, false).map_or(TreeState::Running, TreeState::Ended);
        let (sender, state) = watch::channel(now);
        if now == TreeState::Running {
            tokio::spawn(self.watch(&found, sender));
        }
        Ok(Running {
            main_pid: main_pid(&found),
            published: Some(self.published(&found).await?),
            cpus: cpus(&found),
            has_health_check: has_health_check(&found),
            warnings,
            supervisor: Supervisor::Container(id),
            log: log_path(&request.place.dir),
            lines_seen,
            state,
        })
    }

    async fn published_at(&self) -> Result<PublishedAt, EngineError> {
        let engine = &self.engine.connected().await?.address;
        Ok(PublishedAt::of(self.host.as_deref(), host_of(engine)))
    }

    /// Where a container is now.
    pub(super) async fn published(
        &self,
        container: &ContainerInspectResponse,
    ) -> Result<Published, EngineError> {
        Ok(Published {
            // It has just answered, so it will tell.
            engine: self.engine.mark().await.ok().cloned(),
            host: self.published_at().await?.host,
            ..published(container)
        })
    }

    async fn create_and_start(
        &self,
        name: &str,
        body: ContainerCreateBody,
        request: &ContainerRequest,
        image: &ImageFacts,
    ) -> Result<watch::Receiver<Vec<u32>>, EngineError> {
        let options = CreateContainerOptions {
            name: Some(name.to_owned()),
            platform: request.settings.platform.clone().unwrap_or_default(),
        };
        self.engine
            .have_done("create a container", Duration::ZERO, async |client| {
                client.create_container(Some(options), body).await
            })
            .await?;
        let user = request.settings.user.as_ref().unwrap_or(&image.user);
        if request.data_volume && !user.is_empty() {
            self.give_data_folder(name, user).await?;
        }
        let (lines, lines_seen) = LineWatch::new(&request.log_patterns);
        if !request.log_patterns.is_empty() {
            let connected = self.engine.connected().await?;
            let path = log_path(&request.place.dir);
            log::attach(connected, name, &path, request.log_limit_bytes, lines).await?;
        }
        self.engine
            .have_done("start a container", Duration::ZERO, async |client| {
                client.start_container(name, None).await
            })
            .await?;
        Ok(lines_seen)
    }

    /// Whether another attempt may do what this one could not.
    async fn can_be_remedied(
        &self,
        error: &EngineError,
        network: &str,
        remedies: &mut Remedies,
    ) -> Result<bool, EngineError> {
        let EngineError::Refused { message, .. } = error else {
            return Ok(false);
        };
        let says = |text: &str| message.contains(text);
        if !remedies.without_init && (says("container-init") || says("docker-init")) {
            remedies.without_init = true;
        } else if remedies.cpus.is_none() && says("Range of CPUs") {
            let info = self
                .engine
                .ask("say what machine it is on", async |client| {
                    client.info().await
                });
            remedies.cpus = info.await?.ncpu;
            return Ok(remedies.cpus.is_some());
        } else if remedies.networks < NETWORK_ATTEMPTS
            && says("network")
            && (says(network) || says("not found"))
        {
            remedies.networks += 1;
            self.forget_network().await;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// `None` = there is no such container.
    pub(super) async fn inspect(
        &self,
        name: &str,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let found = self
            .engine
            .ask("look at a container", async |client| {
                understood(client.inspect_container(name, None).await)
            })
            .await;
        match found {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The container of an instance; `None` = there is none. Where its id is on record, nothing else is it, whatever it
    /// is called; and an engine that does not have it may just be another one.
    pub(super) async fn of(
        &self,
        place: &InstancePlace,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let Some(recorded) = &place.container else {
            let found = self
                .inspect(&self.project.container_name(&place.id))
                .await?;
            return Ok(found.filter(|found| self.is_labelled(found, place)));
        };
        let found = self.inspect(&recorded.id).await?;
        if let (None, Some(recorded)) = (&found, &recorded.engine) {
            self.is_the_same_engine(place, recorded).await?;
        }
        Ok(found)
    }

    async fn is_the_same_engine(
        &self,
        place: &InstancePlace,
        recorded: &EngineMark,
    ) -> Result<(), EngineError> {
        let asked = self.engine.mark().await?;
        if asked.id == recorded.id {
            return Ok(());
        }
        Err(EngineError::Elsewhere {
            container: place.id.clone(),
            there: recorded.address.clone(),
            here: asked.address.clone(),
        })
    }

    fn is_labelled(&self, container: &ContainerInspectResponse, place: &InstancePlace) -> bool {
        let labels = (container.config.as_ref()).and_then(|config| config.labels.as_ref());
        labels.is_some_and(|labels| {
            labels.get(INSTANCE) == Some(&place.id)
                && labels.get(PROJECT).map(String::as_str) == Some(self.project.hash())
        })
    }

    /// Every container of this project.
    pub async fn containers(&self) -> Result<ContainerList, EngineError> {
        use bollard::models::ContainerSummaryStateEnum as State;
        self.engine.wait_while_away().await;
        let found = self.labelled(&[&self.project.label()]).await?;
        let listed = found.into_iter().filter_map(|container| {
            let instance = container.labels.as_ref()?.get(INSTANCE)?.clone();
            let name = self.project.container_name(&instance);
            Some(Listed {
                id: container.id.clone()?,
                has_our_name: has_name(container.names.as_deref(), &name),
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

/// The engine writes a slash before each name.
pub(super) fn has_name(names: Option<&[String]>, name: &str) -> bool {
    let names = names.unwrap_or_default().iter();
    names
        .map(|given| given.trim_start_matches('/'))
        .any(|given| given == name)
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

/// What this engine needs otherwise.
#[derive(Debug, Default)]
struct Remedies {
    /// It has no program to be process 1: then a shell is, and is killed after its grace period.
    without_init: bool,
    /// Its machine has only so many cores, and it refuses a limit above.
    cpus: Option<i64>,
    /// How often the network went away between being found and being used.
    networks: usize,
}

impl Remedies {
    fn apply(&self, body: &mut ContainerCreateBody) {
        let Some(host_config) = &mut body.host_config else {
            return;
        };
        if self.without_init {
            host_config.init = None;
        }
        if let Some(cpus) = self.cpus {
            let most = cpus.saturating_mul(NANO_CPUS);
            host_config.nano_cpus = host_config.nano_cpus.map(|wanted| wanted.min(most));
        }
    }
}

/// The limit of CPU that the engine has set, in cores.
#[expect(clippy::cast_precision_loss, reason = "10⁶ cores are exact")]
pub(super) fn cpus(container: &ContainerInspectResponse) -> Option<f64> {
    let limit = container.host_config.as_ref()?.nano_cpus?;
    (limit > 0).then(|| limit as f64 / NANO_CPUS as f64)
}

pub(super) fn has_health_check(container: &ContainerInspectResponse) -> bool {
    let state = container.state.as_ref();
    state.is_some_and(|state| state.health.is_some())
}

/// `80/tcp`.
fn inside_port(key: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = key.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

pub(super) fn main_pid(container: &ContainerInspectResponse) -> Option<i32> {
    let pid = container.state.as_ref()?.pid?;
    i32::try_from(pid).ok().filter(|pid| *pid > 0)
}

fn published(container: &ContainerInspectResponse) -> Published {
    let settings = container.network_settings.as_ref();
    let ports = settings.and_then(|settings| settings.ports.as_ref());
    let mut host_ports = BTreeMap::new();
    for (inside, bindings) in ports.into_iter().flatten() {
        let inside = inside_port(inside);
        let host = bindings
            .iter()
            .flatten()
            .find_map(|binding| binding.host_port.as_ref()?.parse().ok());
        if let (Some(inside), Some(host)) = (inside, host) {
            host_ports.insert(inside, host);
        }
    }
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let ip = networks
        .into_iter()
        .flatten()
        .find_map(|(_, endpoint)| endpoint.ip_address.clone())
        .filter(|ip| !ip.is_empty());
    Published {
        host: String::new(),
        ip,
        host_ports,
        image_id: container.image.clone(),
        engine: None,
    }
}

/// How a container ended; `None` = it has not, or never ran.
pub(super) fn exit_of(container: &ContainerInspectResponse, requested: bool) -> Option<ExitRecord> {
    let state = container.state.as_ref()?;
    if state.running == Some(true) || state.finished_at.as_deref().is_none_or(is_never) {
        return None;
    }
    let code = i32::try_from(state.exit_code?).unwrap_or(i32::MAX);
    // The engine does not say whether 143 was a signal or a choice, so it stays a code.
    // Some process of it ran out of memory; only if its main process was killed, that was the one.
    let status = if state.oom_killed == Some(true) && code == KILLED {
        ExitStatus::OutOfMemory
    } else {
        ExitStatus::Code(code)
    };
    Some(ExitRecord {
        status,
        requested,
        killed: requested && status == ExitStatus::Code(KILLED),
        at_ms: state
            .finished_at
            .as_deref()
            .and_then(|text| text.parse().ok())
            .map_or(0, Timestamp::as_millis),
        log_bytes_lost: 0,
    })
}

/// The engine's zero time.
fn is_never(time: &str) -> bool {
    time.starts_with("0001-01-01")
}

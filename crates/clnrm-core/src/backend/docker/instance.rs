//! Containers as instances: found by their name, whatever command made them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bollard::models::ContainerInspectResponse;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::container::{exit_of, is_running};
use super::error::EngineError;
use super::labels::{LOG_LIMIT, PROJECT};
use super::stats::follow_stats;
use super::{DockerBackend, log};
use crate::backend::command::{CommandRequest, CommandResult};
use crate::backend::contract::Backend;
use crate::backend::error::BackendError;
use crate::backend::exit::ExitRecord;
use crate::backend::instance::{
    Ended, FetchedLog, Health, InstancePlace, Observed, Patience, Running, Survey, TreeState,
};
use crate::backend::probe::Probe;
use crate::backend::start::{Intent, PrepareError, StartOrder};
use crate::backend::stats::StatsStream;
use crate::clock::Timestamp;
use crate::config::definition::{CommandLine, ContainerLaunch, Launch, ServiceDefinition};
use crate::config::placeholder::Where;
use crate::folder::log_path;

#[async_trait]
impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        "container"
    }

    fn starts(&self, definition: &ServiceDefinition) -> bool {
        matches!(definition.launch, Launch::Container(_))
    }

    fn has_inside(&self) -> bool {
        true
    }

    async fn prepare(self: Arc<Self>, order: StartOrder<'_>) -> Result<Intent, PrepareError> {
        let Launch::Container(container) = &order.definition.launch else {
            let not_ours = EngineError::Refused {
                action: "start a process",
                status: 0,
                message: "it has no image".to_owned(),
            };
            return Err(BackendError::from(not_ours).into());
        };
        self.intent(order, container)
    }

    fn port_probe(&self, address: String, own: &Where, running: &Running) -> Probe {
        let inside = own.inside.as_ref();
        match inside.and_then(|inside| Some((inside, inside.port?))) {
            Some((inside, port)) => Probe::Listens {
                main_pid: running.main_pid,
                port,
                address,
                ip: inside.ip.as_ref().and_then(|ip| ip.parse().ok()),
            },
            None => Probe::Tcp(address),
        }
    }

    /// An error says that there is no such image here, or nobody who could tell.
    async fn image_id(
        &self,
        definition: &ServiceDefinition,
    ) -> Result<Option<String>, BackendError> {
        let image = definition.launch.image().unwrap_or_default();
        let missing = EngineError::Refused {
            action: "look at an image",
            status: 404,
            message: format!("there is no image `{image}`"),
        };
        let facts = self.look_at_image(image).await?;
        Ok(Some(facts.ok_or(missing)?.id))
    }

    /// Where a string command met an entry point of its image.
    async fn what_ran(&self, definition: &ServiceDefinition) -> Option<String> {
        let Launch::Container(ContainerLaunch {
            image,
            entry_point: None,
            command: Some(CommandLine::Shell(_)),
            ..
        }) = &definition.launch
        else {
            return None;
        };
        let facts = self.look_at_image(image).await.ok()??;
        let entry_point = facts.entry_point.join(" ");
        (!entry_point.is_empty()).then(|| format!("{entry_point} sh -c …"))
    }

    fn follow_stats(&self, container_id: &str) -> Option<watch::Receiver<StatsStream>> {
        let engine = Arc::clone(&self.engine);
        Some(follow_stats(engine, container_id.to_owned()))
    }

    async fn survey(&self, places: &[InstancePlace]) -> Survey {
        let listed = self.containers().await;
        Survey {
            observed: self.observe_in(listed.as_ref(), places).await,
            ids: listed
                .map(|listed| listed.instance_ids())
                .map_err(BackendError::from),
        }
    }

    async fn adopt(&self, place: &InstancePlace) -> Result<Option<Running>, BackendError> {
        match self.of(place).await?.filter(is_running) {
            Some(found) => Ok(Some(self.running(&found, place, TreeState::Running).await)),
            None => Ok(None),
        }
    }

    async fn started_anew(
        &self,
        place: &InstancePlace,
        main_pid: Option<i32>,
        before: &Where,
    ) -> Option<Running> {
        let found = self.with_another_main_process(place, main_pid).await?;
        let published = self.published(&found).await.ok()?;
        // One that was reached at its own address still is.
        let is_as_published = before.port.is_none() || before.host == published.host;
        let elsewhere = published.at_its_own_address().filter(|_| !is_as_published);
        let reached = elsewhere.unwrap_or(published).binding(before)?;
        let running = self.running(&found, place, TreeState::Running).await;
        Some(Running {
            reached: Some(reached),
            ..running
        })
    }

    /// An engine that restarts is asked once it is back.
    async fn has_gone(&self, place: &InstancePlace, running: &Running, _is_own: bool) -> bool {
        let observed = self.observe(std::slice::from_ref(place)).await;
        match observed.first() {
            Some(Ok(Observed::Ended(_) | Observed::Lost(_) | Observed::Unknown(_))) => true,
            Some(Ok(Observed::Alive(_))) => {
                let anew = self.with_another_main_process(place, running.main_pid);
                anew.await.is_some()
            }
            _ => false,
        }
    }

    async fn end(&self, place: &InstancePlace, patience: &Patience) -> Result<Ended, BackendError> {
        self.engine.wait_while_away().await;
        let Some(container) = self.of(place).await? else {
            let recorded = ExitRecord::read(&place.dir).ok().flatten();
            return Ok(recorded.map_or_else(Ended::nothing, Ended::as_recorded));
        };
        let id = container.id.clone().unwrap_or_default();
        let project = labels_of(&container).and_then(|labels| labels.get(PROJECT).cloned());
        let is_up = is_running(&container);
        let ended = if is_up {
            self.stop_patiently(&id, patience).await?;
            self.inspect(&id).await?
        } else {
            Some(container)
        };
        let exit = ended.as_ref().and_then(|ended| exit_of(ended, is_up));
        if let (Some(ended), Some(exit)) = (&ended, &exit) {
            self.keep_log(place, ended).await;
            // Best effort: should the removal fail, the next command finds out how it ended.
            let _ = exit.write(&place.dir);
        }
        self.remove(&id).await?;
        if let Some(project) = project.filter(|project| project != self.project.hash()) {
            // It was started where the project's folder was before. Best effort: see there.
            let _ = self.remove_idle_networks_of(&project, |_| true).await;
        }
        Ok(Ended {
            killed: exit.is_some_and(|exit| exit.killed),
            exit,
            leftovers: Vec::new(),
        })
    }

    async fn end_survivors(&self, ids: &[String]) -> Result<Vec<String>, BackendError> {
        Ok(self.end_ours(|instance| ids.contains(instance)).await?)
    }

    async fn run_in(
        &self,
        place: &InstancePlace,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, BackendError> {
        let name = match &place.container {
            Some(recorded) => &recorded.id,
            None => &self.project.container_name(&place.id),
        };
        Ok(self.exec(name, request, cancel).await?)
    }

    async fn end_commands_in(&self, place: &InstancePlace) {
        // Best effort: what cannot be ended ends with its container.
        let _ = self.end_commands_of_killed(place).await;
    }

    async fn left_running_in(&self, place: &InstancePlace) -> Option<String> {
        let container = place.container.as_ref()?;
        let left = self.left_running.lock().await;
        left.get(&container.id).cloned()
    }

    async fn health(
        &self,
        place: &InstancePlace,
        cancel: &CancellationToken,
    ) -> Result<Health, BackendError> {
        let container = self.of(place).await?;
        Ok(match container {
            None => Health::NotChecked,
            Some(container) => self.health_now(&container, cancel).await?,
        })
    }

    async fn fetch_log(
        &self,
        place: &InstancePlace,
        lines: usize,
    ) -> Result<FetchedLog, BackendError> {
        let Some(container) = self.of(place).await? else {
            // Kept when it ended.
            return Ok(FetchedLog::at(log_path(&place.dir)));
        };
        let path = own_log_path(place);
        let limit = log_limit(&container);
        let id = container.id.unwrap_or_default();
        let connected = self.engine.connected().await?;
        let until = log::fetch(connected, &id, &path, limit, Some(lines)).await?;
        Ok(FetchedLog { path, until })
    }

    async fn follow_log(
        &self,
        place: &InstancePlace,
        fetched: &FetchedLog,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let Some(container) = self.of(place).await? else {
            return Ok(());
        };
        let id = container.id.unwrap_or_default();
        let connected = self.engine.connected().await?;
        let following = log::follow(connected, &id, &fetched.path, fetched.until, cancel);
        Ok(following.await?)
    }

    /// Whether there may ever have been a network.
    fn may_hold_strays(&self) -> bool {
        self.network_lock_path().exists()
    }

    fn begin_use(&self) {
        self.needs_network.store(true, Ordering::Release);
    }

    /// A container that has to wait for its network is ready some 60 ms later.
    async fn make_ready(&self) {
        let mut known = self.network.lock().await;
        if self.needs_network.load(Ordering::Acquire) && known.is_none() {
            // Whoever needs it is told what is wrong.
            *known = self.find_or_make_network().await.ok();
        }
    }

    /// Waits for a network that is just made: it would come to be after everybody has looked for it.
    async fn end_use(&self) {
        self.needs_network.store(false, Ordering::Release);
        drop(self.network.lock().await);
    }

    async fn tidy(&self) {
        // Best effort: a network that stays is found by the next command.
        let _ = self.remove_idle_network().await;
    }

    async fn end_abandoned(&self, now: Timestamp) -> Vec<String> {
        // Best effort: whoever needs the engine is told what is wrong with it.
        self.end_expired(now).await.unwrap_or_default()
    }

    async fn end_forgotten(
        &self,
        is_forgotten: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<String>, BackendError> {
        match self.end_without_history(is_forgotten).await {
            Ok(ended) => {
                let sentence =
                    |container| format!("{container}: its history was deleted, and it was removed");
                Ok(ended.into_iter().map(sentence).collect())
            }
            // Where there is no engine at all, there are no containers.
            Err(EngineError::Absent { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// This command's own copy of a living container's log; it goes with the instance's folder.
fn own_log_path(place: &InstancePlace) -> PathBuf {
    place.dir.join(format!("output.{}.log", std::process::id()))
}

impl DockerBackend {
    /// Best effort: a log that cannot be kept must not keep its container alive.
    async fn keep_log(&self, place: &InstancePlace, container: &ContainerInspectResponse) {
        let (Some(connected), Some(id)) = (self.engine.connected_now(), container.id.as_ref())
        else {
            return;
        };
        let path = log_path(&place.dir);
        let _ = log::fetch(&connected, id, &path, log_limit(container), None).await;
    }
}

fn labels_of(container: &ContainerInspectResponse) -> Option<&HashMap<String, String>> {
    container.config.as_ref()?.labels.as_ref()
}

fn log_limit(container: &ContainerInspectResponse) -> u64 {
    let limit = labels_of(container).and_then(|labels| labels.get(LOG_LIMIT));
    // Every container of ours has the label; without it nothing is cut.
    limit
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(u64::MAX)
}

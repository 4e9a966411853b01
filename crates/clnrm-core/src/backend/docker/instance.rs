//! Containers as instances: found by their name, whatever command made them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{RemoveContainerOptions, StopContainerOptions};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::container::{
    ContainerList, Listed, ListedState, cpus, exit_of, has_health_check, main_pid,
};
use super::error::EngineError;
use super::labels::{LOG_LIMIT, PROJECT};
use super::{DockerRuntime, log};
use crate::backend::command::{CommandError, CommandRequest, CommandResult};
use crate::backend::instance::{
    Condition, Ended, FetchedLog, Health, InstanceError, InstancePlace, Loss, Observed, Patience,
    Running, Runtime, Supervisor, TreeState,
};
use crate::backend::process::log_path;
use crate::backend::shim_protocol::ExitRecord;

/// Where another command removes the same container, it is waited for.
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);
const REMOVAL_LOOKS: usize = 250;

#[async_trait]
impl Runtime for DockerRuntime {
    async fn observe(&self, places: &[InstancePlace]) -> Vec<Result<Observed, InstanceError>> {
        if places.is_empty() {
            return Vec::new();
        }
        let listed = self.containers().await;
        self.observe_in(listed.as_ref(), places).await
    }

    async fn adopt(&self, place: &InstancePlace) -> Result<Option<Running>, InstanceError> {
        let Some(found) = self.of(place).await? else {
            return Ok(None);
        };
        if !is_running(&found) {
            return Ok(None);
        }
        let id = found.id.clone().unwrap_or_default();
        let (sender, state) = watch::channel(TreeState::Running);
        tokio::spawn(self.watch(&found, sender));
        Ok(Some(Running {
            main_pid: main_pid(&found),
            published: Some(self.published(&found).await?),
            cpus: cpus(&found),
            has_health_check: has_health_check(&found),
            warnings: Vec::new(),
            supervisor: Supervisor::Container(id),
            log: log_path(&place.dir),
            lines_seen: watch::channel(Vec::new()).1,
            state,
        }))
    }

    async fn end(
        &self,
        place: &InstancePlace,
        patience: &Patience,
    ) -> Result<Ended, InstanceError> {
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

    async fn end_survivors(&self, ids: &[String]) -> Result<Vec<String>, EngineError> {
        self.end_ours(|instance| ids.contains(instance)).await
    }

    async fn run_in(
        &self,
        place: &InstancePlace,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, CommandError> {
        let name = match &place.container {
            Some(recorded) => &recorded.id,
            None => &self.project.container_name(&place.id),
        };
        Ok(self.exec(name, request, cancel).await?)
    }

    async fn health(
        &self,
        place: &InstancePlace,
        cancel: &CancellationToken,
    ) -> Result<Health, CommandError> {
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
    ) -> Result<FetchedLog, EngineError> {
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
    ) -> Result<(), EngineError> {
        let Some(container) = self.of(place).await? else {
            return Ok(());
        };
        let id = container.id.unwrap_or_default();
        let connected = self.engine.connected().await?;
        log::follow(connected, &id, &fetched.path, fetched.until, cancel).await
    }
}

/// This command's own copy of a living container's log; it goes with the instance's folder.
fn own_log_path(place: &InstancePlace) -> PathBuf {
    place.dir.join(format!("output.{}.log", std::process::id()))
}

impl DockerRuntime {
    /// [`Runtime::observe`] for whoever has asked the engine already.
    pub async fn observe_in(
        &self,
        listed: Result<&ContainerList, &EngineError>,
        places: &[InstancePlace],
    ) -> Vec<Result<Observed, InstanceError>> {
        let mut observed = Vec::with_capacity(places.len());
        for place in places {
            let looked = match listed {
                Ok(ContainerList(containers)) => {
                    let listed = containers.iter().find(|listed| is_of(listed, place));
                    self.observe_one(place, listed).await
                }
                Err(error) => Ok(Observed::Unknown(error.clone())),
            };
            observed.push(match looked {
                Err(error) if error.is_unreachable() => Ok(Observed::Unknown(error)),
                looked => looked.map_err(Into::into),
            });
        }
        observed
    }

    async fn observe_one(
        &self,
        place: &InstancePlace,
        listed: Option<&Listed>,
    ) -> Result<Observed, EngineError> {
        let gone = || match ExitRecord::read(&place.dir).ok().flatten() {
            Some(exit) => Observed::Ended(exit),
            None if place.container.is_some() => Observed::Lost(Loss::ContainerRemoved),
            None => Observed::NeverStarted,
        };
        match listed.map(|listed| listed.state) {
            // Of a project that was somewhere else when it was started.
            None if place.container.is_some() => match self.of(place).await? {
                Some(container) if is_running(&container) => {
                    Ok(Observed::Alive(Condition::Serving))
                }
                Some(container) => {
                    Ok(exit_of(&container, false).map_or_else(gone, Observed::Ended))
                }
                None => Ok(gone()),
            },
            None => Ok(gone()),
            Some(ListedState::Created) => Ok(Observed::NeverStarted),
            Some(ListedState::Up(condition)) => Ok(Observed::Alive(condition)),
            Some(ListedState::Down) => {
                let container = self.of(place).await?;
                let exit = container.and_then(|container| exit_of(&container, false));
                match exit {
                    Some(exit) if self.engine.was_restarted_after(exit.at_ms).await => {
                        Ok(Observed::Lost(Loss::EngineRestarted))
                    }
                    exit => Ok(exit.map_or_else(gone, Observed::Ended)),
                }
            }
        }
    }

    async fn stop_patiently(&self, name: &str, patience: &Patience) -> Result<(), EngineError> {
        let stopped = patience
            .hurry
            .run_until_cancelled(self.stop(name, patience.grace));
        match stopped.await {
            Some(stopped) => stopped,
            // The engine goes on with what it was asked before; this one kills at once.
            None => self.stop(name, Duration::ZERO).await,
        }
    }

    async fn stop(&self, name: &str, grace: Duration) -> Result<(), EngineError> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions {
            t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            ..StopContainerOptions::default()
        };
        let stopped = self
            .engine
            .have_done("stop a container", grace, async |client| {
                client.stop_container(name, Some(options)).await
            })
            .await;
        match stopped {
            // 304: it had ended meanwhile.
            Ok(())
            | Err(EngineError::Refused {
                status: 304 | 404, ..
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes a container with its anonymous volumes; it is gone when this returns.
    pub(super) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let removed = self
            .engine
            .have_done("remove a container", Duration::ZERO, async |client| {
                client.remove_container(name, Some(options)).await
            })
            .await;
        match removed {
            Ok(()) | Err(EngineError::Refused { status: 404, .. }) => Ok(()),
            Err(EngineError::Refused { status: 409, .. }) => self.wait_for_removal(name).await,
            Err(error) => Err(error),
        }
    }

    async fn wait_for_removal(&self, name: &str) -> Result<(), EngineError> {
        for _ in 0..REMOVAL_LOOKS {
            if self.inspect(name).await?.is_none() {
                return Ok(());
            }
            sleep(REMOVAL_PAUSE).await;
        }
        Err(EngineError::Refused {
            action: "remove a container",
            status: 409,
            message: format!("{name} is being removed by somebody else, and does not go"),
        })
    }

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

/// Whether that container is the one of the instance: by its recorded id, else by label and name.
fn is_of(listed: &Listed, place: &InstancePlace) -> bool {
    match &place.container {
        Some(recorded) => recorded.id == listed.id,
        None => listed.has_our_name && listed.instance == place.id,
    }
}

fn is_running(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running) == Some(true)
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

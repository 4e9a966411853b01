//! One container, as the engine describes it.

use bollard::models::ContainerInspectResponse;

use super::DockerBackend;
use super::error::EngineError;
use super::labels::{INSTANCE, PROJECT};
use super::state_words::understood;
use crate::backend::exit::{ExitRecord, ExitStatus};
use crate::backend::instance::{EngineMark, InstancePlace};
use crate::clock::Timestamp;

pub(super) const NANO_CPUS: i64 = 1_000_000_000;

/// What Docker makes of SIGKILL.
pub(super) const KILLED: i32 = 128 + 9;

impl DockerBackend {
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
}

/// The limit of CPU that the engine has set, in cores.
#[expect(clippy::cast_precision_loss, reason = "10⁶ cores are exact")]
pub(super) fn cpus(container: &ContainerInspectResponse) -> Option<f64> {
    let limit = container.host_config.as_ref()?.nano_cpus?;
    (limit > 0).then(|| limit as f64 / NANO_CPUS as f64)
}

pub(super) fn is_running(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running) == Some(true)
}

pub(super) fn has_health_check(container: &ContainerInspectResponse) -> bool {
    let state = container.state.as_ref();
    state.is_some_and(|state| state.health.is_some())
}

pub(super) fn main_pid(container: &ContainerInspectResponse) -> Option<i32> {
    let pid = container.state.as_ref()?.pid?;
    i32::try_from(pid).ok().filter(|pid| *pid > 0)
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

fn is_never(time: &str) -> bool {
    time.starts_with("0001-01-01")
}

//! Watches a container, so that readiness and the runner hear of its end at once, and of what was behind it.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, EventMessage};
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::DockerRuntime;
use super::container::{KILLED, exit_of};
use super::engine::{Connected, ENGINE_PATIENCE};
use super::leftover::belongs_to;
use crate::runtime::instance::{
    InstanceError, InstancePlace, Loss, Running, Runtime as _, TreeState,
};
use crate::runtime::shim_protocol::{ExitRecord, ExitStatus};

const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What somebody stops in order to start it again is up again by then.
const RESTART_PATIENCE: Duration = Duration::from_secs(1);
/// A container that was asked to stop ends within this.
const LONGEST_STOP_MS: i64 = 60_000;
/// How long after an end the engine may tell of the signal that brought it.
const LATE_NEWS_MS: i64 = 300;
/// Signals that programs take for something else than the wish to end: HUP, USR1, USR2, WINCH.
const NOT_FATAL: [&str; 4] = ["1", "10", "12", "28"];

impl DockerRuntime {
    /// Reports the end of a container, once; `found` is how it is now.
    pub(super) fn watch(
        &self,
        found: &ContainerInspectResponse,
        sender: watch::Sender<TreeState>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connected = self.engine.connected_now();
        let watched = Watched {
            id: found.id.clone().unwrap_or_default(),
            started_at: started_at(found),
        };
        async move {
            let Some(connected) = connected else { return };
            let ended = tokio::select! {
                ended = watched.wait_for_end(&connected) => ended,
                // Nobody listens any more.
                () = sender.closed() => return,
            };
            sender.send_replace(ended);
        }
    }

    /// The container of an instance, where another process is its main one than that of `main_pid`: somebody has started
    /// it again.
    pub async fn started_anew(
        &self,
        place: &InstancePlace,
        main_pid: Option<i32>,
    ) -> Result<Option<Running>, InstanceError> {
        let (Some(container), Some(pid)) = (&place.container, main_pid) else {
            return Ok(None);
        };
        if belongs_to(pid, &container.id) {
            return Ok(None);
        }
        let running = self.adopt(place).await?;
        Ok(running.filter(|running| running.main_pid.is_some_and(|now| now != pid)))
    }
}

/// A container, as it was started once.
struct Watched {
    id: String,
    started_at: Option<String>,
}

/// What there is of it at a moment.
enum Look {
    /// As it was started.
    Runs,
    /// Not the same any more: it was started again.
    RunsAnew,
    Ended(ExitRecord),
    Removed,
    /// The engine does not answer.
    Unknown,
}

impl Watched {
    async fn wait_for_end(&self, connected: &Connected) -> TreeState {
        let mut away_since: Option<Instant> = None;
        loop {
            let options = WaitContainerOptions {
                condition: "not-running".to_owned(),
            };
            // An exit code other than 0 is an error to the client library; what matters is that the wait is over.
            let mut waiting = connected.client.wait_container(&self.id, Some(options));
            let _ = waiting.next().await;
            match self.look(connected).await {
                Look::Runs => away_since = None,
                Look::RunsAnew if away_since.is_some() => {
                    return TreeState::Lost(Loss::EngineRestarted);
                }
                Look::RunsAnew => return TreeState::Lost(Loss::ContainerRestarted),
                Look::Removed => return TreeState::Lost(Loss::ContainerRemoved),
                Look::Ended(_) if away_since.is_some() => {
                    return TreeState::Lost(Loss::EngineRestarted);
                }
                Look::Ended(exit) => return self.behind(connected, exit).await,
                Look::Unknown => {
                    let since = away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > ENGINE_PATIENCE {
                        return TreeState::Lost(Loss::EngineGone);
                    }
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn look(&self, connected: &Connected) -> Look {
        let container = connected
            .client
            .inspect_container(&self.id, None::<InspectContainerOptions>)
            .await;
        match container {
            Ok(container) => match exit_of(&container, false) {
                Some(exit) => Look::Ended(exit),
                None if started_at(&container) == self.started_at => Look::Runs,
                None => Look::RunsAnew,
            },
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Look::Removed,
            Err(_) => Look::Unknown,
        }
    }

    /// What an end was: the container's own, its engine's, or somebody's wish.
    async fn behind(&self, connected: &Connected, exit: ExitRecord) -> TreeState {
        // An engine that is shut down takes no new connections before it ends its containers.
        if !connected.answers().await {
            return TreeState::Lost(if connected.answers_again().await {
                Loss::EngineRestarted
            } else {
                Loss::EngineGone
            });
        }
        if !self.was_asked_to_end(connected, exit).await {
            return TreeState::Ended(exit);
        }
        let asked = Instant::now();
        while asked.elapsed() < RESTART_PATIENCE {
            match self.look(connected).await {
                Look::RunsAnew => return TreeState::Lost(Loss::ContainerRestarted),
                Look::Removed => return TreeState::Lost(Loss::ContainerRemoved),
                Look::Runs | Look::Ended(_) | Look::Unknown => sleep(RETRY_PAUSE).await,
            }
        }
        TreeState::Ended(ExitRecord {
            requested: true,
            ..exit
        })
    }

    /// Whether somebody had the engine send it a signal shortly before. An engine that does not tell knows of nobody.
    async fn was_asked_to_end(&self, connected: &Connected, exit: ExitRecord) -> bool {
        // The engine tells of a SIGKILL once it has been sent, and what is in the past is told at once.
        let later_ms = match exit.status {
            ExitStatus::Code(KILLED) => LATE_NEWS_MS,
            _ => 1,
        };
        let only = |name: &str, value: &str| (name.to_owned(), vec![value.to_owned()]);
        let options = EventsOptions {
            since: Some(seconds(exit.at_ms.saturating_sub(LONGEST_STOP_MS))),
            until: Some(seconds(exit.at_ms.saturating_add(later_ms))),
            filters: Some(HashMap::from([
                only("type", "container"),
                only("container", &self.id),
                only("event", "kill"),
            ])),
        };
        let client = connected.client.clone().with_timeout(RESTART_PATIENCE);
        let is_fatal = |event: &EventMessage| {
            let attributes = event
                .actor
                .as_ref()
                .and_then(|actor| actor.attributes.as_ref());
            let signal = attributes.and_then(|attributes| attributes.get("signal"));
            signal.is_none_or(|signal| !NOT_FATAL.contains(&signal.as_str()))
        };
        let mut events = std::pin::pin!(client.events(Some(options)));
        let found = async {
            while let Some(Ok(event)) = events.next().await {
                if is_fatal(&event) {
                    return true;
                }
            }
            false
        };
        timeout(RESTART_PATIENCE, found).await.unwrap_or(false)
    }
}

fn started_at(container: &ContainerInspectResponse) -> Option<String> {
    container.state.as_ref()?.started_at.clone()
}

/// As the engine reads a time.
fn seconds(at_ms: i64) -> String {
    format!("{}.{:03}", at_ms / 1000, at_ms % 1000)
}

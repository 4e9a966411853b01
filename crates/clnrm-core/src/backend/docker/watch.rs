//! Watches a container, so that readiness and the runner hear of its end at once, and of what was behind it.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, EventMessage};
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::DockerBackend;
use super::container::{KILLED, exit_of, is_running, main_pid as main_pid_of};
use super::engine::{Connected, ENGINE_PATIENCE};
use super::leftover::belongs_to;
use super::state_words::understood;
use crate::backend::exit::{ExitRecord, ExitStatus};
use crate::backend::instance::{InstancePlace, Loss, TreeState};

const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What somebody stops in order to start it again is up again by then.
const RESTART_PATIENCE: Duration = Duration::from_secs(1);
/// A container that was asked to stop ends within this.
const LONGEST_STOP_MS: i64 = 60_000;
/// How long after an end the engine may tell of the signal that brought it.
const LATE_NEWS_MS: i64 = 300;
/// Signals that programs take for something else than the wish to end: HUP, USR1, USR2, WINCH.
const NOT_FATAL: [&str; 4] = ["1", "10", "12", "28"];

impl DockerBackend {
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

    /// The living container of an instance, where another process is its main one than that of `main_pid`: somebody has
    /// started it again.
    pub(super) async fn with_another_main_process(
        &self,
        place: &InstancePlace,
        main_pid: Option<i32>,
    ) -> Option<ContainerInspectResponse> {
        let (container, pid) = (place.container.as_ref()?, main_pid?);
        if belongs_to(pid, &container.id) {
            return None;
        }
        // What cannot be looked at more closely stays as recorded.
        let found = self.of(place).await.ok()??;
        let now = main_pid_of(&found).filter(|_| is_running(&found))?;
        (now != pid).then_some(found)
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
        match understood(container) {
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

#[cfg(test)]
mod tests {
    use bollard::{API_DEFAULT_VERSION, Docker};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const ENDED: &str = r#"{"Id":"c","State":{"Running":false,"StartedAt":"then","ExitCode":143,
                            "FinishedAt":"2026-01-01T00:00:00Z"}}"#;

    /// What an engine says of a container.
    #[derive(Clone, Copy, Default)]
    struct Script {
        container: &'static str,
        events: &'static str,
        /// It goes away as soon as it has told of the container, and comes back.
        restarts: bool,
    }

    async fn path_of(client: &mut TcpStream) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.unwrap());
        }
        let request = String::from_utf8_lossy(&request);
        request.split_whitespace().nth(1).unwrap().to_owned()
    }

    async fn serve(mut listener: TcpListener, script: Script) {
        let address = listener.local_addr().unwrap();
        let mut restarts = script.restarts;
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let path = path_of(&mut client).await;
            let body = match path.as_str() {
                "/_ping" => "OK",
                path if path.contains("/wait") => r#"{"StatusCode":143}"#,
                path if path.contains("/events") => script.events,
                _ => script.container,
            };
            let goes = restarts && body == script.container;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            if goes {
                restarts = false;
                drop(listener);
                client.write_all(answer.as_bytes()).await.unwrap();
                sleep(3 * RETRY_PAUSE).await;
                listener = TcpListener::bind(address).await.unwrap();
            } else {
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    /// What the watch over a container tells that was started "then".
    async fn told(script: Script) -> TreeState {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let engine = tokio::spawn(serve(listener, script));
        let client = Docker::connect_with_http(&address, 5, API_DEFAULT_VERSION).unwrap();
        let watched = Watched {
            id: "c".to_owned(),
            started_at: Some("then".to_owned()),
        };
        let told = watched.wait_for_end(&Connected { client, address }).await;
        engine.abort();
        told
    }

    fn is_requested(told: TreeState) -> bool {
        match told {
            TreeState::Ended(exit) => exit.requested,
            other => unreachable!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_end_that_nobody_asked_for_is_its_own() {
        let script = Script {
            container: ENDED,
            ..Script::default()
        };
        assert!(!is_requested(told(script).await));
        // A signal to read its configuration again is no wish that it ends.
        let hup = Script {
            events: r#"{"Action":"kill","Actor":{"ID":"c","Attributes":{"signal":"1"}}}"#,
            ..script
        };
        assert!(!is_requested(told(hup).await));
        let term = Script {
            events: r#"{"Action":"kill","Actor":{"ID":"c","Attributes":{"signal":"15"}}}"#,
            ..script
        };
        assert!(is_requested(told(term).await));
    }

    #[tokio::test]
    async fn an_engine_that_goes_away_with_its_container_was_restarted() {
        let script = Script {
            container: ENDED,
            restarts: true,
            ..Script::default()
        };
        assert_eq!(told(script).await, TreeState::Lost(Loss::EngineRestarted));
    }

    #[tokio::test]
    async fn a_container_with_another_start_was_restarted() {
        let script = Script {
            container: r#"{"Id":"c","State":{"Running":true,"StartedAt":"now"}}"#,
            ..Script::default()
        };
        assert_eq!(
            told(script).await,
            TreeState::Lost(Loss::ContainerRestarted)
        );
    }
}

//! The connection to a container engine: found once, when something first needs it.
//!
//! Docker, rootless Docker and Podman's compatible socket are one and the same here. Deliberately absent: TLS and ssh
//! (forward the socket instead).

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use super::address::{Candidates, Surroundings};
use super::error::{EngineError, NamedBy};
use crate::backend::instance::EngineMark;
use crate::clock::Timestamp;

/// A question that is not answered by then fails.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(20);
/// So does a deed: creating a container may wait for a slow disk, removing one for its processes.
const DEED_TIMEOUT: Duration = Duration::from_secs(120);
/// Whether anybody answers at all is known by then.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// An engine that restarts is away for some seconds.
pub(super) const ENGINE_PATIENCE: Duration = Duration::from_secs(10);
/// One that answers takes a new connection within this.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// It makes its bridge, and ends what a killed one has left running, before it answers; in which order, varies.
const LONGEST_START_MS: i64 = 5_000;
/// From the end of its containers to its next start.
const LONGEST_RESTART_MS: i64 = 60_000;
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A container engine, connected to when it is first asked for something.
#[derive(Debug)]
pub(super) struct Engine {
    surroundings: Surroundings,
    connected: OnceCell<Connected>,
    mark: OnceCell<EngineMark>,
    /// It has gone away and did not come back while it was waited for.
    is_gone: AtomicBool,
}

/// The client and where it is connected to.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    pub(super) client: Docker,
    pub(super) address: String,
}

impl Engine {
    /// The engine that this environment means: `DOCKER_HOST`, else the Docker context, else the first usable of the usual
    /// sockets.
    pub(super) fn of_environment(environment: &BTreeMap<String, String>) -> Self {
        Self {
            surroundings: Surroundings::of_environment(environment),
            connected: OnceCell::new(),
            mark: OnceCell::new(),
            is_gone: AtomicBool::new(false),
        }
    }

    /// Whether it is on this machine, as far as its address says.
    pub(super) async fn is_here(&self) -> Result<bool, EngineError> {
        Ok(self.connected().await?.address.starts_with("unix://"))
    }

    /// Whether a container may be given names of its own for others, which the engine resolves: Docker, not Podman.
    pub(super) async fn has_links(&self) -> Result<bool, EngineError> {
        Ok(!self.mark().await?.id.contains(' '))
    }

    pub(super) async fn mark(&self) -> Result<&EngineMark, EngineError> {
        let id = async || {
            Ok(EngineMark {
                id: self.id().await?,
                address: self.connected().await?.address.clone(),
            })
        };
        self.mark.get_or_try_init(id).await
    }

    /// The network without a network was made with Docker's data folder and stays with it; asking for the id that the
    /// engine itself has takes some 25 ms. Podman has no such network, and tells another id every time: then it is its
    /// machine and its folder, with a space between.
    async fn id(&self) -> Result<String, EngineError> {
        let none = self
            .ask("look at a network", async |client| {
                client.inspect_network("none", None).await
            })
            .await;
        match none {
            Ok(network) if network.driver.as_deref() == Some("null") => {
                if let Some(id) = network.id {
                    return Ok(id);
                }
            }
            Err(error) if error.is_unreachable() => return Err(error),
            _ => {}
        }
        let info = self
            .ask("tell what it is", async |client| client.info().await)
            .await?;
        let part = |part: Option<String>| part.unwrap_or_default();
        Ok(format!(
            "{} {}",
            part(info.name),
            part(info.docker_root_dir)
        ))
    }

    /// Where the engine is, once it was asked.
    pub(super) fn address(&self) -> Option<&str> {
        self.connected
            .get()
            .map(|connected| connected.address.as_str())
    }

    /// Asks the engine something; `action` completes "refused to …".
    pub(super) async fn ask<T, F>(
        &self,
        action: &'static str,
        question: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        self.ask_within(QUESTION_TIMEOUT, action, question).await
    }

    /// Has the engine do something, for which it may take `longer` than it usually needs.
    pub(super) async fn have_done<T, F>(
        &self,
        action: &'static str,
        longer: Duration,
        deed: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        self.ask_within(DEED_TIMEOUT + longer, action, deed).await
    }

    async fn ask_within<T, F>(
        &self,
        limit: Duration,
        action: &'static str,
        question: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let connected = self.connected().await?;
        let client = connected.client.clone().with_timeout(limit);
        question(client)
            .await
            .map_err(|error| EngineError::from_client(error, action, &connected.address))
    }

    /// Whether the engine was started so shortly after a container had ended that it was its restart which ended that.
    ///
    /// Its own bridge is made anew each time that it starts; one without tells nothing.
    pub(super) async fn was_restarted_after(&self, ended_at_ms: i64) -> bool {
        let bridge = self.ask("look at a network", async |client| {
            client.inspect_network("bridge", None).await
        });
        let made = bridge.await.ok().and_then(|bridge| bridge.created);
        let started: Option<Timestamp> = made.and_then(|made| made.parse().ok());
        started.is_some_and(|started| {
            let later_ms = started.as_millis().saturating_sub(ended_at_ms);
            (-LONGEST_START_MS..=LONGEST_RESTART_MS).contains(&later_ms)
        })
    }

    /// Waits for an engine that has answered before and is away for the moment, once.
    pub(super) async fn wait_while_away(&self) {
        let Some(connected) = self.connected.get() else {
            return;
        };
        if !self.is_gone.load(Ordering::Relaxed) && !connected.answers_again().await {
            self.is_gone.store(true, Ordering::Relaxed);
        }
    }

    /// The connection, if there is one already.
    pub(super) fn connected_now(&self) -> Option<Connected> {
        self.connected.get().cloned()
    }

    pub(super) async fn connected(&self) -> Result<&Connected, EngineError> {
        self.connected.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Connected, EngineError> {
        let (candidates, named_by) = self.surroundings.candidates()?;
        match candidates {
            Candidates::Http(address) => {
                let seconds = DEED_TIMEOUT.as_secs();
                let client = Docker::connect_with_http(&address, seconds, API_DEFAULT_VERSION)
                    .map_err(|error| EngineError::from_client(error, "connect", &address))?;
                answering(client, address).await
            }
            Candidates::Sockets(paths) => first_usable(paths, named_by).await,
        }
    }
}

impl Connected {
    /// Whether it takes a new connection and answers there.
    pub(super) async fn answers(&self) -> bool {
        let seconds = DEED_TIMEOUT.as_secs();
        let client = if self.address.starts_with("unix://") {
            Docker::connect_with_unix(&self.address, seconds, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_http(&self.address, seconds, API_DEFAULT_VERSION)
        };
        let Ok(client) = client else { return false };
        matches!(timeout(ANSWER_PATIENCE, client.ping()).await, Ok(Ok(_)))
    }

    /// The same, at the latest after the time that a restart takes.
    pub(super) async fn answers_again(&self) -> bool {
        let asked = Instant::now();
        while !self.answers().await {
            if asked.elapsed() > ENGINE_PATIENCE {
                return false;
            }
            sleep(RETRY_PAUSE).await;
        }
        true
    }
}

/// The first socket that somebody listens on; else the most telling of the failures.
async fn first_usable(paths: Vec<PathBuf>, named_by: NamedBy) -> Result<Connected, EngineError> {
    let mut failure = EngineError::Absent {
        tried: paths.clone(),
        named_by,
    };
    for path in &paths {
        match try_socket(path).await {
            Ok(connected) => return Ok(connected),
            Err(Some(better)) if matches!(failure, EngineError::Absent { .. }) => failure = better,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// `Err(None)` = there is none.
async fn try_socket(path: &Path) -> Result<Connected, Option<EngineError>> {
    let address = format!("unix://{}", path.display());
    // The client library says of every failure that the connection failed; the socket itself says why.
    if let Err(error) = UnixStream::connect(path).await {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => None,
            io::ErrorKind::PermissionDenied => Some(EngineError::NoPermission { address }),
            _ => Some(EngineError::Unreachable {
                address,
                message: error.to_string(),
            }),
        });
    }
    let client = Docker::connect_with_unix(&address, DEED_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
        .map_err(|error| Some(EngineError::from_client(error, "connect", &address)))?;
    answering(client, address).await.map_err(Some)
}

/// The connection, if it is an engine that answers there.
async fn answering(client: Docker, address: String) -> Result<Connected, EngineError> {
    let message = match timeout(PING_TIMEOUT, client.ping()).await {
        Ok(Ok(answer)) if answer.trim() == "OK" => return Ok(Connected { client, address }),
        Ok(Ok(_)) => "what answers there is no container engine".to_owned(),
        Ok(Err(error)) => match EngineError::from_client(error, "answer", &address) {
            EngineError::Unreachable { message, .. } => message,
            _ => "what answers there is no container engine".to_owned(),
        },
        Err(_elapsed) => format!("nothing came within {PING_TIMEOUT:?}"),
    };
    Err(EngineError::Unreachable { address, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(variables: &[(&str, &str)]) -> Engine {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Engine::of_environment(&variables.collect())
    }

    async fn failure(engine: &Engine) -> EngineError {
        engine.connected().await.unwrap_err()
    }

    #[tokio::test]
    async fn an_absent_engine_says_where_it_was_looked_for() {
        let missing = failure(&engine(&[("DOCKER_HOST", "unix:///nowhere/engine.sock")])).await;
        assert_eq!(
            missing.to_string(),
            "no container engine answers: there is no /nowhere/engine.sock (DOCKER_HOST)"
        );
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let host = format!("unix://{}", path.display());
        let refused = failure(&engine(&[("DOCKER_HOST", &host)])).await;
        assert_eq!(
            refused.to_string(),
            format!(
                "the container engine at {host} does not answer: Connection refused (os error 111)"
            )
        );
    }
}

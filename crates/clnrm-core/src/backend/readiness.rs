//! Waits until an instance is ready, and not a moment longer: it gives up at once when the process has died.

use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::command::{CommandOutcome, CommandRequest};
use super::contract::Backend;
use super::exit::ExitStatus;
use super::instance::{Health, InstancePlace, Loss, Running, TreeState};
use super::listening::{self, Deaf};
use super::port_owner;
use super::probe::Probe;
use crate::config::definition::LogPattern;
use crate::http;

/// The pause between two looks, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Pauses grow with the time waited so far: a look comes at most this share late.
const PAUSE_SHARE: u32 = 8;
/// Longest time of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const PROBE_BODY_LIMIT: usize = 64 * 1024;

/// What to wait for.
#[derive(Debug, Clone)]
pub struct ReadyContext {
    pub place: InstancePlace,
    /// All of these must hold.
    pub probes: Vec<Probe>,
    /// Longest time.
    pub timeout: Duration,
    /// Longest pause between two looks.
    pub max_interval: Duration,
    /// How many lines of its output have matched each pattern.
    pub lines_seen: watch::Receiver<Vec<u32>>,
    /// Whether the process lives.
    pub state: watch::Receiver<TreeState>,
    /// Ends the wait.
    pub cancel: CancellationToken,
}

/// Why an instance is not ready.
#[derive(Debug, Error)]
pub enum NotReady {
    /// Its process ended first.
    #[error("its process ended with {status} before it was ready")]
    Died {
        /// How.
        status: ExitStatus,
    },
    /// Nobody knows how it ended.
    #[error("{0} before it was ready")]
    Lost(Loss),
    /// Its own health check gave up.
    #[error("its health check failed{}", after_colon(.output))]
    Unhealthy {
        /// What the check printed last.
        output: String,
    },
    /// It listens inside its container, and not where the engine publishes it.
    #[error(
        "what listens on port {port} inside cannot be reached from here at {address}: the engine publishes ports on \
         another machine or in another network"
    )]
    Unreachable {
        /// The port inside.
        port: u16,
        /// Where it should be.
        address: String,
    },
    /// The caller wants it no more.
    #[error("it was not ready yet: {last}")]
    Cancelled {
        /// What the last look found.
        last: String,
    },
    /// The time is up.
    #[error("not ready after {}: {last}", humantime::format_duration(*.after))]
    TimedOut {
        after: Duration,
        /// What the last look found.
        last: String,
    },
}

impl NotReady {
    /// Why an instance can never become ready; `None` = it may.
    pub fn of(running: &Running) -> Option<Self> {
        failure_in(*running.state.borrow())
    }
}

/// Waits until every probe holds. The looks start 5 ms apart and back off to an eighth of the time waited.
pub async fn wait_until_ready(
    backend: &dyn Backend,
    context: ReadyContext,
) -> Result<(), NotReady> {
    let mut state = context.state.clone();
    let limit = context.timeout;
    let mut last = String::from("no look was finished");
    let probing = probe_until_all_hold(backend, &context, &mut last);
    let ready = tokio::select! {
        // A process that has died is looked at first: a port that somebody else opened must not hide it.
        biased;
        failure = died(&mut state) => return Err(failure),
        () = context.cancel.cancelled() => None,
        ready = timeout(limit, probing) => Some(ready),
    };
    let Some(ready) = ready else {
        return Err(NotReady::Cancelled { last });
    };
    match ready {
        Ok(Ok(())) => match failure_in(*state.borrow()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        },
        Ok(Err(hopeless)) => Err(hopeless),
        Err(_elapsed) => Err(NotReady::TimedOut { after: limit, last }),
    }
}

async fn probe_until_all_hold(
    backend: &dyn Backend,
    context: &ReadyContext,
    last: &mut String,
) -> Result<(), NotReady> {
    let started = Instant::now();
    for probe in &context.probes {
        loop {
            match look(backend, probe, context).await {
                Look::Holds => break,
                Look::NotYet(reason) => *last = reason,
                Look::Never(hopeless) => return Err(hopeless),
            }
            let pause = (started.elapsed() / PAUSE_SHARE)
                .clamp(FIRST_PAUSE, context.max_interval.max(FIRST_PAUSE));
            sleep(pause).await;
        }
    }
    Ok(())
}

async fn died(state: &mut watch::Receiver<TreeState>) -> NotReady {
    loop {
        if let Some(failure) = failure_in(*state.borrow_and_update()) {
            return failure;
        }
        if state.changed().await.is_err() {
            return NotReady::Lost(Loss::SupervisorKilled);
        }
    }
}

fn failure_in(state: TreeState) -> Option<NotReady> {
    match state {
        TreeState::Running | TreeState::MainLeft => None,
        TreeState::Failed(status) => Some(NotReady::Died { status }),
        TreeState::Ended(record) => Some(NotReady::Died {
            status: record.status,
        }),
        TreeState::Lost(loss) => Some(NotReady::Lost(loss)),
    }
}

/// What one look found.
enum Look {
    Holds,
    NotYet(String),
    /// Waiting longer is of no use.
    Never(NotReady),
}

impl From<Result<(), String>> for Look {
    fn from(found: Result<(), String>) -> Self {
        found.map_or_else(Self::NotYet, |()| Self::Holds)
    }
}

async fn look(backend: &dyn Backend, probe: &Probe, context: &ReadyContext) -> Look {
    match probe {
        Probe::Tcp(address) => connect(address).await.into(),
        Probe::OwnPort {
            address,
            port,
            tree,
        } => match connect(address).await {
            Ok(()) => port_owner::look(*port, *tree).into(),
            Err(reason) => Look::NotYet(reason),
        },
        Probe::Listens {
            main_pid,
            port,
            address,
            ip,
        } => {
            let inside = listening::Inside {
                main_pid: *main_pid,
                port: *port,
                ip: *ip,
            };
            match listening::look(inside, address).await {
                Ok(()) => Look::Holds,
                Err(Deaf::Inside(reason)) => Look::NotYet(reason),
                Err(Deaf::Outside) => Look::Never(NotReady::Unreachable {
                    port: *port,
                    address: address.clone(),
                }),
            }
        }
        Probe::Healthy => health(backend, context).await,
        Probe::Http(url) => get(url).await.into(),
        Probe::Log { index, wanted } => {
            let seen = context.lines_seen.borrow().get(*index).copied();
            enough_lines(seen.unwrap_or_default(), wanted).into()
        }
        Probe::Command(request) => run(backend, request, context).await.into(),
    }
}

async fn health(backend: &dyn Backend, context: &ReadyContext) -> Look {
    match backend.health(&context.place, &context.cancel).await {
        Ok(Health::Healthy | Health::NotChecked) => Look::Holds,
        Ok(Health::NotYet(output)) => Look::NotYet(format!(
            "its own health check has not passed yet{}",
            after_colon(&output)
        )),
        Ok(Health::Unhealthy(output)) => Look::Never(NotReady::Unhealthy { output }),
        Err(error) => Look::NotYet(error.to_string()),
    }
}

fn after_colon(output: &str) -> String {
    if output.is_empty() {
        String::new()
    } else {
        format!(": {output}")
    }
}

/// Whether an address accepts a connection, now.
pub async fn can_connect(address: Option<&str>) -> bool {
    match address {
        Some(address) => listening::is_reached(address).await,
        None => false,
    }
}

async fn connect(address: &str) -> Result<(), String> {
    let deadline = Instant::now() + PROBE_TIMEOUT;
    match timeout_at(deadline, TcpStream::connect(address)).await {
        Ok(Ok(_connection)) => Ok(()),
        Ok(Err(error)) => Err(format!("connecting to {address}: {error}")),
        Err(_elapsed) => Err(format!(
            "connecting to {address} took longer than {PROBE_TIMEOUT:?}"
        )),
    }
}

async fn get(url: &str) -> Result<(), String> {
    let limits = http::Limits {
        timeout: PROBE_TIMEOUT,
        max_body_bytes: PROBE_BODY_LIMIT,
    };
    match http::get(url, limits, |_| ()).await {
        Ok(answer) if (200..400).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(format!("GET {url} answered {}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}

fn enough_lines(seen: u32, wanted: &LogPattern) -> Result<(), String> {
    let LogPattern { pattern, times, .. } = wanted;
    if seen >= *times {
        return Ok(());
    }
    Err(match seen {
        0 => format!("no line of the log matches `{pattern}`"),
        seen => format!(
            "{seen} of the {times} lines of the log that must match `{pattern}` were printed"
        ),
    })
}

async fn run(
    backend: &dyn Backend,
    request: &CommandRequest,
    context: &ReadyContext,
) -> Result<(), String> {
    let result = backend
        .run_in(&context.place, request, &context.cancel)
        .await
        .map_err(|error| error.to_string())?;
    let program = request.argv.first().map_or("the command", String::as_str);
    match result.outcome {
        CommandOutcome::Exited(status) if status.is_success() => Ok(()),
        CommandOutcome::Exited(status) => Err(format!("`{program}` ended with {status}")),
        CommandOutcome::Cancelled => Err(format!("`{program}` was ended")),
        CommandOutcome::TimedOut => Err(format!(
            "`{program}` took longer than {:?}",
            request.timeout
        )),
        CommandOutcome::NotStarted { message, .. } => {
            Err(format!("`{program}` cannot be executed: {message}"))
        }
    }
}

//! An open-loop load generator over keep-alive HTTP connections.
//!
//! Requests are sent when they are due, whether or not earlier ones were answered, and latency runs from that moment.
//! Deliberately absent: TLS, other methods than GET, retries (each request is sent once, so that both sides' counts agree).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rand::SeedableRng;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::load_report::{LoadReport, Tally};
use super::target::LoadTarget;

/// Most requests of one load over all targets; they take 32 bytes each, for schedule and latency.
pub const MAX_REQUESTS: usize = 2_000_000;
/// Most connections to one target.
pub const MAX_CONNECTIONS: u32 = 1_000;
/// A request that is not answered by then has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that could not be sent this long after the end, because all connections were busy, are given up.
const LATEST_SEND_AFTER_END: Duration = Duration::from_secs(1);
/// tokio's timers fire up to one step late; that is this program's delay and not the server's.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// A load: what to send where, for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Where to, and how fast; all at the same time.
    pub targets: Vec<LoadTarget>,
    pub duration: Duration,
    /// Keep-alive connections to each target.
    pub connections: u32,
    /// Share (0..=1) of the gap to the next request by which a request may come later, at random.
    pub jitter: f64,
    pub seed: u64,
}

/// Why a load cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// No target, or no connection to send on.
    #[error("a load needs at least one target and between 1 and {MAX_CONNECTIONS} connections")]
    NothingToSendOn,
    /// Rate times duration is beyond what is kept in memory.
    #[error("{requests} requests are too many for one load; the limit is {MAX_REQUESTS}")]
    TooManyRequests {
        /// How many it would be.
        requests: usize,
    },
}

/// Sends a load and reports on each target, in the order given.
///
/// Takes `duration`, and longer by at most the 11 s that the last request may take. Servers that fail or are not there are part of the report, not an error.
pub async fn load(options: LoadOptions) -> Result<Vec<LoadReport>, LoadError> {
    if options.targets.is_empty() || !(1..=MAX_CONNECTIONS).contains(&options.connections) {
        return Err(LoadError::NothingToSendOn);
    }
    let counts = options
        .targets
        .iter()
        .map(|target| target.rate.request_count(options.duration));
    let requests = counts.fold(0, usize::saturating_add);
    if requests > MAX_REQUESTS {
        return Err(LoadError::TooManyRequests { requests });
    }

    let mut rng = StdRng::seed_from_u64(options.seed);
    let plans: Vec<_> = options
        .targets
        .into_iter()
        .map(|target| {
            let arrivals = target
                .rate
                .arrivals(options.duration, options.jitter, &mut rng);
            (target, arrivals)
        })
        .collect();

    let started_at = Instant::now();
    let mut running = Vec::new();
    for (target, arrivals) in plans {
        let plan = Arc::new(Plan {
            target,
            arrivals,
            next_arrival: AtomicUsize::new(0),
            started_at,
            ends_at: started_at + options.duration,
        });
        let mut workers = JoinSet::new();
        for _ in 0..options.connections {
            workers.spawn(Worker::new(Arc::clone(&plan)).run());
        }
        running.push((plan, workers));
    }

    let mut reports = Vec::new();
    for (plan, workers) in running {
        let LoadTarget { url, rate, .. } = &plan.target;
        let tallies = workers.join_all().await;
        let due = plan.arrivals.len() as u64;
        reports.push(LoadReport::new(url.to_string(), *rate, due, tallies));
    }
    Ok(reports)
}

/// What the workers of one target share.
#[derive(Debug)]
struct Plan {
    target: LoadTarget,
    /// When requests are due, after `started_at`.
    arrivals: Vec<Duration>,
    /// The first arrival that no worker has taken yet.
    next_arrival: AtomicUsize,
    started_at: Instant,
    ends_at: Instant,
}

/// One connection, which sends one request after another.
struct Worker {
    plan: Arc<Plan>,
    /// `None` before the first request and after one that failed.
    connection: Option<SendRequest<Empty<Bytes>>>,
    tally: Tally,
}

/// Why a request has no answer.
#[derive(Debug, Error)]
enum RequestError {
    #[error("cannot connect to {address}")]
    Connect { address: String, source: io::Error },
    #[error("the exchange with {address} broke off")]
    Exchange {
        address: String,
        source: hyper::Error,
    },
    #[error("the request cannot be written")]
    Request(#[from] hyper::http::Error),
    #[error("no answer within {REQUEST_TIMEOUT:?}")]
    TimedOut,
}

impl Worker {
    fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            connection: None,
            tally: Tally::default(),
        }
    }

    async fn run(mut self) -> Tally {
        while let Some(scheduled_at) = self.take_arrival() {
            let due_at = wait_until_due(scheduled_at).await;
            if Instant::now() > self.plan.ends_at + LATEST_SEND_AFTER_END {
                break;
            }
            let result = match timeout(REQUEST_TIMEOUT, self.send()).await {
                Ok(result) => result,
                Err(_) => Err(RequestError::TimedOut),
            };
            match result {
                Ok(status) => self.tally.answered(status, due_at.elapsed()),
                Err(error) => {
                    self.connection = None;
                    self.tally.failed(&error);
                }
            }
        }
        sleep_until(self.plan.ends_at).await;
        self.tally.ended_after = self.plan.started_at.elapsed();
        self.tally
    }

    fn take_arrival(&self) -> Option<Instant> {
        let index = self.plan.next_arrival.fetch_add(1, Ordering::Relaxed);
        let offset = self.plan.arrivals.get(index)?;
        Some(self.plan.started_at + *offset)
    }

    /// Sends one request and reads the whole answer, so that the connection can be used again.
    async fn send(&mut self) -> Result<StatusCode, RequestError> {
        let LoadTarget { url, address, .. } = &self.plan.target;
        let broken = |source| RequestError::Exchange {
            address: address.clone(),
            source,
        };
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => connect(address).await?,
        };
        connection.ready().await.map_err(broken)?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, address.as_str())
            .body(Empty::new())?;
        let answer = connection.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(broken)?;
        }
        self.connection = Some(connection);
        Ok(status)
    }
}

/// Waits, and says from when on the latency counts.
///
/// A worker that comes too late, because its last answer was slow, counts from the schedule: the wait is the server's doing.
async fn wait_until_due(scheduled_at: Instant) -> Instant {
    if Instant::now() >= scheduled_at {
        return scheduled_at;
    }
    sleep_until(scheduled_at).await;
    Instant::now().min(scheduled_at + TIMER_STEP)
}

async fn connect(address: &str) -> Result<SendRequest<Empty<Bytes>>, RequestError> {
    let connect_error = |source| RequestError::Connect {
        address: address.to_owned(),
        source,
    };
    let stream = TcpStream::connect(address).await.map_err(connect_error)?;
    stream.set_nodelay(true).map_err(connect_error)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|source| {
        let address = address.to_owned();
        RequestError::Exchange { address, source }
    })?;
    // Ends with the sender; its error, if any, reaches the request too.
    tokio::spawn(connection);
    Ok(sender)
}

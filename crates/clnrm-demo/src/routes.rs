//! What the server answers.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 `ok` |
//! | `/metrics` | Prometheus text with exact counts |
//! | `/work?cpu_ms=5&hold_kb=256&fail_percent=0` | works, then 200 or, for that share of the requests, 500 |
//!
//! Deliberately absent: request bodies and methods other than GET and HEAD.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::request_metrics::{RequestLabels, RequestMetrics, write_gauge};
use super::work::{Outcome, Work, WorkSite};

/// What all requests of one server share.
#[derive(Debug)]
pub(super) struct State {
    /// Since 1970.
    started_at: Duration,
    requests: RequestMetrics,
    connections: AtomicU32,
    work: WorkSite,
}

/// One open connection; counted as long as it lives, however it ends.
pub(super) struct OpenConnection(Arc<State>);

impl OpenConnection {
    pub(super) fn new(state: &Arc<State>) -> Self {
        state.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the server answers on. Its label stands for the path in the metrics.
#[derive(Debug, Clone, Copy)]
enum Route {
    Health,
    Metrics,
    Work,
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/healthz" => Self::Health,
            "/metrics" => Self::Metrics,
            "/work" => Self::Work,
            _ => Self::Unknown,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Metrics => "/metrics",
            Self::Work => "/work",
            Self::Unknown => "other",
        }
    }
}

/// Answers one request, and counts it.
pub(super) async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let received_at = Instant::now();
    let route = Route::of(request.uri().path());
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    let (code, body) = match route {
        Route::Unknown => (StatusCode::NOT_FOUND, "no such path\n".to_owned()),
        _ if !readable => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        Route::Health => (StatusCode::OK, "ok".to_owned()),
        Route::Metrics => state.exposition(),
        Route::Work => work(&state, request.uri().query()).await,
    };
    let labels = RequestLabels::new(request.method(), route.label(), code);
    state.requests.record(labels, received_at.elapsed());

    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// Works on a thread of its own, so that health and metrics answer meanwhile.
async fn work(state: &Arc<State>, query: Option<&str>) -> (StatusCode, String) {
    let work = match Work::parse(query.unwrap_or_default()) {
        Ok(work) => work,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let site = Arc::clone(state);
    match spawn_blocking(move || site.work.perform(work)).await {
        Ok(Outcome::Done) => (StatusCode::OK, "done\n".to_owned()),
        Ok(Outcome::FailedAsAsked) => {
            let body = "failed, as fail_percent asked\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, body)
        }
        Err(broken) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{broken}\n")),
    }
}

impl State {
    pub(super) fn new(started_at: Duration, memory_limit_bytes: usize) -> Self {
        Self {
            started_at,
            requests: RequestMetrics::announcing(
                [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR]
                    .map(|code| RequestLabels::new(&Method::GET, Route::Work.label(), code)),
            ),
            connections: AtomicU32::new(0),
            work: WorkSite::new(memory_limit_bytes),
        }
    }

    /// The answer of `/metrics`. The request that asks is counted after this: it shows in the next answer.
    fn exposition(&self) -> (StatusCode, String) {
        let mut text = String::new();
        match self.write_exposition(&mut text) {
            Ok(()) => (StatusCode::OK, text),
            Err(fmt::Error) => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        }
    }

    fn write_exposition(&self, text: &mut String) -> fmt::Result {
        self.requests.write_to(text)?;
        let connections = self.connections.load(Ordering::Relaxed);
        write_gauge(
            text,
            "http_connections_active",
            "Open connections.",
            connections,
        )?;
        let held = self.work.held_bytes();
        write_gauge(
            text,
            "work_held_bytes",
            "Memory that requests made it hold.",
            held,
        )?;
        write_gauge(
            text,
            "process_start_time_seconds",
            "Start in seconds since 1970.",
            self.started_at.as_secs_f64(),
        )
    }
}

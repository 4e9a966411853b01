//! The real server under the real load generator.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::load::{LoadOptions, load};
use super::load_report::LoadReport;
use super::server::{ServeError, ServeOptions, Server, serve};
use super::target::LoadTarget;

struct RunningServer {
    base_url: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningServer {
    async fn start(memory_limit_mb: u32) -> Self {
        let options = ServeOptions {
            port: 0,
            memory_limit_mb,
            started_at: Duration::from_secs(1_763_892_000),
        };
        let server = Server::bind(options).await.unwrap();
        let base_url = format!("http://{}", server.address());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        Self {
            base_url,
            stop,
            task,
        }
    }

    async fn load(&self, path: &str, rate: &str, seconds: f64, connections: u32) -> LoadReport {
        load_one(
            &format!("{}{path}", self.base_url),
            rate,
            seconds,
            connections,
        )
        .await
    }

    /// GET through a client that shares nothing with the load generator but hyper.
    async fn get(&self, path: &str) -> String {
        use http_body_util::{BodyExt, Empty};
        use hyper::body::Bytes;
        let address = self.base_url.trim_start_matches("http://");
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::get(path)
            .header("host", address)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn wait_for(&self, gauge: &str, value: f64) {
        let seen = async { while series(&self.get("/metrics").await, gauge) != Some(value) {} };
        tokio::time::timeout(Duration::from_secs(10), seen)
            .await
            .unwrap_or_else(|_| panic!("{gauge} never became {value}"));
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn load_one(url: &str, rate: &str, seconds: f64, connections: u32) -> LoadReport {
    let options = LoadOptions {
        targets: vec![LoadTarget::new(url, rate.parse().unwrap()).unwrap()],
        duration: Duration::from_secs_f64(seconds),
        connections,
        jitter: 0.0,
        seed: 1,
    };
    load(options).await.unwrap().remove(0)
}

/// The value of one line of Prometheus text.
fn series(text: &str, name_and_labels: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name_and_labels)?.trim().parse().ok();
    text.lines().find_map(value)
}

#[tokio::test]
async fn both_sides_count_the_same() {
    let server = RunningServer::start(10).await;
    let report = server
        .load("/work?fail_percent=25&hold_kb=3", "400", 0.5, 4)
        .await;
    assert_eq!((report.requests_sent, report.not_sent), (200, 0));
    assert_eq!((report.ok, report.errors), (150, 50), "{report}");
    assert_eq!(
        report.first_error.as_deref(),
        Some("answered 500 Internal Server Error")
    );

    let text = server.get("/metrics").await;
    let requests = |code: &str| {
        let labels = format!(r#"http_requests_total{{method="GET",path="/work",code="{code}"}}"#);
        series(&text, &labels)
    };
    assert_eq!(requests("200"), Some(150.0), "{text}");
    assert_eq!(requests("500"), Some(50.0), "{text}");
    let count = series(
        &text,
        r#"http_request_duration_seconds_count{path="/work"}"#,
    );
    assert_eq!(count, Some(200.0));
    assert_eq!(series(&text, "work_held_bytes"), Some(600_000.0));

    let again = server.get("/metrics").await;
    let scrapes = r#"http_requests_total{method="GET",path="/metrics",code="200"}"#;
    assert_eq!(series(&again, scrapes), Some(1.0));
    server.stop().await;
}

#[tokio::test]
async fn held_memory_is_bounded() {
    let server = RunningServer::start(1).await;
    for _ in 0..4 {
        server.get("/work?hold_kb=300").await;
    }
    let text = server.get("/metrics").await;
    assert_eq!(series(&text, "work_held_bytes"), Some(900_000.0));
    server.stop().await;
}

/// One connection, 20 ms of work, a request due every 10 ms: the tenth waits for nine others.
#[tokio::test]
async fn latency_counts_the_wait_for_a_slow_server() {
    let server = RunningServer::start(1).await;
    let report = server.load("/work?cpu_ms=20", "100", 0.1, 1).await;
    let latency = report.latency.unwrap();
    // On a machine that does other things as well, the last ones may be given up: they come too late to be sent.
    assert_eq!((report.ok + report.not_sent, report.errors), (10, 0));
    assert!(report.ok >= 2, "{report}");
    let answers = u32::try_from(report.ok).map(f64::from).unwrap();
    // The k-th answer comes after 20·k ms at the earliest and its request was due after 10·k − 5 ms.
    assert!(latency.max_ms >= 10.0 * answers + 5.0, "{latency:?}");
    assert!(latency.mean_ms >= 5.0 * answers + 10.0, "{latency:?}");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_kept_alive_and_let_go() {
    let server = RunningServer::start(1).await;
    let report = server.load("/healthz", "100", 0.2, 3).await;
    assert_eq!(report.ok, 20);
    // The connection that asks is itself open.
    server.wait_for("http_connections_active", 1.0).await;
    server.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_bad_queries_are_refused() {
    let server = RunningServer::start(1).await;
    assert_eq!(server.get("/healthz").await, "ok");
    assert_eq!(server.get("/nowhere").await, "no such path\n");
    let refusal = server.get("/work?cpu_ms=lots").await;
    assert_eq!(refusal, "`cpu_ms` must be a whole number, not `lots`\n");
    let text = server.get("/metrics").await;
    for (path, code) in [("/healthz", 200), ("other", 404), ("/work", 400)] {
        let labels = format!(r#"http_requests_total{{method="GET",path="{path}",code="{code}"}}"#);
        assert_eq!(series(&text, &labels), Some(1.0), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_survives_the_signal_to_end() {
    let server = RunningServer::start(1).await;
    let ask = server.get("/work?cpu_ms=200&hold_kb=1");
    let end = async {
        // Memory is taken before the CPU is burnt: the request is now in flight.
        server.wait_for("work_held_bytes", 1_000.0).await;
        server.stop.cancel();
    };
    let (answer, ()) = tokio::join!(ask, end);
    assert_eq!(answer, "done\n");
    server.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ServeOptions {
        port: taken.local_addr().unwrap().port(),
        memory_limit_mb: 1,
        started_at: Duration::ZERO,
    };
    let error = serve(options, Vec::new(), std::future::pending())
        .await
        .unwrap_err();
    assert!(matches!(error, ServeError::Listen { address, .. } if address.port() == options.port));
}

#[tokio::test]
async fn the_address_is_announced() {
    let options = ServeOptions {
        port: 0,
        memory_limit_mb: 1,
        started_at: Duration::ZERO,
    };
    let mut announced = Vec::new();
    serve(options, &mut announced, async {}).await.unwrap();
    let line = String::from_utf8(announced).unwrap();
    let port = line.strip_prefix("listening on 127.0.0.1:").unwrap();
    assert_ne!(port.trim_end().parse::<u16>().unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_counted() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", unused.local_addr().unwrap());
    drop(unused);
    let report = load_one(&url, "100", 0.1, 2).await;
    assert_eq!((report.ok, report.errors, report.latency), (0, 10, None));
    let error = report.first_error.unwrap();
    assert!(error.contains("cannot connect to 127.0.0.1:"), "{error}");
}

/// With time paused, ten seconds of silence pass at once.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_does_not_hold_the_load_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let report = load_one(&url, "10", 3.0, 2).await;
    assert_eq!((report.ok, report.errors), (0, 2), "{report}");
    assert_eq!(report.not_sent, 28);
    assert!(report.seconds <= 3.0 + 11.0, "{report}");
}

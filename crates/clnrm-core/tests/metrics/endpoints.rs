//! Prometheus endpoints that behave, and those that do not.

use std::net::SocketAddr;
use std::time::Duration;

use clnrm_core::config::definition::{MetricsSpec, PrometheusSpec};
use clnrm_core::metrics::{Absent, Reading, Root, Source, Target};
use clnrm_core::procfs::ProcessIdentity;
use clnrm_core::services::service_manager::Metric;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{collector, read_after_interval, read_one, sample};

/// What a test server does with a request.
type Answer = fn(number: usize) -> Vec<u8>;

/// Serves as long as it lives. After an answer it closes the connection, or keeps it open without a word.
struct Endpoint {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Endpoint {
    async fn start(answer: Answer, close: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = Vec::new();
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut request).await.unwrap() > 0
                {}
                let _ = stream.write_all(&answer(number)).await;
                if !close {
                    open.push(stream);
                }
            }
        });
        Self {
            address,
            _server: server,
        }
    }

    fn target(&self) -> Target {
        let pid = i32::try_from(std::process::id()).unwrap();
        Target {
            instance_id: "endpoint".to_owned(),
            root: Root::ProcessTree(ProcessIdentity::of(pid).unwrap().unwrap()),
            ports: vec![self.address.port()],
            address: Some(self.address),
            metrics: MetricsSpec::Prometheus(PrometheusSpec {
                endpoint: "/metrics".to_owned(),
                requests: "http_requests_total".to_owned(),
                errors: None,
                duration: "http_request_duration_seconds".to_owned(),
                connections: None,
            }),
        }
    }
}

fn page(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn read(answer: Answer, close: bool) -> (Reading, Endpoint) {
    let endpoint = Endpoint::start(answer, close).await;
    (
        read_one(&mut collector(), &endpoint.target()).await,
        endpoint,
    )
}

fn reason(reading: &Reading) -> String {
    reading.service.counters.as_ref().unwrap_err().to_string()
}

#[tokio::test]
async fn a_page_yields_rates() {
    let answer: Answer = |number| {
        page(&format!(
            "http_requests_total{{code=\"200\"}} {}\nhttp_requests_total{{code=\"500\"}} {}\n\
             http_request_duration_seconds_sum {}\nhttp_request_duration_seconds_count {}\n",
            90 * number,
            10 * number,
            number,
            100 * number
        ))
    };
    let endpoint = Endpoint::start(answer, true).await;
    let mut collector = collector();
    let before = read_one(&mut collector, &endpoint.target()).await;
    let after = read_after_interval(&mut collector, &endpoint.target(), &before).await;
    let (metrics, sources) = sample(&before, &after);
    assert!(metrics.request_rate.unwrap() > 0.0);
    assert!((metrics.error_rate.unwrap() - 0.1).abs() < 1e-9);
    assert!((metrics.response_time_ms.unwrap() - 10.0).abs() < 1e-9);
    assert_eq!(sources.get(Metric::ErrorRate), Ok(Source::Prometheus));
    assert_eq!(sources.get(Metric::ActiveConnections), Ok(Source::SockDiag));
}

#[tokio::test]
async fn a_silent_endpoint_times_out_and_hides_nothing_else() {
    let start = Instant::now();
    let (reading, endpoint) = read(|_| Vec::new(), false).await;
    assert_eq!(
        reason(&reading),
        format!(
            "GET http://{}/metrics timed out after 2 s",
            endpoint.address
        )
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(reading.usage.cpu_seconds.is_ok());
    assert_eq!(reading.traffic.connections, Ok(0));
}

#[tokio::test]
async fn bad_answers_are_absent_with_their_reason() {
    let cut_off: Answer = |_| {
        let mut answer = page("http_requests_total 1\nhttp_requests_total{a=\"b\"} 22\n");
        answer.truncate(answer.len() - 10);
        answer
    };
    let (reading, _) = read(cut_off, true).await;
    assert!(reason(&reading).contains("cut off"), "{}", reason(&reading));

    let (reading, _) = read(|_| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), true).await;
    assert!(
        reason(&reading).contains("is not HTTP"),
        "{}",
        reason(&reading)
    );

    let missing: Answer = |_| b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
    let (reading, _) = read(missing, true).await;
    assert!(
        reason(&reading).ends_with("answered with status 404"),
        "{}",
        reason(&reading)
    );

    let huge: Answer = |_| page(&"http_requests_total 1\n".repeat(400_000));
    let (reading, _) = read(huge, true).await;
    assert!(
        reason(&reading).ends_with("answered with more than 8388608 bytes"),
        "{}",
        reason(&reading)
    );
}

#[tokio::test]
async fn garbage_lines_do_not_hide_good_ones_and_a_cut_last_line_is_not_believed() {
    let answer: Answer = |_| {
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe\n}{\nhttp_requests_total{code=\"200\"} 7\nhttp_requests_total{code=\"200\"} 1"
            .to_vec()
    };
    let (reading, _) = read(answer, true).await;
    let counters = reading.service.counters.unwrap();
    assert_eq!(
        counters.requests.unwrap().total.to_bits(),
        7.0_f64.to_bits()
    );
    assert!(matches!(
        counters.responses,
        Err(Absent::NoSuchMetric {
            unreadable_lines: 3,
            ..
        })
    ));
}

#[tokio::test]
async fn slow_endpoints_are_read_at_the_same_time() {
    let mut endpoints = Vec::new();
    for _ in 0..10 {
        endpoints.push(Endpoint::start(|_| Vec::new(), false).await);
    }
    let targets: Vec<Target> = endpoints
        .iter()
        .enumerate()
        .map(|(number, endpoint)| Target {
            instance_id: number.to_string(),
            ..endpoint.target()
        })
        .collect();
    let start = Instant::now();
    let readings = collector().read(&targets).await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "one after the other takes 20 s"
    );
    assert!(
        readings
            .iter()
            .all(|reading| reading.service.counters.is_err())
    );
}

#[tokio::test]
async fn a_slow_endpoint_delays_nothing_but_its_own_values() {
    let silent = Endpoint::start(|_| Vec::new(), false).await;
    let quick = Endpoint::start(|_| page("http_requests_total 1\n"), true).await;
    let targets = [
        silent.target(),
        Target {
            instance_id: "quick".to_owned(),
            ..quick.target()
        },
    ];
    let mut collector = collector();
    let begun = Instant::now();
    let readings = collector.read_promptly(&targets).await;
    assert!(
        begun.elapsed() < Duration::from_millis(1_500),
        "the limit of one endpoint is 2 s"
    );
    assert!(readings[1].service.counters.is_ok(), "{readings:?}");
    assert!(reason(&readings[0]).ends_with("/metrics has not answered yet"));
    while reason(&collector.read_promptly(&targets).await[0]).ends_with("yet") {}
    let elapsed = begun.elapsed();
    let readings = collector.read(&targets).await;
    assert!(reason(&readings[0]).ends_with("timed out after 2 s"));
    assert!(readings[1].service.counters.is_ok());
    assert!(
        begun.elapsed() - elapsed < Duration::from_millis(1_500),
        "it rests after the first time-out"
    );
}

#[tokio::test]
async fn a_url_that_instances_share_is_read_once() {
    let endpoint = Endpoint::start(
        |number| page(&format!("http_requests_total {}\n", 1_000 + number)),
        true,
    )
    .await;
    let url = format!("http://{}/metrics", endpoint.address);
    let targets: Vec<Target> = ["a", "b", "c"]
        .into_iter()
        .map(|instance_id| {
            let mut target = endpoint.target();
            if let MetricsSpec::Prometheus(spec) = &mut target.metrics {
                spec.endpoint.clone_from(&url);
            }
            Target {
                instance_id: instance_id.to_owned(),
                ..target
            }
        })
        .collect();
    let readings = collector().read(&targets).await;
    for reading in &readings {
        assert_eq!(reading.service, readings[0].service);
        assert_eq!(reading.service.shared.as_deref(), Some(url.as_str()));
    }
}

//! Prometheus endpoints that behave, and those that do not.

use std::net::SocketAddr;
use std::time::Duration;

use clnrm_core::config::definition::MetricsSpec;
use clnrm_core::metrics::{Reading, Root, Target};
use clnrm_core::procfs::ProcessIdentity;
use clnrm_core::services::service_manager::{Absent, Metric, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::server::server_metrics;
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
            metrics: server_metrics(
                "prometheus",
                [
                    ("endpoint", "/metrics"),
                    ("requests", "http_requests_total"),
                    ("duration", "http_request_duration_seconds"),
                ],
            ),
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
        // The first reading asks five times, and sees that its own requests are not counted.
        let count = number.saturating_sub(4);
        page(&format!(
            "http_requests_total{{code=\"200\"}} {}\nhttp_requests_total{{code=\"500\"}} {}\n\
             http_request_duration_seconds_sum {}\nhttp_request_duration_seconds_count {}\n",
            90 * count,
            10 * count,
            count,
            100 * count
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
    assert_eq!(
        sources.get(Metric::ErrorRate),
        Ok(Source::server("prometheus"))
    );
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

    let huge: Answer = |_| page(&"http_requests_total 1\n".repeat(800_000));
    let (reading, _) = read(huge, true).await;
    assert!(
        reason(&reading).ends_with("answered with more than 16777216 bytes"),
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
            if let MetricsSpec::Server(spec) = &mut target.metrics {
                spec.settings.insert("endpoint".to_owned(), url.clone());
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

/// The request rate, or why there is none, between two readings of one collector.
async fn request_rate(endpoint: &Endpoint) -> Result<f64, String> {
    let mut collector = collector();
    let before = read_one(&mut collector, &endpoint.target()).await;
    let after = read_after_interval(&mut collector, &endpoint.target(), &before).await;
    let (metrics, sources) = sample(&before, &after);
    metrics.request_rate.ok_or_else(|| {
        let reason = sources.get(Metric::RequestRate).unwrap_err();
        reason.to_string()
    })
}

#[tokio::test]
async fn our_own_requests_are_not_counted_whether_the_server_counts_them_or_not() {
    // `number` is how many requests came before this one.
    let counts_all: Answer =
        |number| page(&format!("http_requests_total{{code=\"200\"}} {number}\n"));
    let endpoint = Endpoint::start(counts_all, true).await;
    assert_eq!(request_rate(&endpoint).await, Ok(0.0));
    // Another collector goes on from the reading of the first.
    let mut first = collector();
    let before = read_one(&mut first, &endpoint.target()).await;
    let after = read_after_interval(&mut collector(), &endpoint.target(), &before).await;
    assert_eq!(sample(&before, &after).0.request_rate, Some(0.0));

    let counts_none: Answer = |_| page("http_requests_total{code=\"200\"} 7\n");
    let endpoint = Endpoint::start(counts_none, true).await;
    assert_eq!(request_rate(&endpoint).await, Ok(0.0));

    // A page that leaves out who asks for it: ten more between the five pages of one reading and those of the next.
    let grows: Answer = |number| {
        let count = 10 * (number / 5);
        page(&format!("http_requests_total{{code=\"200\"}} {count}\n"))
    };
    let endpoint = Endpoint::start(grows, true).await;
    let mut collector = collector();
    let before = read_one(&mut collector, &endpoint.target()).await;
    let after = read_one(&mut collector, &endpoint.target()).await;
    let total = |reading: &Reading| {
        let counters = reading.service.counters.as_ref().unwrap();
        let requests = counters.requests.as_ref().unwrap();
        requests.total - requests.own
    };
    assert!((total(&after) - total(&before) - 10.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_worker_that_answers_late_makes_no_rate() {
    // One worker answers the whole first reading, and the other begins the second.
    let mostly_one: Answer = |number| {
        let count = if number == 5 { 5_000 } else { 70 };
        page(&format!("http_requests_total{{code=\"200\"}} {count}\n"))
    };
    let endpoint = Endpoint::start(mostly_one, true).await;
    let reason = request_rate(&endpoint).await.unwrap_err();
    assert!(
        reason.contains("several processes answer in turn"),
        "{reason}"
    );
}

#[tokio::test]
async fn two_workers_behind_one_port_are_noticed_from_the_start() {
    let in_turn: Answer = |number| {
        let count = if number % 2 == 0 { 5_000 } else { 70 };
        page(&format!("http_requests_total{{code=\"200\"}} {count}\n"))
    };
    let endpoint = Endpoint::start(in_turn, true).await;
    let reason = request_rate(&endpoint).await.unwrap_err();
    assert!(
        reason.contains("several processes answer in turn"),
        "{reason}"
    );
    // As seen from one command to the next.
    let before = read_one(&mut collector(), &endpoint.target()).await;
    let after = read_after_interval(&mut collector(), &endpoint.target(), &before).await;
    assert_eq!(sample(&before, &after).0.request_rate, None);
}

#[tokio::test]
async fn redirects_and_compression_do_not_hide_a_page() {
    // gzip -9 of `http_requests_total 1\n`.
    let compressed: Answer = |_| {
        let body = [
            0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0x28, 0x29, 0x29,
            0x88, 0x2f, 0x4a, 0x2d, 0x2c, 0x4d, 0x2d, 0x2e, 0x29, 0x8e, 0x2f, 0xc9, 0x2f, 0x49,
            0xcc, 0x51, 0x30, 0xe4, 0x02, 0x00, 0x2b, 0xea, 0x92, 0x60, 0x16, 0x00, 0x00, 0x00,
        ];
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    };
    let total = |reading: &Reading| {
        let counters = reading.service.counters.as_ref().unwrap();
        counters.requests.as_ref().unwrap().total
    };
    let (reading, _) = read(compressed, true).await;
    assert!((total(&reading) - 1.0).abs() < 1e-9);

    let redirected: Answer = |number| match number {
        0 => b"HTTP/1.1 307 T\r\nlocation: /metrics/\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => page("http_requests_total 5\n"),
    };
    let (reading, _) = read(redirected, true).await;
    assert!((total(&reading) - 5.0).abs() < 1e-9);

    let elsewhere: Answer = |_| {
        b"HTTP/1.1 302 F\r\nlocation: http://example.org/m\r\ncontent-length: 0\r\n\r\n".to_vec()
    };
    let (reading, _) = read(elsewhere, true).await;
    let reason = reason(&reading);
    assert!(
        reason.ends_with(
            "answered with status 302, which leads to another server: http://example.org/m"
        ),
        "{reason}"
    );
}

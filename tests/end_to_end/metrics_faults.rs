//! Metrics endpoints that misbehave: the value is absent with a reason, and the run goes on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::project::{TestProject, test_file};

/// Answers each connection in its own way, for as long as the test process lives; returns its address.
fn server(answer: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut connection = connection;
                let _ = connection.read(&mut [0; 1024]);
                answer(connection);
            });
        }
    });
    address
}

async fn absent_request_rate(answer: fn(TcpStream)) -> String {
    let address = server(answer);
    let service = format!(
        "[services.odd]\ncommand = [\"sleep\", \"86400\"]\nmetrics = {{ prometheus = \"http://{address}/metrics\" }}\n"
    );
    let project = TestProject::with(&test_file("t", &service, "sleep 1.2"));
    project.run(&["run", "--keep"]).await.expect(0);
    let report = project.manage(&["--auto-scale"]).await;
    let odd = &report["services"][0];
    assert!(odd["current"]["request_rate"].is_null(), "{odd:#}");
    assert!(
        odd["current"]["memory_mb"].is_f64(),
        "what can be measured is: {odd:#}"
    );
    assert_eq!(odd["scaling"]["action"], "none");
    let reason = odd["absent"]["request_rate"]
        .as_str()
        .unwrap_or_else(|| panic!("{odd:#}"))
        .to_owned();
    let human = project.run(&["services", "ai-manage"]).await;
    human.expect(0).says("RPS: n/a (");
    project.stop_all().await;
    reason
}

#[tokio::test]
async fn an_endpoint_that_never_answers() {
    let reason = absent_request_rate(|mut connection| {
        // Until the other side gives up.
        let _ = connection.read(&mut [0; 1]);
    })
    .await;
    assert!(
        reason.contains("/metrics") && reason.contains("timed out"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_endpoint_without_an_end() {
    let reason = absent_request_rate(|mut connection| {
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let line = "filler_total 1\n".repeat(10_000);
        while connection.write_all(line.as_bytes()).is_ok() {}
    })
    .await;
    assert!(reason.contains("/metrics"), "{reason}");
}

#[tokio::test]
async fn an_endpoint_that_is_cut_off() {
    let reason = absent_request_rate(|mut connection| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhttp_requests_total 1";
        let _ = connection.write_all(head);
    })
    .await;
    assert!(reason.contains("/metrics"), "{reason}");
}

#[tokio::test]
async fn an_endpoint_that_talks_nonsense() {
    let reason = absent_request_rate(|mut connection| {
        let _ = connection.write_all(b"\x00\xff\xfe SSH-2.0 who is there?\r\n\r\n");
    })
    .await;
    assert!(reason.contains("/metrics"), "{reason}");
}

#[tokio::test]
async fn an_endpoint_that_counts_something_else() {
    let reason = absent_request_rate(|mut connection| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\nwidgets_total 3\n{{{ what?\n\n";
        let _ = connection.write_all(head);
    })
    .await;
    assert!(reason.contains("http_requests_total"), "{reason}");
}

//! Requests, errors, latency and connections of redis, nginx, memcached and PostgreSQL.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use clnrm_core::config::definition::MetricsSpec;
use clnrm_core::http;
use clnrm_core::metrics::{Collector, Reading, Target};
use clnrm_core::services::service_manager::{Absent, Metric, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

use crate::server::{
    DEADLINE, Tree, memcached, nginx, postgres, program, redis, server_metrics, wait_for,
};
use crate::{collector, read_after_interval, read_one, sample, seconds_between};

fn redis_metrics(password: Option<&str>) -> MetricsSpec {
    match password {
        Some(password) => server_metrics("redis", [("password", password)]),
        None => server_metrics("redis", []),
    }
}

/// Within so many percent.
#[track_caller]
fn assert_close(measured: f64, expected: f64, percent: f64) {
    assert!(
        (measured - expected).abs() <= expected * percent / 100.0,
        "{measured} is not {expected}"
    );
}

/// A busy kernel announces closed connections a little later than they are closed, and their bytes with them.
async fn read_once_exchanged(
    collector: &mut Collector,
    target: &Target,
    before: &Reading,
    expected: Range<u64>,
) -> Reading {
    let begun = Instant::now();
    let bytes = |reading: &Reading| reading.traffic.network.clone().unwrap().bytes;
    loop {
        let after = read_after_interval(collector, target, before).await;
        let exchanged = bytes(&after) - bytes(before);
        if expected.contains(&exchanged) {
            return after;
        }
        assert!(
            exchanged < expected.start && begun.elapsed() < DEADLINE,
            "{exchanged} is not in {expected:?}"
        );
    }
}

#[tokio::test]
async fn redis_requests_are_those_that_the_load_generator_counts() {
    let (Some(tree), Some(benchmark)) = (redis("").await, program("redis-benchmark")) else {
        return;
    };
    let mut collector = collector();
    let target = tree.target(redis_metrics(None));
    let before = read_one(&mut collector, &target).await;
    let load = Command::new(benchmark)
        .args([
            "-p",
            &tree.port.to_string(),
            "-t",
            "set,get",
            "-n",
            "30000",
            "-c",
            "20",
            "-q",
        ])
        .output()
        .unwrap();
    assert!(load.status.success());
    // A SET or GET is 30 to 60 bytes, its answer 3 to 9.
    let bytes = 60_000 * 40..60_000 * 70;
    let after = read_once_exchanged(&mut collector, &target, &before, bytes).await;
    let (metrics, sources) = sample(&before, &after);
    let requests = metrics.request_rate.unwrap() * seconds_between(&before, &after);
    assert_close(requests, 60_000.0, 1.0);
    assert_eq!(metrics.error_rate, Some(0.0));
    assert!(metrics.response_time_ms.unwrap() < 1.0);
    assert!(metrics.cpu_percent.unwrap() > 0.0);
    assert_eq!(
        sources.get(Metric::RequestRate),
        Ok(Source::server("redis"))
    );
}

#[tokio::test]
async fn redis_errors_and_connections_are_exact_and_an_idle_server_is_idle() {
    let Some(tree) = redis("").await else { return };
    let mut collector = collector();
    let target = tree.target(redis_metrics(None));
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(TcpStream::connect(tree.address()).await.unwrap());
    }
    let ask = async |client: &mut TcpStream, command: &str| {
        client.write_all(command.as_bytes()).await.unwrap();
        client.read_u8().await.unwrap()
    };
    let before = read_one(&mut collector, &target).await;
    assert_eq!(ask(&mut clients[0], "SET key text\r\n").await, b'+');
    for client in &mut clients[1..4] {
        assert_eq!(ask(client, "LPUSH key item\r\n").await, b'-'); // WRONGTYPE
    }
    let after = read_after_interval(&mut collector, &target, &before).await;
    let (metrics, sources) = sample(&before, &after);
    assert_eq!(metrics.active_connections, Some(5.0));
    assert_eq!(
        sources.get(Metric::ActiveConnections),
        Ok(Source::server("redis"))
    );
    assert_eq!(after.traffic.connections, Ok(5));
    assert_close(metrics.error_rate.unwrap(), 0.75, 0.01);

    let idle = read_after_interval(&mut collector, &target, &after).await;
    let (metrics, sources) = sample(&after, &idle);
    assert_eq!(metrics.request_rate, Some(0.0));
    assert_eq!(metrics.network_mb_per_s, Some(0.0));
    assert_eq!(sources.get(Metric::ResponseTimeMs), Err(Absent::NoRequests));
}

#[tokio::test]
async fn a_redis_whose_statistics_were_reset_has_no_rate() {
    let Some(tree) = redis("").await else { return };
    let target = tree.target(redis_metrics(None));
    let mut client = TcpStream::connect(tree.address()).await.unwrap();
    let mut collector = collector();
    let mut before = read_one(&mut collector, &target).await;
    for _ in 0..3 {
        // As many requests before each reset as after the one before: no counter ends up lower.
        let pings = "PING\r\n".repeat(500) + "CONFIG RESETSTAT\r\n";
        client.write_all(pings.as_bytes()).await.unwrap();
        let mut answers = vec![0; 500 * "+PONG\r\n".len() + "+OK\r\n".len()];
        client.read_exact(&mut answers).await.unwrap();
        let after = read_after_interval(&mut collector, &target, &before).await;
        let (metrics, sources) = sample(&before, &after);
        assert_eq!(metrics.request_rate, None);
        assert_eq!(sources.get(Metric::RequestRate), Err(Absent::CounterReset));
        before = after;
    }
}

#[tokio::test]
async fn redis_with_a_password_wants_it_and_our_own_login_does_not_count() {
    let Some(tree) = redis("--requirepass secret").await else {
        return;
    };
    let refused = read_one(&mut collector(), &tree.target(redis_metrics(None))).await;
    assert_eq!(
        refused.service.counters,
        Err(Absent::PasswordNeeded {
            source_name: Source::server("redis")
        })
    );
    let wrong = read_one(&mut collector(), &tree.target(redis_metrics(Some("wrong")))).await;
    let reason = wrong.service.counters.unwrap_err().to_string();
    assert!(
        reason.contains("WRONGPASS") && !reason.contains("wrong "),
        "{reason}"
    );

    let target = tree.target(redis_metrics(Some("secret")));
    let before = read_one(&mut collector(), &target).await;
    let after = read_after_interval(&mut collector(), &target, &before).await;
    assert_eq!(sample(&before, &after).0.request_rate, Some(0.0));
}

#[tokio::test]
async fn a_redis_that_was_restarted_counts_anew() {
    let Some(_) = program("redis-server") else {
        return;
    };
    let script = "while :; do redis-server --port $PORT --dir $DIR --save ''; done & wait";
    let tree = Tree::start(script).listening().await;
    let mut collector = collector();
    let target = tree.target(redis_metrics(None));
    let before = read_one(&mut collector, &target).await;
    let mut client = TcpStream::connect(tree.address()).await.unwrap();
    client.write_all(b"SHUTDOWN NOSAVE\r\n").await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0, "it has ended");
    let tree = tree.listening().await;
    let mut after = read_after_interval(&mut collector, &target, &before).await;
    if after.service.counters.is_err() {
        after = read_one(&mut collector, &tree.target(redis_metrics(None))).await; // the old connection was closed
    }
    let (metrics, sources) = sample(&before, &after);
    assert_eq!(sources.get(Metric::RequestRate), Err(Absent::CounterReset));
    assert!(metrics.cpu_percent.is_some(), "the tree is the same");
}

async fn get(url: &str) -> u16 {
    let limits = http::Limits {
        timeout: Duration::from_secs(10),
        max_body_bytes: 1_000,
    };
    let answer = http::request("GET", url, &BTreeMap::new(), Vec::new(), limits).await;
    answer.unwrap().status
}

#[tokio::test]
async fn nginx_requests_are_exact_without_our_own_even_from_one_collector_to_the_next() {
    let Some(tree) = nginx().await else { return };
    let target = tree.target(server_metrics("nginx", [("endpoint", "/nginx_status")]));
    let mut first = collector();
    for _ in 0..3 {
        read_one(&mut first, &target).await;
    }
    let before = read_one(&mut first, &target).await;
    for _ in 0..50 {
        assert_eq!(get(&format!("http://{}/", tree.address())).await, 200);
    }
    // 50 requests of some 60 bytes and answers of some 150.
    let bytes = 50 * 150..50 * 300;
    let after = read_once_exchanged(&mut first, &target, &before, bytes).await;
    let (metrics, sources) = sample(&before, &after);
    assert_close(
        metrics.request_rate.unwrap() * seconds_between(&before, &after),
        50.0,
        0.01,
    );
    let not_exposed = Err(Absent::NotExposed {
        source_name: Source::server("nginx"),
    });
    assert_eq!(sources.get(Metric::ErrorRate), not_exposed);
    assert_eq!(sources.get(Metric::ResponseTimeMs), not_exposed);

    let later = read_after_interval(&mut collector(), &target, &after).await;
    assert_eq!(sample(&after, &later).0.request_rate, Some(0.0));
}

#[tokio::test]
async fn nginx_connections_are_exact_without_our_own() {
    let Some(tree) = nginx().await else { return };
    let target = tree.target(server_metrics("nginx", [("endpoint", "/nginx_status")]));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = TcpStream::connect(tree.address()).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        client.read_u8().await.unwrap();
        clients.push(client);
    }
    let reading = read_one(&mut collector(), &target).await;
    assert_eq!(reading.service.counters.unwrap().connections, Ok(4.0));
    assert_eq!(reading.traffic.connections, Ok(4));
}

async fn connect_postgres(tree: &Tree) -> Option<Client> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(tree.port)
        .user("postgres")
        .password("secret");
    let (client, connection) = config.connect(NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

#[tokio::test]
async fn postgres_transactions_are_exact_without_our_own() {
    let Some(tree) = postgres().await else { return };
    let target = tree.target(server_metrics(
        "postgres",
        [
            ("user", "postgres"),
            ("password", "secret"),
            ("database", "postgres"),
        ],
    ));
    wait_for("PostgreSQL lets us in", || async {
        connect_postgres(&tree).await.is_some()
    })
    .await;
    let mut collector = collector();
    let client = connect_postgres(&tree).await.unwrap();
    let other = connect_postgres(&tree).await.unwrap();
    let mut before = read_one(&mut collector, &target).await;
    // The logins just made are published with a delay.
    let mut settled = read_after_interval(&mut collector, &target, &before).await;
    while sample(&before, &settled).0.request_rate != Some(0.0) {
        before = settled;
        settled = read_after_interval(&mut collector, &target, &before).await;
    }
    assert_eq!(
        settled.service.counters.as_ref().unwrap().connections,
        Ok(2.0)
    );

    let idle = read_after_interval(&mut crate::collector(), &target, &settled).await;
    let (metrics, sources) = sample(&settled, &idle);
    assert_eq!(
        metrics.request_rate,
        Some(0.0),
        "as seen by another collector"
    );
    assert_eq!(
        sources.get(Metric::ResponseTimeMs),
        Err(Absent::NoRequests),
        "an idle server is not one that was reset"
    );
    settled = read_after_interval(&mut collector, &target, &idle).await;

    for number in 0..200 {
        let end = if number % 4 == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        client
            .batch_execute(&format!("BEGIN; SELECT pg_sleep(0.001); {end}"))
            .await
            .unwrap();
    }
    drop(client); // a session publishes everything at its end
    wait_for("the session has ended", || async {
        let rows = other.query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
            &[],
        );
        rows.await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
    let own_queries = read_one(&mut collector, &target).await;
    let (metrics, _) = sample(&settled, &own_queries);
    let requests = metrics.request_rate.unwrap() * seconds_between(&settled, &own_queries);
    let errors = metrics.error_rate.unwrap() * requests;
    assert_close(errors, 50.0, 0.01);
    // `other` has asked some times, too.
    assert!((200.0..230.0).contains(&requests), "{requests}");
    assert!(
        (1.0..20.0).contains(&metrics.response_time_ms.unwrap()),
        "{metrics:?}"
    );

    let wrong = tree.target(server_metrics(
        "postgres",
        [("user", "postgres"), ("database", "postgres")],
    ));
    let reason = read_one(&mut crate::collector(), &wrong)
        .await
        .service
        .counters
        .unwrap_err();
    assert!(reason.to_string().contains("password"), "{reason}");
}

#[tokio::test]
async fn postgres_counts_per_database_and_shows_sessions_to_those_who_may_see_them() {
    let Some(tree) = postgres().await else { return };
    wait_for("PostgreSQL lets us in", || async {
        connect_postgres(&tree).await.is_some()
    })
    .await;
    let client = connect_postgres(&tree).await.unwrap();
    client
        .batch_execute("CREATE ROLE app LOGIN PASSWORD 'secret'")
        .await
        .unwrap();
    for name in ["one", "two"] {
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
    }
    let target = tree.target(server_metrics(
        "postgres",
        [("user", "app"), ("password", "secret"), ("database", "one")],
    ));
    let mut collector = collector();
    let before = read_one(&mut collector, &target).await;
    let counters = before.service.counters.as_ref().unwrap();
    let reason = counters.connections.as_ref().unwrap_err().to_string();
    assert_eq!(
        reason,
        "the server does not show this to role `app`: grant pg_monitor to app"
    );
    // The kernel knows all the same.
    let (metrics, sources) = sample(&before, &before);
    assert_eq!(metrics.active_connections, Some(1.0));
    assert_eq!(sources.get(Metric::ActiveConnections), Ok(Source::SockDiag));

    // A database that goes takes its counts along, which is no reset of the others.
    client.batch_execute("DROP DATABASE two").await.unwrap();
    let after = read_after_interval(&mut collector, &target, &before).await;
    assert!(sample(&before, &after).0.request_rate.is_some());

    client
        .batch_execute("GRANT pg_monitor TO app")
        .await
        .unwrap();
    let granted = read_one(&mut collector, &target).await;
    assert_eq!(granted.service.counters.unwrap().connections, Ok(1.0));
}

#[tokio::test]
async fn memcached_requests_and_connections_are_exact_without_our_own() {
    let Some(tree) = memcached().await else {
        return;
    };
    let mut collector = collector();
    let target = tree.target(server_metrics("memcached", []));
    let mut client = TcpStream::connect(tree.address()).await.unwrap();
    let _other = TcpStream::connect(tree.address()).await.unwrap();
    let before = read_one(&mut collector, &target).await;
    let commands = "set a 0 0 1\r\nx\r\n".repeat(100) + &"get a\r\n".repeat(50) + "delete a\r\n";
    client.write_all(commands.as_bytes()).await.unwrap();
    let answers =
        "STORED\r\n".repeat(100) + &"VALUE a 0 1\r\nx\r\nEND\r\n".repeat(50) + "DELETED\r\n";
    let mut answered = vec![0; answers.len()];
    client.read_exact(&mut answered).await.unwrap();
    assert_eq!(answered, answers.as_bytes());
    let after = read_after_interval(&mut collector, &target, &before).await;
    let (metrics, sources) = sample(&before, &after);
    let requests = metrics.request_rate.unwrap() * seconds_between(&before, &after);
    assert_close(requests, 151.0, 0.001);
    assert_eq!(metrics.active_connections, Some(2.0));
    let memcached = Source::server("memcached");
    assert_eq!(sources.get(Metric::RequestRate), Ok(memcached.clone()));
    assert_eq!(
        sources.get(Metric::ActiveConnections),
        Ok(memcached.clone())
    );
    let not_exposed = Absent::NotExposed {
        source_name: memcached,
    };
    assert_eq!(sources.get(Metric::ErrorRate), Err(not_exposed));

    let idle = read_after_interval(&mut collector, &target, &after).await;
    assert_eq!(sample(&after, &idle).0.request_rate, Some(0.0));
}

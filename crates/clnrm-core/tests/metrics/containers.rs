//! Containers, held against what the engine itself counts and what was really sent.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use clnrm_core::config::definition::MetricsSpec;
use clnrm_core::metrics::rates::{combine, instance_sample};
use clnrm_core::metrics::{Absent, ContainerRoot, Reading, Root, Source, Target};
use clnrm_core::services::service_manager::Metric;
use serde_json::Value;
use tokio::time::Instant;

use super::docker::{Container, Docker, TestImage, docker};
use super::server::{DEADLINE, wait_for};
use super::{collector, read_after_interval, read_one};

const BUSY: &[&str] = &["sh", "-c", "while :; do :; done"];
const MEGABYTE: u64 = 1 << 20;

fn local_target(docker: &Docker, container: &Container, ports: &[u16]) -> Target {
    let main_pid = docker.inspect(container, "{{.State.Pid}}").parse().unwrap();
    Target {
        instance_id: container.id.clone(),
        root: Root::Container(ContainerRoot {
            container_id: container.id.clone(),
            main_pid: Some(main_pid),
        }),
        ports: ports.to_vec(),
        address: ports
            .first()
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port))),
        metrics: MetricsSpec::ProcessOnly,
    }
}

/// The engine's own statistics, after two of its ticks.
fn engine_stats(container: &Container) -> Value {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "GET /containers/{}/stats?stream=false HTTP/1.0\r\n\r\n",
        container.id
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn number(stats: &Value, pointer: &str) -> f64 {
    let value = stats.pointer(pointer).and_then(Value::as_f64);
    value
        .ok_or_else(|| format!("no {pointer} in {stats}"))
        .unwrap()
}

/// As the docker command computes it, on either version of cgroups.
fn engine_memory(stats: &Value) -> f64 {
    let cache = ["total_inactive_file", "inactive_file"]
        .iter()
        .find_map(|name| stats.pointer(&format!("/memory_stats/stats/{name}")))
        .and_then(Value::as_f64)
        .unwrap();
    number(stats, "/memory_stats/usage") - cache
}

fn engine_bytes(stats: &Value) -> u64 {
    let interfaces = stats["networks"].as_object().unwrap().values();
    interfaces
        .map(|it| it["rx_bytes"].as_u64().unwrap() + it["tx_bytes"].as_u64().unwrap())
        .sum()
}

fn bytes(reading: &Reading) -> u64 {
    reading.traffic.network.clone().unwrap().bytes
}

#[tokio::test]
async fn cpu_is_what_the_engine_counts_and_relative_to_the_limit() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    // A fifth of a core, in shares so short that it matters little where in one of them a reading falls.
    let options = ["--cpu-period", "10000", "--cpu-quota", "2000"];
    let busy = docker.start(&options, TestImage::Busybox, BUSY);
    let target = local_target(&docker, &busy, &[]);
    let mut collector = collector();
    let before = read_one(&mut collector, &target).await;
    let engine = engine_stats(&busy);
    let after = read_one(&mut collector, &target).await;

    // One counter, read in this order.
    let used = |reading: &Reading| reading.usage.cpu_seconds.clone().unwrap();
    let engine_used = number(&engine, "/cpu_stats/cpu_usage/total_usage") / 1e9;
    assert!(
        used(&before) <= engine_used && engine_used <= used(&after),
        "{before:?} {engine_used} {after:?}"
    );
    let (metrics, sources) = combine(&[instance_sample(Some(&before), &after, 0.2)], after.at);
    let engine_ticks = engine_used - number(&engine, "/precpu_stats/cpu_usage/total_usage") / 1e9;
    let moment = |name: &str| humantime::parse_rfc3339(engine[name].as_str().unwrap()).unwrap();
    let interval = moment("read").duration_since(moment("preread")).unwrap();
    let engine_percent = 100.0 * engine_ticks / interval.as_secs_f64() / 0.2;
    let percent = metrics.cpu_percent.unwrap();
    assert!(
        (percent / engine_percent - 1.0).abs() < 0.05,
        "{percent} is not {engine_percent}"
    );
    assert_eq!(sources.get(Metric::CpuPercent), Ok(Source::Cgroup));
    assert_eq!(sources.get(Metric::MemoryMb), Ok(Source::Cgroup));
    assert_eq!(
        sources.get(Metric::NetworkMbPerS),
        Ok(Source::NetworkNamespace)
    );
}

#[tokio::test]
async fn memory_is_without_the_file_cache_as_the_engine_shows_it() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    // 30 MB in files that are cached, and a variable of 10 MB.
    let script = "dd if=/dev/zero of=/data/file bs=1M count=30; \
                  x=$(dd if=/dev/zero bs=1M count=10 | tr '\\0' x); echo full; read y";
    let full = docker.start(
        &["--interactive"],
        TestImage::Busybox,
        &["sh", "-c", script],
    );
    wait_for("the container has filled its memory", || async {
        docker
            .run(&["logs", &full.id])
            .is_ok_and(|log| log.contains("full"))
    })
    .await;
    let target = local_target(&docker, &full, &[]);
    let engine = engine_stats(&full);
    let reading = read_one(&mut collector(), &target).await;

    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
    let memory = reading.usage.memory_bytes.unwrap() as f64;
    let expected = engine_memory(&engine);
    // The kernel charges pages to a group in batches, so that even an idle one's figure moves a little.
    assert!(
        (memory - expected).abs() < 0.02 * expected,
        "{memory} is not {expected}"
    );
    assert!(memory > 10e6, "{memory}");
    assert!(
        number(&engine, "/memory_stats/usage") > memory + 25e6,
        "the cache is not counted: {memory} of {engine}"
    );
}

#[tokio::test]
async fn network_bytes_are_those_that_were_sent() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let script = "nc -l -p 7000 | wc -c; read end";
    let options = ["--interactive", "--publish", "127.0.0.1:0:7000"];
    let sink = docker.start(&options, TestImage::Busybox, &["sh", "-c", script]);
    let port = docker.published_port(&sink, 7000);
    let target = local_target(&docker, &sink, &[port]);
    let mut collector = collector();
    let before = read_one(&mut collector, &target).await;

    let sent = 20 * MEGABYTE;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client
        .write_all(&vec![7; usize::try_from(sent).unwrap()])
        .unwrap();
    drop(client);
    wait_for("all has been received", || async {
        docker.run(&["logs", &sink.id]) == Ok(sent.to_string())
    })
    .await;
    let after = read_after_interval(&mut collector, &target, &before).await;

    let counted = bytes(&after) - bytes(&before);
    assert!(
        (sent..sent + sent / 10).contains(&counted),
        "{counted} of {sent} and headers"
    );
    // The engine counts the same, and another collector goes on where this one ended.
    let engine = engine_bytes(&engine_stats(&sink));
    let later = read_one(&mut super::collector(), &target).await;
    assert!(
        bytes(&after) <= engine && engine <= bytes(&later),
        "{after:?} {engine} {later:?}"
    );
    let sample = instance_sample(Some(&before), &later, 1.0);
    let seconds = later.traffic.at.since(before.traffic.at).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
    let expected = (bytes(&later) - bytes(&before)) as f64 / 1e6 / seconds;
    assert_eq!(sample.network_mb_per_s, Ok(expected));
}

#[tokio::test]
async fn connections_are_those_of_clients_and_not_our_own_nor_outward_ones() {
    let Some(docker) = docker(&[TestImage::Busybox, TestImage::Redis]) else {
        return;
    };
    let options = ["--publish", "127.0.0.1:0:6379"];
    let redis = docker.start(&options, TestImage::Redis, &[]);
    let port = docker.published_port(&redis, 6379);
    wait_for("redis answers", || async {
        let ping = docker.run(&["exec", &redis.id, "redis-cli", "ping"]);
        ping == Ok("PONG".to_owned())
    })
    .await;
    let mut target = local_target(&docker, &redis, &[port]);
    target.metrics = MetricsSpec::Redis {
        username: None,
        password: None,
    };
    let mut collector = collector();
    // The first reading connects to redis and keeps the connection.
    let first = read_one(&mut collector, &target).await;
    assert!(first.service.counters.is_ok(), "{first:?}");
    let mut clients: Vec<TcpStream> = (0..5)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap())
        .collect();
    expect_connections(&mut collector, &target, 5).await;

    // A replica connects outwards, to a listener that never answers.
    let master = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let gateway = docker.inspect(&redis, "{{.NetworkSettings.Gateway}}");
    let master_port = master.local_addr().unwrap().port().to_string();
    let replicate = [
        "exec",
        &redis.id,
        "redis-cli",
        "replicaof",
        &gateway,
        &master_port,
    ];
    docker.run(&replicate).unwrap();
    let (_outward, _) = master.accept().unwrap();
    clients.truncate(2);
    expect_connections(&mut collector, &target, 2).await;
}

async fn expect_connections(
    collector: &mut clnrm_core::metrics::Collector,
    target: &Target,
    expected: u64,
) {
    let begun = Instant::now();
    loop {
        let connections = read_one(collector, target).await.traffic.connections;
        if connections == Ok(expected) {
            return;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "{connections:?} are not {expected}"
        );
    }
}

#[tokio::test]
async fn a_container_that_is_gone_has_ended() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let busy = docker.start(&["--cpus", "0.1"], TestImage::Busybox, BUSY);
    let target = local_target(&docker, &busy, &[]);
    let mut collector = collector();
    let before = read_one(&mut collector, &target).await;
    assert!(before.usage.cpu_seconds.is_ok(), "{before:?}");
    docker.run(&["kill", &busy.id]).unwrap();
    let after = read_one(&mut collector, &target).await;
    for absent in [
        after.usage.cpu_seconds.map(drop),
        after.usage.memory_bytes.map(drop),
        after.traffic.connections.map(drop),
        after.traffic.network.map(drop),
    ] {
        assert_eq!(absent, Err(Absent::ProcessEnded));
    }
}

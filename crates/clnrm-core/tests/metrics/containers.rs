//! Containers, held against what the engine itself counts and what was really sent.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use clnrm_core::backend::Backends;
use clnrm_core::backend::docker::DockerBackend;
use clnrm_core::clock::SystemClock;
use clnrm_core::config::definition::MetricsSpec;
use clnrm_core::metrics::rates::{combine, instance_sample};
use clnrm_core::metrics::{Collector, ContainerRoot, Reading, Root, Target};
use clnrm_core::servers;
use clnrm_core::services::service_manager::{Absent, Metric, Source};
use serde_json::Value;
use tokio::time::Instant;

use super::docker::{Container, Docker, TestImage, docker};
use super::server::{DEADLINE, wait_for};
use super::{collector, read_after_interval, read_one};

use crate::server::server_metrics;

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

/// Without what the kernel can drop, on either version of cgroups.
fn engine_memory(stats: &Value) -> f64 {
    let stat = |name: &str| {
        let value = |name: String| stats.pointer(&format!("/memory_stats/stats/{name}"));
        let value = value(format!("total_{name}")).or_else(|| value(name.to_owned()));
        value.and_then(Value::as_f64).unwrap_or(0.0)
    };
    if stats
        .pointer("/memory_stats/stats/total_active_anon")
        .is_some()
    {
        return stat("active_anon") + stat("inactive_anon") + stat("unevictable");
    }
    let droppable = stat("active_file") + stat("inactive_file") + stat("slab_reclaimable");
    number(stats, "/memory_stats/usage") - droppable
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
async fn memory_is_what_the_kernel_cannot_drop() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    // 30 MB in a file that is read again and again, 5 MB in shared memory, and a variable of 10 MB.
    let script = "dd if=/dev/zero of=/data/file bs=1M count=30; sync; \
                  for i in 1 2 3; do cat /data/file >/dev/null; done; \
                  dd if=/dev/zero of=/dev/shm/file bs=1M count=5; \
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
    assert!((15e6..30e6).contains(&memory), "{memory}");
    // How much of the cache is left is the kernel's affair: a busy machine takes it back.
    let usage = number(&engine, "/memory_stats/usage");
    assert!(usage >= 0.98 * memory, "{usage} and {memory}");
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
    target.metrics = server_metrics("redis", []);
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

async fn expect_connections(collector: &mut Collector, target: &Target, expected: u64) {
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

/// As of an engine on another machine: nothing here is known of the container.
fn remote_target(container: &Container) -> Target {
    Target {
        instance_id: container.id.clone(),
        root: Root::Container(ContainerRoot {
            container_id: container.id.clone(),
            main_pid: None,
        }),
        ports: Vec::new(),
        address: None,
        metrics: MetricsSpec::ProcessOnly,
    }
}

fn asking_collector() -> Collector {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    asking(&environment)
}

fn asking(environment: &BTreeMap<String, String>) -> Collector {
    let docker = DockerBackend::new(environment, Path::new("/nowhere"), None);
    let backends = Backends::only(vec![Arc::new(docker)]);
    Collector::new(Arc::new(SystemClock), servers::source, backends)
}

#[tokio::test]
async fn the_engine_streams_the_same_values_for_a_container_elsewhere() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let options = ["--cpu-period", "10000", "--cpu-quota", "2000"];
    let busy = docker.start(&options, TestImage::Busybox, BUSY);
    let (near, far) = (local_target(&docker, &busy, &[]), remote_target(&busy));
    let (mut here, mut there) = (collector(), asking_collector());
    let first = read_one(&mut there, &far).await;
    assert_eq!(first.usage.cpu_seconds, Err(Absent::NoStatisticsYet));
    assert_eq!(first.traffic.network, Err(Absent::NoStatisticsYet));
    assert!(there.wait_for_engine().await);

    // The engine's look lies between two of ours, three times over.
    let mut outer = Vec::new();
    let mut inner = Vec::new();
    let mut last = read_one(&mut there, &far).await;
    outer.push(read_one(&mut here, &near).await);
    for _ in 0..3 {
        last = next_item(&mut there, &far, &last).await;
        inner.push(last.clone());
        outer.push(read_one(&mut here, &near).await);
    }
    let used = |reading: &Reading| reading.usage.cpu_seconds.clone().unwrap();
    for (index, reading) in inner.iter().enumerate() {
        let between = used(&outer[index])..=used(&outer[index + 1]);
        assert!(between.contains(&used(reading)), "{between:?} {reading:?}");
        assert!((bytes(&outer[index])..=bytes(&outer[index + 1])).contains(&bytes(reading)));
    }
    let memory = inner[2].usage.memory_bytes.clone().unwrap();
    let expected = outer[3].usage.memory_bytes.clone().unwrap();
    assert!(
        memory.abs_diff(expected) <= expected / 10,
        "{memory} is not {expected}"
    );
    let percent = |readings: &[Reading]| {
        let last = readings.last().unwrap();
        let sample = instance_sample(Some(&readings[0]), last, 0.2);
        sample.cpu_percent.unwrap()
    };
    let (seen_there, seen_here) = (percent(&inner), percent(&outer));
    assert!(
        (seen_there / seen_here - 1.0).abs() < 0.05,
        "{seen_there} is not {seen_here}"
    );
    let (_, sources) = combine(
        &[instance_sample(Some(&inner[0]), &inner[2], 0.2)],
        inner[2].at,
    );
    for metric in [Metric::CpuPercent, Metric::MemoryMb, Metric::NetworkMbPerS] {
        assert_eq!(sources.get(metric), Ok(Source::EngineStats));
    }
    let not_exposed = Absent::NotExposed {
        source_name: Source::EngineStats,
    };
    assert_eq!(sources.get(Metric::ActiveConnections), Err(not_exposed));

    docker.run(&["kill", &busy.id]).unwrap();
    wait_for_end(&mut there, &far).await;
}

/// Reads until the engine has looked again.
async fn next_item(collector: &mut Collector, target: &Target, last: &Reading) -> Reading {
    loop {
        let reading = read_one(collector, target).await;
        if reading.usage.at != last.usage.at {
            return reading;
        }
    }
}

async fn wait_for_end(collector: &mut Collector, target: &Target) {
    let begun = Instant::now();
    loop {
        let usage = read_one(collector, target).await.usage;
        if usage.cpu_seconds == Err(Absent::ProcessEnded) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{usage:?}");
    }
}

#[tokio::test]
async fn without_its_engine_a_container_elsewhere_says_why_it_is_not_measured() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let container = docker.start(&[], TestImage::Nothing, &[]);
    let target = remote_target(&container);
    let folder = tempfile::tempdir().unwrap();
    let host = format!("unix://{}/engine.sock", folder.path().display());
    let environment = BTreeMap::from([("DOCKER_HOST".to_owned(), host)]);
    let mut collector = asking(&environment);
    read_one(&mut collector, &target).await;
    collector.wait_for_engine().await;
    let reading = read_one(&mut collector, &target).await;
    let reason = reading.usage.memory_bytes.unwrap_err().to_string();
    assert!(
        reason.starts_with("the engine's statistics: no container engine answers: there is no /"),
        "{reason}"
    );
    // A container that never was has none either.
    let gone = Target {
        root: Root::Container(ContainerRoot {
            container_id: "0123456789abcdef".to_owned(),
            main_pid: None,
        }),
        ..target
    };
    wait_for_end(&mut asking_collector(), &gone).await;
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

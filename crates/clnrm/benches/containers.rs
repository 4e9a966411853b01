//! What containers cost, beside the `docker` command in the same run: `cargo bench -p clnrm --bench containers`;
//! `-- --quick` for fewer rounds.
//!
//! Prints a table and judges nothing, as its figures depend on the machine. The targets: `services status` and a sample
//! of 20 containers take at most 50 ms each; a redis is ready no later than by `docker run`. Skips itself, with the
//! reason, where there is no engine.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock, and waits for another program without an async runtime"
)]
#![allow(
    clippy::unwrap_used,
    reason = "what it shares with tests fails by panicking"
)]

#[path = "../../../tests/support/docker.rs"]
mod docker;

use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clnrm_core::backend::Backends;
use clnrm_core::clock::SystemClock;
use clnrm_core::config::definition::{MetricsSpec, ServerSpec};
use clnrm_core::metrics::{Collector, ContainerRoot, Reading, Root, Target};
use clnrm_core::servers;
use serde_json::Value;

use self::docker::{Docker, TestImage, docker, redis_service};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CONTAINERS: usize = 20;
const STEP: &str =
    "\n[[steps]]\nname = \"ping\"\nservice = \"redis-00\"\ncommand = [\"redis-cli\", \"ping\"]\n";

/// A folder with one test file, whose services are stopped when this goes.
struct Project(tempfile::TempDir);

impl Project {
    fn of(services: usize) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let services: String = (0..services)
            .map(|number| redis_service(&format!("redis-{number:02}"), ""))
            .collect();
        let text = format!("[test]\nname = \"containers\"\n{services}{STEP}");
        fs::write(folder.path().join("t.clnrm.toml"), text)?;
        Ok(Self(folder))
    }

    fn clnrm(&self, arguments: &[&str]) -> Outcome<Vec<u8>> {
        clnrm(self.0.path(), arguments)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Nothing of it may have been started yet.
        let _ = self.clnrm(&["services", "stop", "--all"]);
    }
}

fn main() -> Outcome<()> {
    let Some(docker) = docker(&[TestImage::Redis]) else {
        return Ok(());
    };
    let quick = std::env::args().any(|argument| argument == "--quick");
    println!("{:<62} {:>10}", "", "median");
    many(&docker, if quick { 5 } else { 30 })?;
    start(&docker, if quick { 3 } else { 15 })
}

/// 20 containers: their status and their samples.
fn many(docker: &Docker, rounds: usize) -> Outcome<()> {
    let project = Project::of(CONTAINERS)?;
    project.clnrm(&["run", "--keep"])?;
    let status: Value =
        serde_json::from_slice(&project.clnrm(&["services", "status", "--format", "json"])?)?;
    let instances = status.get("instances").and_then(Value::as_array);
    let instances = instances.ok_or("no instances")?;
    let ids: Vec<&str> = instances
        .iter()
        .filter_map(|instance| text(instance, "container_id"))
        .collect();
    if ids.len() != CONTAINERS {
        return Err(format!("{} containers run", ids.len()).into());
    }

    row("clnrm services status", rounds, || {
        project.clnrm(&["services", "status"]).map(drop)
    })?;
    row("docker inspect, one by one", rounds.min(5), || {
        ids.iter()
            .try_for_each(|id| docker.run(&["inspect", id]).map(drop))
            .map_err(Into::into)
    })?;
    let targets: Vec<Target> = instances
        .iter()
        .map(|instance| target(docker, instance))
        .collect::<Outcome<_>>()?;
    samples(
        "a sample, without asking redis",
        &targets,
        &MetricsSpec::ProcessOnly,
        rounds,
    )?;
    let redis = MetricsSpec::Server(ServerSpec::new("redis", []));
    samples("a sample, redis asked", &targets, &redis, rounds)?;
    row("docker stats --no-stream", rounds.min(3), || {
        let all = [&["stats", "--no-stream"][..], &ids].concat();
        docker.run(&all).map(drop).map_err(Into::into)
    })
}

fn text<'a>(instance: &'a Value, field: &str) -> Option<&'a str> {
    instance.get(field)?.as_str()
}

fn target(docker: &Docker, instance: &Value) -> Outcome<Target> {
    let id = text(instance, "container_id").ok_or("no id")?;
    let address: SocketAddr = text(instance, "address").ok_or("no address")?.parse()?;
    let pid = docker.run(&["inspect", "--format", "{{.State.Pid}}", id])?;
    Ok(Target {
        instance_id: id.to_owned(),
        root: Root::Container(ContainerRoot {
            container_id: id.to_owned(),
            main_pid: Some(pid.parse()?),
        }),
        ports: vec![address.port()],
        address: Some(address),
        metrics: MetricsSpec::ProcessOnly,
    })
}

fn samples(what: &str, targets: &[Target], metrics: &MetricsSpec, rounds: usize) -> Outcome<()> {
    let targets: Vec<Target> = targets
        .iter()
        .map(|target| Target {
            metrics: metrics.clone(),
            ..target.clone()
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut collector = Collector::new(Arc::new(SystemClock), servers::source, Backends::default());
    // The first one looks for everything and connects.
    runtime.block_on(collector.read(&targets));
    row(what, rounds, || {
        let readings = runtime.block_on(collector.read(&targets));
        let is_complete = |reading: &Reading| {
            reading.usage.cpu_seconds.is_ok()
                && reading.usage.memory_bytes.is_ok()
                && reading.traffic.network.is_ok()
                && reading.traffic.connections.is_ok()
                && (reading.service.counters.is_ok() || *metrics == MetricsSpec::ProcessOnly)
        };
        match readings.iter().find(|reading| !is_complete(reading)) {
            Some(reading) => Err(format!("incomplete: {reading:?}").into()),
            None => Ok(()),
        }
    })
}

/// From nothing to a redis that answers, in turns. clnrm makes a network for each run; `docker run` uses the one that is
/// always there, unless one is made for it, too.
fn start(docker: &Docker, rounds: usize) -> Outcome<()> {
    let project = Project::of(1)?;
    let tag = TestImage::Redis.tag()?;
    let (mut by_clnrm, mut by_docker, mut with_network) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let report: Value =
            serde_json::from_slice(&project.clnrm(&["run", "--stop", "--format", "json"])?)?;
        let ready = report.pointer("/tests/0/services/0/ready_ms");
        let ready = ready.and_then(Value::as_u64).ok_or("no ready_ms")?;
        by_clnrm.push(Duration::from_millis(ready));
        by_docker.push(docker_run(docker, &tag, "bridge", Instant::now())?);
        let begun = Instant::now();
        let name = format!("clnrm-bench-{}", std::process::id());
        docker.run(&["network", "create", &name])?;
        let time = docker_run(docker, &tag, &name, begun);
        docker.run(&["network", "rm", &name])?;
        with_network.push(time?);
    }
    print("redis: clnrm, create to ready", by_clnrm);
    print("redis: docker run, to PONG", by_docker);
    print(
        "redis: docker network create and docker run, to PONG",
        with_network,
    );
    Ok(())
}

fn docker_run(docker: &Docker, tag: &str, network: &str, begun: Instant) -> Outcome<Duration> {
    let publish = ["--publish", "127.0.0.1:0:6379", "--network", network];
    let all = [&["run", "--detach"][..], &publish, &[tag]].concat();
    let container = docker::Container {
        id: docker.run(&all)?,
    };
    let port = docker.published_port(&container, 6379);
    while !answers_ping(port) {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err("redis does not answer".into());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(begun.elapsed())
}

fn answers_ping(port: u16) -> bool {
    let ping = || {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        connection.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(&answer == b"+PONG\r\n")
    };
    ping().unwrap_or(false)
}

fn clnrm(project: &Path, arguments: &[&str]) -> Outcome<Vec<u8>> {
    let output = Command::new(env!("CARGO_BIN_EXE_clnrm"))
        .args(arguments)
        .current_dir(project)
        .env_remove("CLNRM_STATE_DIR")
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let problem = String::from_utf8_lossy(&output.stderr);
    Err(format!("clnrm {arguments:?}: {}: {problem}", output.status).into())
}

/// Times something that is done so many times.
fn row(what: &str, rounds: usize, mut act: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        act()?;
        times.push(begun.elapsed());
    }
    print(&format!("{CONTAINERS} containers: {what}"), times);
    Ok(())
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{what:<62} {:>7.1} ms", median.as_secs_f64() * 1_000.0);
}

//! What whole commands cost, measured from outside on the real binary: `cargo bench -p clnrm --bench commands`.
//!
//! Prints a table and judges nothing, as its figures depend on the machine. The targets: `services status` and
//! `ai-manage` on a small stopped project take a few ms; `ai-manage` with all options over 1000 services with 1000 raw
//! samples each takes at most 500 ms and 150 MB; redis is ready within 10 ms of what it needs by itself.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock, and waits for another program without an async runtime"
)]

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clnrm_core::clock::{Clock, SystemClock, Timestamp};
use clnrm_core::services::service_manager::{Metric, ServiceMetrics};
use clnrm_core::store::Store;

#[path = "../../clnrm-core/tests/fixtures/definition.rs"]
mod fixture;
use fixture::definition;

type Outcome<T> = Result<T, Box<dyn Error>>;

const STATUS: &[&str] = &["services", "status"];
const MANAGE: &[&str] = &[
    "services",
    "ai-manage",
    "--auto-scale",
    "--predict-load",
    "--optimize-resources",
];
/// The raw ring of a service is full.
const SAMPLES: u32 = 1_000;
const SECOND: Duration = Duration::from_secs(1);
/// One sample per bucket of the coarsest tier fills all three of them.
const QUARTER_HOUR: Duration = Duration::from_secs(15 * 60);

const REDIS_TEST: &str = r#"
[test]
name = "redis"

[services.cache]
command = ["redis-server", "--bind", "127.0.0.1", "--port", "{port}", "--dir", "{data_dir}", "--save", ""]
ready = { tcp = true, timeout = "10s" }

[[steps]]
name = "nothing"
command = ["true"]
"#;

fn main() -> Outcome<()> {
    println!("{:<58} {:>10} {:>10}", "", "median", "peak");
    for (services, interval, note) in [
        (3, SECOND, ""),
        (100, SECOND, ""),
        (500, SECOND, ""),
        (1_000, SECOND, ""),
        (1_000, QUARTER_HOUR, ", every tier full"),
    ] {
        let project = tempfile::tempdir()?;
        fill(project.path(), services, interval)?;
        let what = format!("{services} services x {SAMPLES} samples{note}");
        if services == 3 {
            row("--version", project.path(), &["--version"])?;
            row(&format!("status, {what}"), project.path(), STATUS)?;
        }
        row(&format!("ai-manage, {what}"), project.path(), MANAGE)?;
    }
    redis()
}

/// Records `services` stopped services; the newest sample of each is of this moment.
fn fill(project: &Path, services: u32, interval: Duration) -> Outcome<()> {
    let now = SystemClock.now();
    let mut store = Store::open(&project.join(".clnrm"))?;
    for number in 0..services {
        let mut definition = definition(&format!("service-{number:04}"));
        (definition.cpus, definition.memory_bytes) = (Some(1.0), Some(500_000_000));
        let file = project.join("services.clnrm.toml");
        let service = store.register_service(&definition, &file, now)?;
        let samples: Vec<_> = (0..SAMPLES)
            .map(|age| (service, sample(now - interval * (SAMPLES - 1 - age), age)))
            .collect();
        store.append_samples(&samples)?;
    }
    Ok(())
}

/// A daily wave, as it were: values that differ, and that no model foretells exactly.
fn sample(at: Timestamp, number: u32) -> ServiceMetrics {
    let mut sample = ServiceMetrics::at(at, 1);
    let wave = (f64::from(number) / 60.0).sin() + f64::from(number * 7 % 13) / 13.0;
    for (size, metric) in (1..).zip(Metric::ALL) {
        let value = match metric {
            Metric::ErrorRate => 0.01 * (wave + 2.0),
            _ => f64::from(size) * 10.0 * (wave + 2.0),
        };
        // A metric that is refused is absent, and finite ones are not refused.
        let _ = sample.set(metric, Some(value));
    }
    sample
}

/// Times a command, start to end of the process, then looks at its memory in a run of its own.
fn row(what: &str, project: &Path, arguments: &[&str]) -> Outcome<()> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < 5 || (times.len() < 100 && begun.elapsed() < 2 * SECOND) {
        let started = Instant::now();
        finish(clnrm(project, arguments).spawn()?)?;
        times.push(started.elapsed());
    }
    let peak = peak_memory_mb(clnrm(project, arguments).spawn()?)?;
    let peak = peak.map_or("too short".to_owned(), |peak| format!("{peak:.1} MB"));
    let median = milliseconds(median(times));
    println!("{what:<58} {median:>7.1} ms {peak:>10}");
    Ok(())
}

fn clnrm(project: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clnrm"));
    command
        .args(arguments)
        .current_dir(project)
        .env_remove("CLNRM_STATE_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn finish(mut child: Child) -> Outcome<()> {
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("clnrm ended with {status}").into())
}

/// The kernel's own high-water mark, as last read before the process ended; `None` = it ended before the first look.
fn peak_memory_mb(child: Child) -> Outcome<Option<f64>> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = None;
    // The line is there until the process is a zombie.
    while let Some(kib) = fs::read_to_string(&status)?
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))
    {
        peak_kib = Some(kib.trim().parse::<f64>()?);
    }
    finish(child)?;
    Ok(peak_kib.map(|kib| kib * 1_024.0 / 1e6))
}

/// Spawn to ready below clnrm against spawn to PONG without it, in turns.
fn redis() -> Outcome<()> {
    let project = tempfile::tempdir()?;
    fs::write(project.path().join("redis.clnrm.toml"), REDIS_TEST)?;
    let (mut alone, mut below_clnrm) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let Some(time) = redis_alone(project.path())? else {
            println!("redis-server is not installed: its start is not measured");
            return Ok(());
        };
        alone.push(time);
        below_clnrm.push(redis_below_clnrm(project.path())?);
    }
    for (what, times) in [("alone", alone), ("below clnrm", below_clnrm)] {
        let what = format!("redis {what}, spawn to ready");
        println!("{what:<58} {:>7.1} ms", milliseconds(median(times)));
    }
    Ok(())
}

fn redis_below_clnrm(project: &Path) -> Outcome<Duration> {
    let output = clnrm(project, &["run", "--stop", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let ready = report.pointer("/tests/0/services/0/ready_ms");
    let ready = ready.and_then(serde_json::Value::as_u64);
    Ok(Duration::from_millis(
        ready.ok_or("the report has no ready_ms")?,
    ))
}

fn redis_alone(dir: &Path) -> Outcome<Option<Duration>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    drop(listener);
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--dir"])
        .arg(dir)
        .stdout(Stdio::null());
    let started = Instant::now();
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        spawned => spawned?,
    };
    while !answers_ping(port) {
        if started.elapsed() > 10 * SECOND {
            child.kill()?;
            return Err("redis does not answer".into());
        }
        sleep(Duration::from_micros(200));
    }
    let time = started.elapsed();
    child.kill()?;
    child.wait()?;
    Ok(Some(time))
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

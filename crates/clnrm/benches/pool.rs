//! What a warm instance costs beside a cold one, on the real binary: `cargo bench -p clnrm --bench pool`.
//!
//! Prints a table and judges nothing, as its figures depend on the machine. The targets: a warm redis within 2 ms, reset
//! and verification included; at least 200 times faster than `docker run` until it answers; a test of three warm
//! services within 15 ms of its steps. Needs redis-server; the comparison needs `docker` and an image called
//! `clnrm-test/redis` (the end-to-end tests make it).

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock, and waits for another program without an async runtime"
)]

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;

const LEASES: usize = 100;
const RUNS: usize = 20;
const COLD_STARTS: usize = 10;

fn main() -> Outcome<()> {
    let warm = warm_leases()?;
    three_services()?;
    match cold_containers()? {
        Some(cold) => println!(
            "{:<58} {:>9.0} x",
            "the first is faster than the last by",
            cold / warm
        ),
        None => println!("docker or its image of redis is missing: nothing to compare with"),
    }
    Ok(())
}

fn service(name: &str) -> String {
    format!(
        "[services.{name}]\ncommand = [\"redis-server\", \"--bind\", \"127.0.0.1\", \"--port\", \"{{port}}\", \
         \"--dir\", \"{{data_dir}}\", \"--save\", \"\"]\nmetrics = \"redis\"\npool = {{ size = 1 }}\n"
    )
}

/// Leases of one warm redis after another, each reset and verified after the test before.
fn warm_leases() -> Outcome<f64> {
    let project = tempfile::tempdir()?;
    for number in 0..LEASES {
        let step = "[[steps]]\nname = \"write\"\ncommand = \"true\"\n";
        let file = format!(
            "[test]\nname = \"t{number:03}\"\n{}{step}",
            service("cache")
        );
        fs::write(
            project.path().join(format!("t{number:03}.clnrm.toml")),
            file,
        )?;
    }
    let report = run(project.path(), &["--keep", "-j", "1"])?;
    let used = tests(&report).filter_map(|test| test["services"].get(0));
    let reused: Vec<&Value> = used.filter(|used| used["origin"] == "reused").collect();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let lease = reused
        .iter()
        .map(|used| number(&used["lease_ms"]))
        .collect();
    let whole = reused
        .iter()
        .map(|used| number(&used["lease_ms"]) + number(&used["verified_ms"]));
    let whole = median(whole.collect());
    println!(
        "{:<58} {:>8.2} ms",
        format!("warm redis, lease alone ({} leases)", reused.len()),
        median(lease)
    );
    println!(
        "{:<58} {whole:>8.2} ms",
        "warm redis, lease with its reset and verification"
    );
    clnrm(project.path(), &["services", "stop", "--all"])?;
    Ok(whole)
}

/// What a test of three warm services takes beyond its steps.
fn three_services() -> Outcome<()> {
    let project = tempfile::tempdir()?;
    let services: String = ["one", "two", "three"].map(service).concat();
    let file = format!(
        "[test]\nname = \"three\"\n{services}[[steps]]\nname = \"nothing\"\ncommand = [\"true\"]\n"
    );
    fs::write(project.path().join("three.clnrm.toml"), file)?;
    run(project.path(), &["--keep"])?;
    let (mut beyond, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        let report = run(project.path(), &["--keep"])?;
        whole.push(begun.elapsed().as_secs_f64() * 1e3);
        for test in tests(&report) {
            let steps = test["steps"].as_array().into_iter().flatten();
            let steps: f64 = steps.filter_map(|step| step["duration_ms"].as_f64()).sum();
            beyond.push(test["duration_ms"].as_f64().unwrap_or(f64::NAN) - steps);
        }
    }
    println!(
        "{:<58} {:>8.2} ms",
        format!("three warm services, beyond the steps ({RUNS} runs)"),
        median(beyond)
    );
    println!(
        "{:<58} {:>8.2} ms",
        "three warm services, the whole command",
        median(whole)
    );
    clnrm(project.path(), &["services", "stop", "--all"])?;
    Ok(())
}

/// `docker run` until redis answers `PING`.
fn cold_containers() -> Outcome<Option<f64>> {
    let Ok(images) = docker(&["images", "-q", "clnrm-test/redis"]) else {
        return Ok(None);
    };
    let Some(image) = images.lines().next().map(str::to_owned) else {
        return Ok(None);
    };
    let mut took = Vec::new();
    for _ in 0..COLD_STARTS {
        let begun = Instant::now();
        let command = [
            "run",
            "-d",
            "-p",
            "127.0.0.1::6379",
            &image,
            "redis-server",
            "--protected-mode",
            "no",
            "--save",
            "",
        ];
        let id = docker(&command)?.trim().to_owned();
        let answered = until_it_answers(&id);
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        docker(&["rm", "-f", "-v", &id])?;
        answered?;
    }
    let took = median(took);
    println!(
        "{:<58} {took:>8.2} ms",
        format!("cold redis, `docker run` to PONG ({COLD_STARTS} times)")
    );
    Ok(Some(took))
}

fn until_it_answers(id: &str) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let address = docker(&["port", id, "6379/tcp"])?;
    let address = address.lines().next().unwrap_or_default().to_owned();
    while Instant::now() < deadline {
        if ping(&address).unwrap_or(false) {
            return Ok(());
        }
        sleep(Duration::from_millis(2));
    }
    Err(format!("redis at {address} never answered").into())
}

fn ping(address: &str) -> Outcome<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"+PONG\r\n")
}

fn docker(arguments: &[&str]) -> Outcome<String> {
    let output = Command::new("docker").args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn run(project: &Path, options: &[&str]) -> Outcome<Value> {
    let output = clnrm(project, &[&["run", "-f", "json"], options].concat())?;
    Ok(serde_json::from_str(&output)?)
}

fn tests(report: &Value) -> impl Iterator<Item = &Value> {
    report["tests"].as_array().into_iter().flatten()
}

fn clnrm(project: &Path, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_clnrm"))
        .args(arguments)
        .current_dir(project)
        .env("CLNRM_STATE_DIR", project.join(".clnrm"))
        .env_remove("CI")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stdout).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! What is reported is what the servers and the kernel counted themselves.

use std::fs;
use std::process::Command;
use std::time::Duration;

use clnrm_core::procfs::ProcessTable;
use serde_json::Value;
use tokio::time::Instant;

use crate::project::{TestProject, answer, installed};

/// Requests that redis-benchmark sends. On a busy machine only a shorter load is done within [`LONGEST_RATE`].
const REQUESTS: [f64; 3] = [100_000.0, 20_000.0, 4_000.0];
/// A rate goes on from a reading of another command that is no older than this.
const LONGEST_RATE: f64 = 5.0;

/// What the server itself has counted.
async fn redis_commands(port: &str) -> f64 {
    let mut info = Command::new("redis-cli");
    info.args(["-p", port, "info", "stats"]);
    let text = answer(info).await.expect(0).out;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.unwrap().trim().parse().unwrap()
}

/// What a sample that is taken now shows.
async fn sample(project: &TestProject) -> Value {
    project.manage(&[]).await["services"][0]["current"].clone()
}

#[tokio::test]
async fn the_request_rate_is_what_redis_counts() {
    if !["redis-server", "redis-cli", "redis-benchmark"]
        .map(installed)
        .iter()
        .all(|found| *found)
    {
        return;
    }
    let project = TestProject::of_services(
        r#"
[services.cache]
command = ["redis-server", "--bind", "127.0.0.1", "--port", "{port}", "--dir", "{data_dir}", "--save", ""]
ready = { tcp = true, timeout = "10s" }
metrics = "redis"
"#,
    );
    project.run(&["run", "--keep"]).await.expect(0);
    let address = project.running().await[0]["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let port = address.rsplit(':').next().unwrap();

    for requests in REQUESTS {
        let now = Instant::now;
        let (first_from, _, first_to) = (now(), sample(&project).await, now());
        let before = redis_commands(port).await;
        let mut load = Command::new("redis-benchmark");
        load.args(["-p", port, "-c", "10", "-t", "get", "-q"]);
        load.args(["-n", &requests.to_string()]);
        answer(load).await.expect(0);
        let counted = redis_commands(port).await - before;
        let (second_from, current, second_to) = (now(), sample(&project).await, now());
        let reported = current["request_rate"].as_f64().unwrap();

        // clnrm looked at some moment between ours, however busy the machine is.
        let least = (second_from - first_to).as_secs_f64();
        let most = (second_to - first_from).as_secs_f64();
        if most > LONGEST_RATE {
            continue;
        }
        for truth in [requests, counted] {
            let (low, high) = (0.95 * truth / most, 1.05 * truth / least);
            assert!(
                (low..high).contains(&reported),
                "{reported}/s reported, {truth} sent and counted in {least} to {most} s"
            );
        }
        project.stop_all().await;
        return;
    }
    panic!("no load was done within {LONGEST_RATE} s");
}

/// Processor time of a process and its descendants, in seconds, from `/proc`.
fn cpu_seconds(pid: i32) -> f64 {
    let table = ProcessTable::scan().unwrap();
    let tree = table.descendants(pid).into_iter().chain(table.get(pid));
    // Every Linux that clnrm runs on counts 100 ticks per second.
    tree.map(|process| process.cpu_ticks as f64 / 100.0).sum()
}

#[tokio::test]
async fn cpu_and_memory_are_what_the_kernel_counts() {
    let project = TestProject::of_services(
        "[services.busy]\ncommand = '''while :; do :; done'''\ncpus = 2.0\n",
    );
    project.run(&["run", "--keep"]).await.expect(0);
    let pid = project.running().await[0]["pid"].as_i64().unwrap();
    let pid = i32::try_from(pid).unwrap();
    let look = || (cpu_seconds(pid), Instant::now());
    let (first_from, _, first_to) = (look(), sample(&project).await, look());
    // The interval is what is measured; nothing waits for a condition here.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (second_from, current, second_to) = (look(), sample(&project).await, look());
    // clnrm looked at some moment between ours, so its rate lies between these, however busy the machine is.
    // 100 % is the allotment: two processors.
    let percent = |used: f64, (from, to): (Instant, Instant)| {
        used / to.duration_since(from).as_secs_f64() / 2.0 * 100.0
    };
    let least = percent(second_from.0 - first_to.0, (first_from.1, second_to.1));
    let most = percent(second_to.0 - first_from.0, (first_to.1, second_from.1));
    let reported = current["cpu_percent"].as_f64().unwrap();
    assert!(
        (least - 1.0..=most + 1.0).contains(&reported),
        "{reported} % reported, {least} to {most} % counted"
    );
    assert!(reported > 5.0, "{reported} %: it is busy");

    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    let (reported, counted) = (current["memory_mb"].as_f64().unwrap(), kib * 1024.0 / 1e6);
    assert!(
        (reported - counted).abs() < 1.0,
        "{reported} MB reported, {counted} MB counted"
    );
    project.stop_all().await;
}

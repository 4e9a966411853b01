//! CPU and memory of process trees.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use clnrm_core::config::definition::MetricsSpec;
use clnrm_core::procfs::{ProcessTable, resident_bytes};
use clnrm_core::services::service_manager::{Absent, Metric, Source};
use tokio::time::Instant;

use crate::server::{Tree, redis, server_metrics, wait_for};
use crate::{collector, read_one, sample};

/// User and system time of one process in seconds, read independently of clnrm (100 ticks per second).
fn cpu_seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: f64 = [fields[11], fields[12]]
        .map(|field| field.parse::<f64>().unwrap())
        .iter()
        .sum();
    ticks / 100.0
}

fn only_child(tree: &Tree) -> i32 {
    let table = ProcessTable::scan().unwrap();
    table.descendants(tree.root.pid).first().unwrap().pid
}

#[tokio::test]
async fn cpu_of_a_busy_process_is_within_five_points() {
    let tree = Tree::start("(while :; do :; done) & wait");
    let mut collector = collector();
    let target = tree.target(MetricsSpec::ProcessOnly);
    wait_for("the child runs", || async {
        let table = ProcessTable::scan().unwrap();
        !table.descendants(tree.root.pid).is_empty()
    })
    .await;
    let child = only_child(&tree);

    let (start, cpu_before) = (Instant::now(), cpu_seconds(child));
    let before = read_one(&mut collector, &target).await;
    wait_for("half a second of CPU is used", || async {
        cpu_seconds(child) - cpu_before > 0.5
    })
    .await;
    let after = read_one(&mut collector, &target).await;
    let expected = 100.0 * (cpu_seconds(child) - cpu_before) / start.elapsed().as_secs_f64();

    let (metrics, sources) = sample(&before, &after);
    let measured = metrics.cpu_percent.unwrap();
    assert!(
        (measured - expected).abs() < 5.0,
        "{measured} is not {expected}"
    );
    assert_eq!(sources.get(Metric::RequestRate), Err(Absent::NoSource));
}

#[tokio::test]
async fn cpu_of_children_that_have_ended_is_included() {
    // Workers of workers, all gone at the end; the shell's own count of them is the reference.
    let burn = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
    let tree = Tree::start(&format!(
        "for n in 1 2 3 4 5 6 7 8; do sh -c 'sh -c \"$0\"; sh -c \"$0\"' '{burn}'; done; times > times.new; \
         mv times.new times; read wait"
    ));
    let mut collector = collector();
    let target = tree.target(MetricsSpec::ProcessOnly);
    let times = tree.directory.path().join("times");
    let mut last = 0.0;
    wait_for("all workers have ended", || {
        let ended = times.exists();
        async move { ended }
    })
    .await;
    for _ in 0..3 {
        let usage = read_one(&mut collector, &target).await.usage;
        let cpu_seconds = usage.cpu_seconds.unwrap();
        assert!(cpu_seconds >= last);
        last = cpu_seconds;
    }
    // The second line: user and system time of all children, as `0m1.230000s 0m0.010000s`.
    let text = fs::read_to_string(&times).unwrap();
    let expected: f64 = text
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        })
        .sum();
    assert!(expected > 0.05, "the workers did work: {text}");
    assert!((last - expected).abs() <= 0.03, "{last} is not {expected}");
}

#[tokio::test]
async fn memory_is_what_ps_shows() {
    let Some(tree) = redis("").await else { return };
    let pid = only_child(&tree);
    let ps = Command::new("ps")
        .args(["-o", "rss=", "-p", &pid.to_string()])
        .output();
    let Ok(ps) = ps else {
        // Not by a macro: the test harness hides what those print in a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped: ps is not installed");
        return;
    };
    let kibibytes: f64 = String::from_utf8(ps.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let reading = read_one(&mut collector(), &tree.target(MetricsSpec::ProcessOnly)).await;
    let measured = reading.usage.memory_bytes.unwrap();
    let expected = kibibytes * 1_024.0;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let difference = (measured as f64 - expected).abs();
    assert!(difference < 0.05 * expected, "{measured} is not {expected}");
}

#[tokio::test]
async fn memory_that_processes_share_counts_once() {
    // A shell that holds 30 MB, and six forks of it that hold the same pages until the pipe is opened.
    let workers = "held=$(head -c 30000000 /dev/zero | tr '\\0' x); mkfifo pipe; for n in 1 2 3 4 5 6; do (read x < pipe) & done; \
                   touch ready; wait";
    let tree = Tree::start(&format!("sh -c \"{}\" & wait", workers.replace('$', "\\$")));
    let ready = tree.directory.path().join("ready");
    let all_run = || {
        let (is_ready, root) = (ready.exists(), tree.root.pid);
        async move { is_ready && ProcessTable::scan().unwrap().descendants(root).len() == 7 }
    };
    wait_for("all workers run", all_run).await;
    let reading = read_one(&mut collector(), &tree.target(MetricsSpec::ProcessOnly)).await;
    let measured = reading.usage.memory_bytes.unwrap();
    let resident = resident_bytes(only_child(&tree)).unwrap().unwrap();
    assert!(resident > 30_000_000, "{resident}");
    assert!(measured > resident * 9 / 10, "{measured} is not {resident}");
    assert!(measured < resident * 3 / 2, "{measured} is not {resident}");
    assert_eq!(reading.usage.memory_source, Source::SmapsRollup);
}

#[tokio::test]
async fn nothing_is_read_of_an_instance_that_has_ended() {
    let Some(tree) = redis("").await else { return };
    let target = tree.target(server_metrics("redis", []));
    let mut collector = collector();
    assert!(
        read_one(&mut collector, &target)
            .await
            .service
            .counters
            .is_ok()
    );
    drop(tree);
    let reading = read_one(&mut collector, &target).await;
    assert_eq!(reading.usage.cpu_seconds, Err(Absent::ProcessEnded));
    assert_eq!(reading.traffic.connections, Err(Absent::ProcessEnded));
    assert_eq!(reading.service.counters, Err(Absent::ProcessEnded));
}

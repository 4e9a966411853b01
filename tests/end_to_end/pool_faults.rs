//! Many commands on one pool, and commands that are killed while they use it. `CLNRM_TEST_POOL_TESTS` (tests per run)
//! and `CLNRM_TEST_POOL_KILLS` (commands killed) make these tests longer.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use clnrm_core::procfs::ProcessIdentity;
use clnrm_core::store::Store;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use crate::project::{Answer, Background, TestProject, answer, test_file};
use crate::support::{eventually, number};

const RUNS: usize = 16;

/// Its tests notice a second holder: a folder can be made once.
const POOL: &str = r#"
[services.files]
command = "exec sleep 86400"
pool = { size = 4, reset = "true", verify = "ls {data_dir}" }
"#;
const STEP: &str = "mkdir {files.data_dir}/held && rmdir {files.data_dir}/held";

fn project(tests: usize, step: &str) -> TestProject {
    let project = TestProject::empty();
    for number in 0..tests {
        let name = format!("t{number:02}");
        let file = test_file(&name, POOL, step);
        project.write(&format!("{name}.clnrm.toml"), &file);
    }
    project
}

/// Every instance that the history calls live runs, and nothing else of this project does.
async fn everything_is_accounted_for(project: &TestProject, context: &str) {
    let live = project.running().await;
    for instance in &live {
        let pid = instance["pid"].as_i64().unwrap();
        assert!(
            Path::new(&format!("/proc/{pid}")).exists(),
            "{context}: {instance:#}"
        );
    }
    let store = Store::open_existing(&project.state_dir()).unwrap().unwrap();
    // The guard puts things in order too, and may be about to stop what this command would have stopped.
    eventually(context, || {
        let live = store.live_instances().unwrap();
        let leases = store.open_leases().unwrap();
        let all_free = live.iter().all(|row| row.warm_until.is_some());
        match leases.is_empty() && all_free {
            true => Ok(()),
            false => Err(format!("{leases:#?} {live:#?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn sixteen_runs_share_a_pool_without_a_double_lease_or_a_leak() {
    let tests = number("CLNRM_TEST_POOL_TESTS", 4);
    let project = project(tests, STEP);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let command = project.command(&["run", "-f", "json", "--keep", "-j", "2"]);
        runs.push(tokio::spawn(answer_in(command, 60 * tests as u64)));
    }
    let mut reused = 0;
    for run in runs {
        let report = run.await.unwrap().expect(0).json();
        assert_eq!(report["summary"]["passed"], tests, "{report:#}");
        for test in report["tests"].as_array().unwrap() {
            reused += usize::from(test["services"][0]["origin"] == "reused");
        }
    }
    assert!(reused > 0, "the pool was of use");
    everything_is_accounted_for(&project, "after all runs").await;
    assert!(project.running().await.len() <= 4, "as many as its size");
    project.stop_all().await;
}

async fn answer_in(command: std::process::Command, seconds: u64) -> Answer {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(seconds), command.output());
    let output = output.await.expect("it ends in time").unwrap();
    Answer {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test]
async fn commands_killed_at_any_moment_lose_no_instance_of_a_pool() {
    let kills = number("CLNRM_TEST_POOL_KILLS", 12);
    let seed = 20_261_124;
    let mut random = StdRng::seed_from_u64(seed);
    let project = project(3, "sleep 0.05");
    let start = |arguments: &[&str]| Background(project.command(arguments).spawn().unwrap());
    let commands: [&[&str]; 3] = [
        &["run", "--keep", "-j", "2"],
        &["run", "--stop", "-j", "2"],
        &["services", "ai-manage", "--auto-scale"],
    ];
    for round in 0..kills {
        let victim = commands[round % commands.len()];
        let moment = Duration::from_millis(random.random_range(0..400));
        let context = format!("round {round} ({victim:?}, killed after {moment:?}, seed {seed})");
        let mut beside = start(&["run", "--keep"]);
        let mut killed = start(victim);
        // The moment is the point of this test; nothing waits for a condition here.
        tokio::time::sleep(moment).await;
        kill(&mut killed.0);
        if round % 4 == 3 {
            kill_guard(&project).await;
        }
        let ended = tokio::task::spawn_blocking(move || beside.0.wait());
        assert!(ended.await.unwrap().unwrap().success(), "{context}");
        everything_is_accounted_for(&project, &context).await;
    }
    project.stop_all().await;
    let status = answer(project.command(&["services", "stop", "--all"])).await;
    status.expect(0).says("Nothing was running.");
}

/// The guard, where there is one at this moment.
async fn kill_guard(project: &TestProject) {
    let record = std::fs::read(project.state_dir().join("guard.json")).unwrap_or_default();
    let guard: Option<ProcessIdentity> = serde_json::from_slice(&record).ok();
    if let Some(guard) = guard.filter(ProcessIdentity::is_alive) {
        let mut kill = std::process::Command::new("kill");
        kill.args(["-KILL", &guard.pid.to_string()]);
        // It may have left in this very moment.
        answer(kill).await;
    }
}

fn kill(child: &mut Child) {
    // It may have ended already.
    let _ = child.kill();
    child.wait().unwrap();
}

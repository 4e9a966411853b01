//! Whoever is killed or interrupted, and whenever: everything is accounted for afterwards, and nothing is lost.

use std::process::{Child, Command};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use clnrm_core::procfs::ProcessStat;

use crate::project::{Background, TestProject, WEB, answer, test_file};
use crate::support::eventually;

async fn send(signal: &str, pid: i64) {
    let mut kill = Command::new("kill");
    kill.args([signal, &pid.to_string()]);
    answer(kill).await.expect(0);
}

async fn exit_code(child: &mut Child) -> Option<i32> {
    let status = eventually("it ends", || {
        child
            .try_wait()
            .unwrap()
            .ok_or_else(|| "still running".to_owned())
    });
    status.await.code()
}

#[tokio::test]
async fn an_interrupted_run_ends_what_it_started() {
    for (signal, code, mode) in [("-INT", 130, "--keep"), ("-TERM", 143, "--stop")] {
        let step = "touch begun; setsid sleep 86400 & sleep 86400";
        let project = TestProject::with(&test_file("t", WEB, step));
        let mut run = Background(project.command(&["run", mode]).spawn().unwrap());
        eventually("the step begins", || {
            match project.path().join("begun").exists() {
                true => Ok(()),
                false => Err("not yet".to_owned()),
            }
        })
        .await;
        send(signal, run.0.id().into()).await;
        assert_eq!(exit_code(&mut run.0).await, Some(code), "{signal}");
        assert_eq!(project.processes(), [""; 0], "{signal}");
    }
}

#[tokio::test]
async fn a_run_killed_at_any_moment_leaves_nothing_unaccounted() {
    let seed = 20_261_123;
    let mut random = StdRng::seed_from_u64(seed);
    let worker = "\n[services.worker]\ncommand = '''setsid sleep 86400 & exec sleep 86400'''\n";
    let services = format!("{WEB}{worker}");
    let project = TestProject::with(&test_file("t", &services, "sleep 0.5"));
    let mut samples = 0;
    for round in 0..32 {
        // On a busy machine it takes more time until something is measured.
        let latest_ms = match round {
            16.. if samples > 0 => break,
            16.. => 5_000,
            _ => 900,
        };
        let mode = if round % 2 == 0 { "--keep" } else { "--stop" };
        let moment = Duration::from_millis(random.random_range(0..latest_ms));
        let context = format!("round {round} ({mode}, killed after {moment:?}, seed {seed})");
        let mut run = Background(project.command(&["run", mode]).spawn().unwrap());
        // The moment is the point of this test; nothing waits for a condition here.
        tokio::time::sleep(moment).await;
        run.0.kill().unwrap();
        run.0.wait().unwrap();

        let status = project.status().await;
        let live: Vec<i64> = status
            .iter()
            .filter(|one| one["state"] == "running")
            .map(|one| one["pid"].as_i64().unwrap())
            .collect();
        if live.is_empty() {
            assert_eq!(project.processes(), [""; 0], "{context}: {status:#?}");
        }
        if mode == "--stop" {
            // One that had ended before it could be killed stopped its services itself.
            assert_eq!(live, [0; 0], "{context}: {status:#?}");
        }
        for pid in live {
            assert!(
                std::path::Path::new(&format!("/proc/{pid}")).exists(),
                "{context}: {pid}"
            );
        }
        let now = project.samples().iter().map(|(_, count)| count).sum();
        assert!(now >= samples, "{context}: {now} of {samples} samples");
        samples = now;
        if round % 4 == 3 {
            let stop = project.run(&["services", "stop", "--all"]).await;
            assert_eq!(stop.code, Some(0), "{context}: {stop:#?}");
            assert_eq!(project.processes(), [""; 0], "{context}");
        }
    }
    assert!(samples > 0, "some runs get far enough to measure");
    project.run(&["run", "--stop"]).await.expect(0);
    project.stop_all().await;
}

#[tokio::test]
async fn what_a_killed_shim_leaves_is_ended_by_the_next_command() {
    let service =
        "[services.worker]\ncommand = '''setsid env -i sleep 86400 & exec sleep 86400'''\n";
    let project = TestProject::of_services(service);
    project.run(&["run", "--keep"]).await.expect(0);
    let worker = project.running().await[0].clone();
    let pid = i32::try_from(worker["pid"].as_i64().unwrap()).unwrap();
    let shim = ProcessStat::read(pid).unwrap().unwrap().parent;
    send("-KILL", shim.into()).await;
    eventually("only the orphans are left", || {
        match project.processes().len() {
            2 => Ok(()),
            other => Err(format!("{other} processes")),
        }
    })
    .await;

    let status = project
        .run(&["services", "status", "-f", "json"])
        .await
        .expect(0);
    let row = &status.json()["instances"][0];
    assert_eq!((&row["id"], &row["state"]), (&worker["id"], &"lost".into()));
    status.says("its supervisor was killed; ended sleep");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_service_that_was_killed_is_told() {
    let project = TestProject::of_services("[services.worker]\ncommand = [\"sleep\", \"86400\"]\n");
    project.run(&["run", "--keep"]).await.expect(0);
    send("-KILL", project.running().await[0]["pid"].as_i64().unwrap()).await;
    eventually("its shim has ended too", || {
        match project.processes().len() {
            0 => Ok(()),
            other => Err(format!("{other} processes")),
        }
    })
    .await;
    let status = project.status().await;
    assert_eq!(status[0]["state"], "failed", "{status:?}");
    assert!(
        status[0]["exit"].as_str().unwrap().contains("signal 9"),
        "{status:?}"
    );
}

#[tokio::test]
async fn eight_commands_at_once_share_one_project() {
    let project = TestProject::empty();
    let service = |n: usize| format!("[services.s{n}]\ncommand = [\"sleep\", \"86400\"]\n");
    for n in 0..4 {
        project.write(
            &format!("{n}.clnrm.toml"),
            &test_file(&format!("t{n}"), &service(n), "sleep 1.1"),
        );
    }
    let files: Vec<String> = (0..4).map(|n| format!("{n}.clnrm.toml")).collect();
    let mut commands: Vec<Vec<&str>> = files
        .iter()
        .map(|file| vec!["run", "--keep", file])
        .collect();
    commands.extend([
        vec!["services", "status"],
        vec!["services", "ai-manage", "--predict-load"],
        vec!["services", "ai-manage", "--auto-scale"],
        vec!["services", "status", "-f", "json"],
    ]);
    let mut running = tokio::task::JoinSet::new();
    for arguments in commands {
        running.spawn(answer(project.command(&arguments)));
    }
    for answer in running.join_all().await {
        assert!(!answer.err.contains("locked"), "{answer:#?}");
        answer.expect(0);
    }
    let mut names: Vec<String> = project
        .running()
        .await
        .iter()
        .map(|one| one["service"].to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["\"s0\"", "\"s1\"", "\"s2\"", "\"s3\""]);
    let samples = project.samples();
    assert!(
        samples.len() == 4 && samples.iter().all(|(_, count)| *count > 0),
        "{samples:?}"
    );
    project.stop_all().await;
}

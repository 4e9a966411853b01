//! A state folder that goes away under what it records: deleted (`git clean -fdx`, a checkout) or moved.

use std::fs;
use std::path::Path;

use clnrm_core::backend::Backend as _;
use clnrm_core::backend::docker::DockerBackend;

use crate::containers::Engine;
use crate::docker::{TestImage, container_service, docker};
use crate::project::{TestProject, WEB, answer, test_file};
use crate::support::eventually;

/// A kept service that is deaf to SIGTERM, and a warm one with its guard.
const SERVICES: &str = "
[services.deaf]
command = '''trap '' TERM; touch up; while :; do sleep 86400; done'''
ready = { command = [\"test\", \"-e\", \"up\"] }
stop = { grace = \"10m\" }
";

/// The guard leaves when it finds nothing to guard, which nobody waits for.
async fn nothing_is_left(project: &TestProject) {
    eventually("nothing is left", || match project.processes().as_slice() {
        [] => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
}

async fn kept() -> TestProject {
    let pool = "pool = { size = 1, reset = \"true\", verify = \"true\" }\n";
    let project = TestProject::of_services(&format!("{WEB}{pool}{SERVICES}"));
    project.run(&["run", "--keep"]).await.expect(0);
    let processes = project.processes();
    assert!(processes.len() >= 5, "two trees and a guard: {processes:?}");
    project
}

/// As `rm -r` does it: what is written meanwhile is deleted too.
async fn delete(folder: &Path) {
    eventually("it is deleted", || match fs::remove_dir_all(folder) {
        Err(error) if folder.exists() => Err(error.to_string()),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn what_runs_ends_by_itself_when_its_state_is_deleted() {
    let project = kept().await;
    delete(&project.state_dir()).await;
    nothing_is_left(&project).await;
    assert!(!project.state_dir().exists(), "and nobody made it anew");
}

#[tokio::test]
async fn the_next_command_ends_what_runs_of_a_deleted_state() {
    for command in [
        &["services", "stop", "--all"][..],
        &["services", "ai-manage"],
        &["run", "--stop", "other.toml"],
    ] {
        let project = kept().await;
        project.write("other.toml", &test_file("other", "", "true"));
        delete(&project.state_dir()).await;
        let told = project.run(command).await.expect(0);
        told.says("its folder had been deleted while it ran, and it was ended");
        eventually("its guard has left", || {
            match project.processes().as_slice() {
                [] => Ok(()),
                left => Err(format!("{left:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_next_command_ends_the_containers_of_a_deleted_state() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let service = container_service("s", TestImage::Nothing, "stop = { grace = '100ms' }");
    for command in [
        &["services", "stop", "--all"][..],
        &["services", "status"],
        &["run", "--stop", "other.toml"],
    ] {
        let project = TestProject::with(&test_file("t", &service, "test -n {s.host}"));
        project.write("other.toml", &test_file("other", "", "true"));
        project.run(&["run", "--keep"]).await.expect(0);
        let engine = Engine::of(&docker, &project);
        assert_eq!(engine.containers().len(), 1);
        delete(&project.state_dir()).await;
        // Somebody who has made a history meanwhile knows his own containers.
        let state_dir = project.path().canonicalize().unwrap().join(".clnrm");
        let containers = DockerBackend::new(&std::env::vars().collect(), &state_dir, None);
        assert_eq!(containers.end_forgotten(&|| false).await, Ok(Vec::new()));
        assert_eq!(engine.containers().len(), 1);
        let told = project.run(command).await.expect(0);
        told.says("its history was deleted, and it was removed");
        engine.assert_nothing_is_left();
    }
}

#[tokio::test]
async fn what_cannot_be_looked_for_is_no_error_and_not_passed_off_as_none() {
    let project = TestProject::empty();
    let stop = async |host: &Path| {
        let mut command = project.command(&["services", "stop", "--all"]);
        command.env("DOCKER_HOST", format!("unix://{}", host.display()));
        answer(command).await.expect(0)
    };
    let socket = project.path().join("engine.sock");
    let without_engine = stop(&socket).await;
    assert_eq!(without_engine.err, "");
    assert!(
        !without_engine.out.contains("could not be checked"),
        "{without_engine:#?}"
    );
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    stop(&socket).await.says("containers could not be checked");
}

#[tokio::test]
async fn a_run_whose_state_is_deleted_keeps_nothing_and_says_so() {
    let service = "[services.sleeper]\ncommand = [\"sleep\", \"86400\"]\n";
    let project = TestProject::with(&test_file("t", service, "rm -r .clnrm"));
    let told = project.run(&["run", "--keep"]).await.expect(2);
    told.says("was deleted while it was in use")
        .says("0 leaked");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_history_whose_instances_were_deleted_claims_nothing_untrue() {
    let project = kept().await;
    delete(&project.state_dir().join("instances")).await;
    let told = project.run(&["services", "stop", "--all"]).await.expect(0);
    told.says("its folder was deleted; ended").says("0 leaked");
    nothing_is_left(&project).await;
}

#[tokio::test]
async fn what_runs_is_found_where_its_state_was_moved_to() {
    let service = "[services.sleeper]\ncommand = [\"sleep\", \"86400\"]\n";
    let project = TestProject::of_services(service);
    project.run(&["run", "--keep"]).await.expect(0);
    let moved = project.path().join("moved");
    fs::rename(project.state_dir(), &moved).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env("CLNRM_STATE_DIR", &moved);
        answer(command)
    };
    let status = command(&["services", "status", "-f", "json"])
        .await
        .expect(0);
    assert_eq!(status.json()["instances"][0]["state"], "running");
    let stopped = command(&["services", "stop", "--all"]).await.expect(0);
    stopped.says("sleeper").says("0 leaked");
    assert_eq!(project.processes(), [""; 0]);
}

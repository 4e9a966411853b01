//! The way of a first user: init, run, look, restart, stop.

use std::fs;

use crate::project::{TestProject, WEB, answer, test_file};

#[tokio::test]
async fn from_init_to_a_clean_end() {
    let project = TestProject::empty();
    project
        .run(&["init"])
        .await
        .expect(0)
        .says("first.clnrm.toml");
    let run = project.run(&["run", "--keep"]).await.expect(0);
    run.says("1 passed").says("services stop --all");

    let kept = project.running().await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["service"], "web");
    assert!(kept[0]["pid"].as_i64().is_some_and(|pid| pid > 1));
    project
        .run(&["services", "logs", "web"])
        .await
        .expect(0)
        .says("listening on 127.0.0.1:");

    project.run(&["services", "restart", "web"]).await.expect(0);
    let fresh = project.running().await;
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    assert_ne!(fresh[0]["id"], kept[0]["id"]);
    assert_eq!(fresh[0]["address"], kept[0]["address"]);

    project.stop_all().await;
    assert!(project.running().await.is_empty());
}

#[tokio::test]
async fn a_subfolder_belongs_to_the_project_above_it() {
    let project = TestProject::of_services(WEB);
    let in_folder = |folder: &std::path::Path, arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env_remove("CLNRM_STATE_DIR").current_dir(folder);
        answer(command)
    };
    in_folder(project.path(), &["run", "--keep"])
        .await
        .expect(0);
    let below = project.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    let status = in_folder(&below, &["services", "status", "-f", "json"]).await;
    let instances = status.expect(0).json()["instances"].clone();
    assert_eq!(instances[0]["service"], "web", "{instances}");
    assert!(!below.join(".clnrm").exists());
    project.stop_all().await;
}

#[tokio::test]
async fn a_second_run_takes_the_place_of_the_first() {
    let project = TestProject::of_services(WEB);
    project.run(&["run", "--keep"]).await.expect(0);
    let first = project.running().await;
    project.run(&["run", "--keep"]).await.expect(0);
    let second = project.running().await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(
        first[0]["id"], second[0]["id"],
        "a test must not meet another's state"
    );
    project.stop_all().await;
}

#[tokio::test]
async fn a_failed_test_exits_with_1_and_leaves_nothing_under_stop() {
    let project = TestProject::with(&test_file("t", WEB, "echo something odd; exit 9"));
    let run = project.run(&["run", "--stop"]).await.expect(1);
    run.says("something odd").says("exit code");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn in_ci_services_are_stopped_and_their_history_stays() {
    let project = TestProject::of_services(WEB);
    let mut run = project.command(&["run"]);
    run.env("CI", "true");
    answer(run).await.expect(0).says("0 leaked");
    assert_eq!(project.processes(), [""; 0]);
    let report = project.manage(&["--predict-load"]).await;
    assert_eq!(report["services"][0]["name"], "web");
    assert_eq!(report["services"][0]["state"], "stopped");
    assert_eq!(report["services"][0]["instances"], 0);
    assert!(
        report["services"][0]["current"]["memory_mb"]
            .as_f64()
            .unwrap()
            > 1.0
    );
}

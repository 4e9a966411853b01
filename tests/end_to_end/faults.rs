//! What goes wrong with services, steps and files: it is named, it ends soon, and nothing is left.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use tokio::time::Instant;

use crate::project::{Answer, TestProject, WEB, answer, test_file};

/// A service that is a shell script.
fn script(script: &str, more: &str) -> String {
    format!("[services.odd]\ncommand = '''{script}'''\n{more}\n")
}

/// Runs a project whose service cannot be brought up, and checks that nothing of it is left.
async fn failing(services: &str) -> Answer {
    let project = TestProject::of_services(services);
    let answer = project.run(&["run", "--keep"]).await.expect(3);
    assert_eq!(project.processes(), [""; 0]);
    answer
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named_with_a_way_out() {
    let answer = failing("[services.odd]\ncommand = [\"no-such-program\", \"-x\"]\n").await;
    answer
        .says("no-such-program")
        .says("hint: install `no-such-program`");
}

#[tokio::test]
async fn a_service_that_dies_at_once_shows_its_last_words() {
    let begun = Instant::now();
    let services = script(
        "echo cannot find the widget >&2; exit 4",
        "ready = { log = \"never\", timeout = \"5m\" }",
    );
    let answer = failing(&services).await;
    answer
        .says("odd | cannot find the widget")
        .says("exit code 4");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "its timeout is not waited for"
    );
}

#[tokio::test]
async fn a_service_that_is_never_ready_is_given_up() {
    let services = script(
        "echo still thinking; exec sleep 86400",
        "ready = { log = \"never\", timeout = \"300ms\" }",
    );
    let answer = failing(&services).await;
    answer
        .says("not ready after 300ms")
        .says("odd | still thinking");
}

#[tokio::test]
async fn a_service_deaf_to_sigterm_is_killed_after_its_grace() {
    let services = script(
        "trap '' TERM; echo up; while :; do sleep 86400; done",
        "ready = { log = \"up\" }\nstop = { grace = \"200ms\" }",
    );
    let project = TestProject::of_services(&services);
    project.run(&["run", "--keep"]).await.expect(0);
    let stop = project
        .run(&["services", "stop", "--all", "-f", "json"])
        .await;
    let stopped = stop.expect(0).json()["stopped"][0].clone();
    assert_eq!(stopped["killed"], true, "{stopped}");
    assert!(
        (200..5_000).contains(&stopped["took_ms"].as_u64().unwrap()),
        "{stopped}"
    );
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_service_that_daemonizes_is_kept_and_stopped_whole() {
    let services = script(
        "(setsid sh -c 'sleep 86400 & exec sleep 86400' >/dev/null 2>&1 &) ; echo up",
        "ready = { log = \"up\" }",
    );
    let project = TestProject::of_services(&services);
    project.run(&["run", "--keep"]).await.expect(0);
    assert_eq!(project.running().await.len(), 1);
    assert!(project.processes().len() >= 3, "shim and two sleepers");
    project.stop_all().await;
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let services = format!("[services.odd]\ncommand = [\"sleep\", \"86400\"]\nports = {port}\n");
    let answer = failing(&services).await;
    let pid = std::process::id().to_string();
    answer
        .says(&format!("port {port} is taken by"))
        .says(&pid)
        .says("{port}");
}

#[tokio::test]
async fn a_test_whose_time_ends_before_its_services_are_ready_names_the_one_that_it_waited_for() {
    let ready = "ready = { log = \"never\", timeout = \"60s\" }";
    let services = script("echo up; exec sleep 86400", ready);
    let services = format!("timeout = \"500ms\"\n{services}");
    let project = TestProject::with(&test_file("t", &services, "true"));
    let answer = project.run(&["run", "--keep"]).await.expect(3);
    answer
        .says("was not ready when the test's time of 500ms was up")
        .says("it was not ready yet: no line of the log matches `never`")
        .says("covers the start of its services")
        .says("| up");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_service_that_dies_during_the_test_is_told() {
    let services = script(
        "echo up; while [ ! -e stop ]; do sleep 0.02; done; echo lost the widget; exit 5",
        "ready = { log = \"up\" }",
    );
    let step = "touch stop; while ! grep -q widget .clnrm/instances/*/output.log; do sleep 0.02; done; false";
    let project = TestProject::with(&test_file("t", &services, step));
    let answer = project.run(&["run", "--stop"]).await;
    assert!(matches!(answer.code, Some(1 | 3)), "{answer:#?}");
    answer.says("lost the widget");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_step_that_hangs_is_ended_at_its_timeout() {
    let file = test_file("t", WEB, "echo before; setsid sleep 86400; sleep 86400");
    let project = TestProject::with(&format!("{file}timeout = \"300ms\"\n"));
    let answer = project.run(&["run", "--stop"]).await.expect(1);
    answer.says("300ms").says("before");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_step_may_be_expected_to_end_by_a_signal() {
    let run = async |step: &str, expected: &str| {
        let file = test_file("t", "", step);
        let project = TestProject::with(&format!("{file}{expected}\n"));
        project.run(&["run", "--stop"]).await
    };
    let kills_itself = "kill -9 $$";
    let kills_another = "sleep 86400 & kill -9 $!; wait $!";
    for step in [kills_itself, kills_another] {
        run(step, "expected_signal = \"SIGKILL\"").await.expect(0);
        run(step, "expected_exit_code = 137").await.expect(0);
    }
    let other = run("kill -15 $$", "expected_signal = \"KILL\"").await;
    other
        .expect(1)
        .says("ended by signal 15 (SIGTERM), expected signal 9 (SIGKILL)");
}

#[tokio::test]
async fn a_step_that_prints_100_mb_is_no_burden() {
    let project = TestProject::with(&test_file("t", "", "head -c 100000000 /dev/zero; exit 1"));
    let answer = project.run(&["run", "--stop"]).await.expect(1);
    let printed = answer.out.len() + answer.err.len();
    assert!(printed < 2_000_000, "{printed} bytes reach the screen");
    assert!(
        !answer.out.contains('\0'),
        "control characters stay off the screen"
    );
}

#[tokio::test]
async fn mistakes_in_files_are_placed_and_explained() {
    let unknown = TestProject::with(&test_file("t", &script("true", "comand = \"x\""), "true"));
    let answer = unknown.run(&["run"]).await.expect(2);
    answer
        .says("t.clnrm.toml:5")
        .says("comand")
        .says("`command`");
    assert!(!unknown.state_dir().exists(), "nothing was begun");

    let malformed = TestProject::with("[test\nname = 1");
    malformed
        .run(&["run"])
        .await
        .expect(2)
        .says("t.clnrm.toml:1");

    for name in ["\"../up\"", "\"a b\"", "\"\"", "\"a;b\""] {
        let file = format!("[services.{name}]\ncommand = [\"true\"]\n");
        let project = TestProject::of_services(&file);
        project
            .run(&["validate"])
            .await
            .expect(2)
            .says("t.clnrm.toml:");
        project.run(&["run", "--stop"]).await.expect(2);
    }

    let both = TestProject::with("[test\n");
    both.write("u.clnrm.toml", "[services.x]\nimage = 3\n");
    let answer = both.run(&["run"]).await.expect(2);
    answer.says("t.clnrm.toml:1").says("u.clnrm.toml:2");
}

#[tokio::test]
async fn without_a_test_file_there_is_nothing_to_run() {
    let project = TestProject::empty();
    project.run(&["run"]).await.expect(4).says("clnrm init");
    project
        .run(&["validate"])
        .await
        .expect(4)
        .says("clnrm init");
    project
        .run(&["run", "absent.toml"])
        .await
        .expect(2)
        .says("absent.toml");
}

#[tokio::test]
async fn a_service_that_dies_during_the_test_is_not_among_those_that_stay_up() {
    let services = script("echo up; sleep 0.3; echo boom >&2; exit 7", "");
    let project = TestProject::with(&test_file("t", &services, "sleep 60"));
    let answer = project
        .run(&["run", "--keep", "--format", "json"])
        .await
        .expect(3);
    let report = answer.json();
    assert_eq!(report["kept"], serde_json::json!([]));
    assert_eq!(
        report["tests"][0]["service_failures"][0]["log_tail"][1],
        "boom"
    );
    assert_eq!(project.status().await[0]["state"], "failed");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn an_expected_text_may_name_a_port_of_a_service() {
    let file = test_file("t", WEB, "echo port {web.port} of {something.else}");
    let file =
        format!("{file}expected_output_contains = \"port {{web.port}} of {{something.else}}\"\n");
    TestProject::with(&file)
        .run(&["run", "--stop"])
        .await
        .expect(0);
}

#[tokio::test]
async fn a_path_with_a_space_loses_no_neighbour() {
    let project = TestProject::empty();
    for folder in ["my", "my project's"] {
        fs::create_dir(project.path().join(folder)).unwrap();
    }
    project.write("my/precious.txt", "precious");
    project.write(
        "my project's/t.clnrm.toml",
        r#"
        [services.files]
        command = "test -d {data_dir} && echo ready > \"{data_dir}/log\" && exec {clnrm} demo serve --port {port}"
        ready = { command = "test -s '{data_dir}'/log" }
        pool = { size = 1, reset = "rm -rf {data_dir}/*", verify = "ls {data_dir} | wc -l" }

        [[steps]]
        command = "echo x > {files.data_dir}/left && test -d {files.data_dir}"

        [[steps]]
        command = ["sh", "-c", "rm -rf {files.data_dir}/left*"]
        "#,
    );
    let folder = project.path().join("my project's");
    for keep in ["--keep", "--stop"] {
        let mut command = project.command(&["run", keep]);
        let state_dir = folder.join(".clnrm");
        command
            .env("CLNRM_STATE_DIR", state_dir)
            .current_dir(&folder);
        answer(command).await.expect(0);
    }
    assert!(project.path().join("my/precious.txt").exists());
}

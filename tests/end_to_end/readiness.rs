//! When a service counts as ready, and when something else only looks like it.

use std::net::TcpListener;

use crate::project::{TestProject, test_file};
use crate::support::content;

fn service(script: &str, more: &str) -> TestProject {
    let services = format!("[services.odd]\ncommand = '''{script}'''\n{more}\n");
    TestProject::with(&test_file("t", &services, "true"))
}

#[tokio::test]
async fn a_line_that_the_log_has_dropped_again_was_printed() {
    let script = "echo READY; head -c 300000 /dev/zero | tr '\\0' '\\n'; exec sleep 86400";
    let ready = "log_limit = \"64KB\"\nready = { log = \"READY\", timeout = \"20s\" }";
    let project = service(script, ready);
    project.run(&["run", "--stop"]).await.expect(0);
}

#[tokio::test]
async fn a_line_may_be_waited_for_more_than_once() {
    let script = "echo up; echo up; exec sleep 86400";
    let wait = |times: u32, timeout: &str| {
        format!(
            "ready = {{ log = {{ pattern = \"up\", times = {times} }}, timeout = \"{timeout}\" }}"
        )
    };
    let twice = service(script, &wait(2, "20s"));
    twice.run(&["run", "--stop"]).await.expect(0);
    let thrice = service(script, &wait(3, "300ms"));
    let answer = thrice.run(&["run", "--stop"]).await.expect(3);
    answer.says("2 of the 3 lines of the log that must match `up` were printed");
}

#[tokio::test]
async fn a_port_on_which_somebody_else_listens_is_not_ready_and_names_who() {
    for ready in ["tcp = true", "http = \"/\""] {
        let script = "echo {port} > port; exec sleep 86400";
        let project = service(
            script,
            &format!("ready = {{ {ready}, timeout = \"1500ms\" }}"),
        );
        let squatting = async {
            let port = content(project.path().join("port")).await;
            TcpListener::bind(format!("127.0.0.1:{}", port.trim())).unwrap()
        };
        let (answer, _squatter) = tokio::join!(project.run(&["run", "--stop"]), squatting);
        answer.expect(3).says(&format!(
            "(pid {}), which does not belong",
            std::process::id()
        ));
    }
}

#[tokio::test]
async fn a_child_that_listens_is_the_service_too() {
    let script = "{clnrm} demo serve --port {port} & wait";
    let project = service(script, "ready = { http = \"/healthz\", timeout = \"20s\" }");
    project.run(&["run", "--stop"]).await.expect(0);
}

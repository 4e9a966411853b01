//! Tests whose services fix a port of this machine.

use std::net::TcpListener;

use crate::project::{TestProject, test_file};

/// A port that is free now.
fn a_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn service(name: &str, port: u16) -> String {
    format!(
        "[services.{name}]\ncommand = [\"{{clnrm}}\", \"demo\", \"serve\", \"--port\", \"{port}\"]\nports = {port}\nready = {{ http = \"/healthz\", timeout = \"20s\" }}\n"
    )
}

fn project(port: u16) -> TestProject {
    let project = TestProject::empty();
    for name in ["first", "second"] {
        let file = test_file(name, &service(name, port), "true");
        project.write(&format!("{name}.clnrm.toml"), &file);
    }
    project
}

#[tokio::test]
async fn tests_that_need_one_port_run_one_after_the_other_and_the_last_may_keep_it() {
    let port = a_port();
    let project = project(port);
    let run = project.run(&["run", "-v", "--jobs", "4", "--stop"]).await;
    run.expect(0).says(&format!(
        "second: waits for port {port}, which first has before it"
    ));
    for jobs in ["4", "1"] {
        let kept = project.run(&["run", "--jobs", jobs, "--keep"]).await;
        kept.expect(0).says(&format!("second at 127.0.0.1:{port}"));
        let running = project.running().await;
        assert_eq!(running.len(), 1, "{running:?}");
    }
    // What an earlier run has kept is not this run's to stop.
    let other = project.run(&["run", "--stop", "first.clnrm.toml"]).await;
    let id = project.running().await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    other
        .expect(3)
        .says(&format!("port {port} is taken by {id}"))
        .says("clnrm services stop second");
    project.stop_all().await;
}

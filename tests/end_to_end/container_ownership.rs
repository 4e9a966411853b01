//! What clnrm reuses or ends in an engine is what it takes it for, and nobody else's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::containers::{Engine, step};
use crate::docker::{Container, Docker, TestImage, container_service, docker};
use crate::project::{TestProject, answer, test_file};
use crate::support::eventually;

/// A project's command where its folder is now.
fn command_in(project: &TestProject, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = project.command(arguments);
    command
        .current_dir(folder)
        .env("CLNRM_STATE_DIR", folder.join(".clnrm"));
    command
}

/// Its step runs here: there is no shell in the image.
fn project_with(service: &str) -> TestProject {
    TestProject::with(&test_file("t", service, "test -n {s.host}"))
}

/// A container that somebody else has: removed when this goes.
fn foreign(docker: &Docker, options: &[&str], image: &str) -> Container {
    let id = docker
        .run(&[&["run", "--detach"][..], options, &[image]].concat())
        .unwrap();
    Container { id }
}

fn is_there(docker: &Docker, container: &Container) -> bool {
    docker.run(&["inspect", &container.id]).is_ok()
}

#[tokio::test]
async fn a_renamed_folder_finds_its_container_and_nobody_else_s() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let project = TestProject::empty();
    let (old, new) = (project.path().join("old"), project.path().join("new"));
    fs::create_dir(&old).unwrap();
    let service = container_service("s", TestImage::Nothing, "stop = { grace = '100ms' }");
    fs::write(
        old.join("t.clnrm.toml"),
        test_file("t", &service, "test -n {s.host}"),
    )
    .unwrap();
    answer(command_in(&project, &old, &["run", "--keep"]))
        .await
        .expect(0);
    let engine = Engine::in_folder(&docker, &old);
    let id = engine.containers().remove(0);
    // An image that is made of a container hands its labels on.
    let tag = format!("clnrm-test/copy:{}", std::process::id());
    docker.run(&["commit", &id, &tag]).unwrap();
    let copy = foreign(&docker, &[], &tag);
    fs::rename(&old, &new).unwrap();
    answer(command_in(
        &project,
        &new,
        &["services", "status", "-f", "json"],
    ))
    .await
    .expect(0)
    .says(&id)
    .says("\"running\"");
    answer(command_in(&project, &new, &["services", "stop", "--all"]))
        .await
        .expect(0)
        .says("0 leaked");
    assert_eq!(engine.containers(), std::slice::from_ref(&copy.id));
    assert_eq!(engine.networks(), [""; 0]);
    drop(copy);
    docker.run(&["rmi", &tag]).unwrap();
}

/// Replaces a kept container by one of the same name, network and labels that has expired long ago.
fn make_it_old(docker: &Docker, id: &str, changed: &[(&str, &str)]) -> Container {
    let inspect = |template: &str| docker.run(&["inspect", "--format", template, id]).unwrap();
    let mut labels: BTreeMap<String, String> =
        serde_json::from_str(&inspect("{{json .Config.Labels}}")).unwrap();
    for (name, value) in [("clnrm.expires", "2020-01-01T00:00:00.000Z")]
        .iter()
        .chain(changed)
    {
        labels.insert((*name).to_owned(), (*value).to_owned());
    }
    let (name, image) = (inspect("{{.Name}}"), inspect("{{.Config.Image}}"));
    let network = inspect("{{.HostConfig.NetworkMode}}");
    docker.run(&["rm", "--force", id]).unwrap();
    let labels: Vec<String> = labels
        .iter()
        .flat_map(|(name, value)| ["--label".to_owned(), format!("{name}={value}")])
        .collect();
    let mut options: Vec<&str> = labels.iter().map(String::as_str).collect();
    let name = name.trim_start_matches('/');
    options.extend(["--name", name, "--network", &network]);
    foreign(docker, &options, &image)
}

#[tokio::test]
async fn only_what_is_known_to_be_of_a_deleted_project_is_removed() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let service = container_service("s", TestImage::Nothing, "stop = { grace = '100ms' }");
    let kept = async || {
        let project = project_with(&service);
        project.run(&["run", "--keep"]).await.expect(0);
        let engine = Engine::of(&docker, &project);
        let id = engine.containers().remove(0);
        (project, engine, id)
    };
    // Its project is there, and that of the second cannot be told: another user's home, or another file system.
    let (mine, _, id) = kept().await;
    let living = make_it_old(&docker, &id, &[]);
    let (hidden, hidden_engine, id) = kept().await;
    let home = "4711 0123456789ab 0:0";
    let hidden_one = make_it_old(&docker, &id, &[("clnrm.home", home)]);
    let (gone, gone_engine, id) = kept().await;
    let gone_one = make_it_old(&docker, &id, &[]);
    fs::remove_dir_all(gone.path()).unwrap();
    // Not deleted: a folder that is made meanwhile could get its number, and take what it left for its own.
    fs::rename(hidden.path(), mine.path().join("hidden")).unwrap();
    let other = project_with(&service);
    other.run(&["run", "--stop"]).await.expect(0);
    assert!(is_there(&docker, &living));
    assert!(is_there(&docker, &hidden_one));
    // Any command of this machine removes it, so another test may have been quicker, and not have done with it yet.
    assert!(!is_there(&docker, &gone_one));
    eventually("its network is removed", || {
        let left = gone_engine.networks();
        left.is_empty().then_some(()).ok_or_else(|| left.join(" "))
    })
    .await;
    gone_engine.assert_nothing_is_left();
    assert_eq!(hidden_engine.networks().len(), 1);
    // What its own project finds has its label and its name, and is not what it had started.
    mine.run(&["services", "status"])
        .await
        .expect(0)
        .says("its container was removed");
    drop((living, hidden_one));
    // Or another test's command removes it: nothing is on it any more.
    for network in hidden_engine.networks() {
        let _ = docker.run(&["network", "rm", &network]);
    }
}

#[tokio::test]
async fn a_warm_instance_of_an_older_image_is_replaced() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let template = docker.start(&[], TestImage::Busybox, &["sleep", "86400"]);
    let tag = format!("clnrm-test/rebuilt:{}", std::process::id());
    let build = |version: &str| {
        docker
            .run(&[
                "exec",
                &template.id,
                "sh",
                "-c",
                &format!("echo {version} > /version"),
            ])
            .unwrap();
        docker
            .run(&[
                "commit",
                "--change",
                "CMD [\"sleep\", \"86400\"]",
                &template.id,
                &tag,
            ])
            .unwrap();
    };
    let service = format!(
        "\n[services.app]\nimage = '{tag}'\nstop = {{ grace = '100ms' }}\n\
         pool = {{ size = 1, reset = ['true'], verify = ['true'] }}\n"
    );
    let works = step(
        "works",
        "service = 'app'\ncommand = ['cat', '/version']\nexpected_output_contains = 'good'",
    );
    let project = TestProject::with(&format!("[test]\nname = \"t\"\n{service}{works}"));
    build("good");
    project.run(&["run", "--keep"]).await.expect(0);
    let again = project.run(&["run", "--keep", "-v"]).await.expect(0);
    again.says("reused");
    build("broken");
    project
        .run(&["run", "--keep", "-v"])
        .await
        .expect(1)
        .says(&format!(
            "is of another build of the image `{tag}`, and is replaced"
        ));
    project.stop_all().await;
    drop(template);
    docker.run(&["rmi", "--force", &tag]).unwrap();
}

/// An engine that has nothing, and is no other's.
async fn empty_engine() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(client.read_u8().await?);
                }
                let request = String::from_utf8_lossy(&request);
                let (status, body) = match request.split_whitespace().nth(1).unwrap_or_default() {
                    "/_ping" => ("200 OK", "OK"),
                    path if path.starts_with("/networks/none") => {
                        ("200 OK", r#"{"Id":"another","Driver":"null"}"#)
                    }
                    path if path.contains("/json?") || path.starts_with("/networks?") => {
                        ("200 OK", "[]")
                    }
                    _ => ("404 Not Found", r#"{"message":"no such thing"}"#),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                client.write_all(answer.as_bytes()).await
            });
        }
    });
    address
}

#[tokio::test]
async fn another_engine_does_not_prove_that_a_container_is_gone() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let service = container_service("s", TestImage::Nothing, "stop = { grace = '100ms' }");
    let project = project_with(&service);
    project.run(&["run", "--keep"]).await.expect(0);
    let other = empty_engine().await;
    let elsewhere = async |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env("DOCKER_HOST", &other);
        answer(command).await
    };
    elsewhere(&["services", "status"])
        .await
        .expect(0)
        .says("is on another container engine, at unix:///var/run/docker.sock")
        .says("running");
    let stopped = elsewhere(&["services", "stop", "--all"]).await;
    assert_ne!(stopped.code, Some(0), "{stopped:#?}");
    assert!(!stopped.out.contains("0 leaked"), "{stopped:#?}");
    stopped.says("set DOCKER_HOST=unix:///var/run/docker.sock");
    assert_eq!(Engine::of(&docker, &project).containers().len(), 1);
    project.stop_all().await;
    Engine::of(&docker, &project).assert_nothing_is_left();
}

#[tokio::test]
async fn what_a_step_leaves_inside_a_container_ends_with_it() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let service = container_service(
        "app",
        TestImage::Busybox,
        "command = ['sleep', '86400']\nstop = { grace = '100ms' }\n\
         pool = { size = 1, reset = ['true'], verify = ['true'] }",
    );
    let parts = [
        "[test]\nname = \"t\"\n".to_owned(),
        service,
        step(
            "leaves processes, one of them in a session of its own",
            "service = 'app'\ncommand = 'sleep 4711 >/dev/null 2>&1 & setsid sleep 4712 >/dev/null 2>&1 & \
             until ps | grep -q \"[s]leep 4712\"; do :; done'",
        ),
        step(
            "is alone",
            "service = 'app'\ncommand = 'ps'\nexpected_output_regex_not = 'sleep 471'",
        ),
    ];
    let project = TestProject::with(&parts.concat());
    project.run(&["run", "--keep"]).await.expect(0);
    let again = project.run(&["run", "--keep", "-v"]).await.expect(0);
    again.says("reused");
    let id = Engine::of(&docker, &project).containers().remove(0);
    let processes = docker.run(&["exec", &id, "ps"]).unwrap();
    assert!(processes.contains("sleep 86400"), "{processes}");
    assert!(!processes.contains("sleep 471"), "{processes}");
    project.stop_all().await;
}

const HTTP: &str =
    "command = ['httpd', '-f', '-p', '80']\nports = [80]\nstop = { grace = '100ms' }";

#[tokio::test]
async fn a_container_that_somebody_restarts_or_stops_is_an_error_that_says_so() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    for (deed, what) in [
        (
            "restart -t 0",
            "its container was restarted while the test ran",
        ),
        ("stop -t 0", "it was stopped while the test ran"),
        ("rm -f", "its container was removed while the test ran"),
    ] {
        let project = TestProject::empty();
        let state_dir = project.path().canonicalize().unwrap().join(".clnrm");
        let label = format!("label=clnrm.state-dir={}", state_dir.display());
        let parts = [
            "[test]\nname = \"t\"\n".to_owned(),
            container_service("web", TestImage::Busybox, HTTP),
            step(
                "somebody comes",
                &format!(
                    "command = 'docker {deed} $(docker ps -q --filter {label}); nc -z {{web.host}} {{web.port}}'"
                ),
            ),
            step("goes on", "command = 'wget -q -O - {web.addr}/'"),
        ];
        fs::write(project.path().join("t.clnrm.toml"), parts.concat()).unwrap();
        let run = project.run(&["run", "--stop"]).await.expect(3);
        run.says(what);
        Engine::of(&docker, &project).assert_nothing_is_left();
    }
}

#[tokio::test]
async fn a_container_that_was_restarted_is_found_at_its_new_port() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let project = project_with(&container_service("s", TestImage::Busybox, HTTP));
    project.run(&["run", "--keep"]).await.expect(0);
    let before = project.running().await;
    let id = before[0]["container_id"].as_str().unwrap();
    docker.run(&["restart", "-t", "0", id]).unwrap();
    let port = docker.run(&["port", id, "80/tcp"]).unwrap();
    let process = docker
        .run(&["inspect", "--format", "{{.State.Pid}}", id])
        .unwrap();
    project
        .run(&["services", "status"])
        .await
        .expect(0)
        .says("its container was restarted");
    let after = project.running().await;
    assert_eq!(after[0]["container_id"].as_str(), Some(id));
    assert_eq!(after[0]["address"].as_str(), port.lines().next());
    assert_eq!(after[0]["pid"].to_string(), process);
    let network = Engine::of(&docker, &project).networks().remove(0);
    let apart = ["network", "disconnect", &network, id];
    docker.run(&apart).unwrap();
    project
        .run(&["services", "status"])
        .await
        .expect(0)
        .says("disconnected");
    project.stop_all().await;
    Engine::of(&docker, &project).assert_nothing_is_left();
}

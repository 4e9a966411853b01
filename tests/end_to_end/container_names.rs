//! Containers of a file find each other by name, through the engine, whatever else runs.

use crate::containers::{Engine, busybox, step};
use crate::docker::{TestImage, docker};
use crate::project::{TestProject, installed};
use crate::support::eventually;

/// A file whose `db` says whose it is, and whose `api` does not wait for it.
fn file(number: usize) -> String {
    let serve = |text: &str| {
        format!(
            "command = ['sh', '-c', 'echo {text} > /tmp/index.html; exec httpd -f -p 80 -h /tmp']\n\
             ports = [80]\nstop = {{ grace = '100ms' }}"
        )
    };
    let ask = |service: &str, name: &str, expected: &str| {
        step(
            &format!("{service} asks {name}"),
            &format!(
                "service = '{service}'\ncommand = ['wget', '-qO-', 'http://{name}/']\n\
                 expected_output_contains = '{expected}'"
            ),
        )
    };
    [
        format!("[test]\nname = \"t{number}\"\n"),
        busybox("api", &serve(&format!("api of {number}"))),
        busybox("db", &serve(&format!("db of {number}"))),
        ask("api", "db", &format!("db of {number}")),
        ask("api", "api", &format!("api of {number}")),
        ask("db", "api", &format!("api of {number}")),
    ]
    .concat()
}

#[tokio::test]
async fn a_container_reaches_a_process_that_lets_it() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    if !installed("redis-server") {
        return;
    }
    let cache = |bind: &str| {
        format!(
            "[services.cache]\ncommand = ['redis-server', '--port', '{{port}}', '--bind', '{bind}', '--save', '', \
             '--protected-mode', 'no']\n"
        )
    };
    let app = "command = ['sleep', '86400']\ndepends_on = ['cache']\nenv = { CACHE = '{cache.addr}' }\n\
               stop = { grace = '100ms' }";
    let ask = "service = 'app'\ncommand = \"printf 'PING\\r\\nQUIT\\r\\n' | nc {cache.host} {cache.port}; echo $CACHE\"\n\
               expected_output_regex = '(?s)PONG.*cache:[0-9]+'";
    let project = |bind: &str| {
        TestProject::with(&[cache(bind), busybox("app", app), step("ask", ask)].concat())
    };
    let closed = project("{host}").run(&["run", "--stop"]).await.expect(3);
    closed
        .says("of service `cache`, does so on 127.0.0.1 only")
        .says("let `cache` listen on 0.0.0.0");
    let open = project("0.0.0.0");
    open.run(&["run", "--keep"]).await.expect(0);
    // An instance that is started in its place has the same names.
    open.run(&["services", "restart", "app"]).await.expect(0);
    let id = open
        .running()
        .await
        .into_iter()
        .find(|one| one["service"] == "app");
    let id = id.unwrap()["container_id"].as_str().unwrap().to_owned();
    let hosts = docker.run(&["exec", &id, "cat", "/etc/hosts"]).unwrap();
    assert!(hosts.contains("cache"), "{hosts}");
    open.stop_all().await;
}

#[tokio::test]
async fn the_names_of_a_file_are_those_of_its_own_services() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let project = TestProject::empty();
    project.write("1.clnrm.toml", &file(1));
    project.write("2.clnrm.toml", &file(2));
    project.run(&["run", "--keep", "-j", "2"]).await.expect(0);
    let engine = Engine::of(&docker, &project);
    let range = docker
        .run(&[
            "network",
            "inspect",
            "--format",
            "{{range .IPAM.Config}}{{.Subnet}}{{end}}",
            &engine.networks()[0],
        ])
        .unwrap();
    assert!(range.ends_with("/24"), "{range}");
    let hosts = |id: &str| docker.run(&["exec", id, "cat", "/etc/hosts"]).unwrap();
    // As a word: a container's own name there is the beginning of its id, which may well hold a "db".
    let names_db = |id: &String| hosts(id).split_whitespace().any(|name| name == "db");
    assert!(!engine.containers().iter().any(names_db));

    // Another address, the same name.
    let running = project.running().await;
    let ids = |service: &str, field: &str| -> Vec<String> {
        let instances = running.iter().filter(|one| one["service"] == service);
        instances
            .map(|one| one[field].as_str().unwrap().to_owned())
            .collect()
    };
    let answers = |id: &str| docker.run(&["exec", id, "wget", "-qO-", "http://db/"]);
    let apis = ids("api", "container_id");
    let before: Vec<String> = apis.iter().map(|id| answers(id).unwrap()).collect();
    for id in ids("db", "id") {
        project.run(&["services", "restart", &id]).await.expect(0);
    }
    for (id, before) in apis.iter().zip(before) {
        eventually("the neighbour answers again", || match answers(id) {
            Ok(answer) if answer == before => Ok(()),
            other => Err(format!("{other:?} instead of {before}")),
        })
        .await;
    }
    project.stop_all().await;
    engine.assert_nothing_is_left();
}

//! Services that are containers, on a real engine: what works for processes works for them. `CLNRM_TEST_CONTAINER_KILLS`
//! (runs killed) makes the test of kills longer.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use serde_json::Value;

use crate::docker::{Docker, TestImage, container_service, docker, redis_service};
use crate::project::{Background, TestProject, test_file};
use crate::support::{eventually, number};

/// What the engine itself knows of a project, asked through another client.
pub(crate) struct Engine<'a> {
    docker: &'a Docker,
    label: String,
}

impl<'a> Engine<'a> {
    pub(crate) fn of(docker: &'a Docker, project: &TestProject) -> Self {
        Self::in_folder(docker, project.path())
    }

    pub(crate) fn in_folder(docker: &'a Docker, folder: &Path) -> Self {
        let state_dir = folder.canonicalize().unwrap().join(".clnrm");
        Self {
            docker,
            label: format!("label=clnrm.state-dir={}", state_dir.display()),
        }
    }

    fn list(&self, arguments: &[&str]) -> Vec<String> {
        let all = [arguments, &["--no-trunc", "--filter", &self.label]].concat();
        let text = self.docker.run(&all).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn containers(&self) -> Vec<String> {
        self.list(&["ps", "--all", "--quiet"])
    }

    pub(crate) fn networks(&self) -> Vec<String> {
        self.list(&["network", "ls", "--quiet"])
    }

    #[track_caller]
    pub(crate) fn assert_nothing_is_left(&self) {
        assert_eq!(self.containers(), [""; 0]);
        assert_eq!(self.networks(), [""; 0]);
    }
}

pub(crate) fn busybox(name: &str, lines: &str) -> String {
    container_service(name, TestImage::Busybox, lines)
}

pub(crate) fn step(name: &str, lines: &str) -> String {
    format!("\n[[steps]]\nname = \"{name}\"\n{lines}\n")
}

#[tokio::test]
async fn a_container_is_run_measured_and_ended_like_a_process() {
    let Some(docker) = docker(&[TestImage::Redis, TestImage::Busybox]) else {
        return;
    };
    let foreign = docker.start(&[], TestImage::Nothing, &[]);
    let app = "command = ['sh', '-c', 'echo cache is at {cache.addr}; exec sleep 86400']\n\
               depends_on = ['cache']\nready = { log = 'cache is at' }";
    let project = TestProject::with(
        &[
            "[test]\nname = \"t\"\n".to_owned(),
            redis_service("cache", "cpus = 0.5\nmemory = \"64MB\"\nenv = { COLOUR = 'blue' }"),
            busybox("app", app),
            step("from here", "command = ['bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/{cache.port}']"),
            step(
                "inside",
                "service = 'cache'\ncommand = ['redis-cli', '-p', '{cache.port}', 'echo', 'inside']\n\
                 expected_output_contains = 'inside'",
            ),
            step(
                "a neighbour by its name in the file",
                "service = 'app'\n\
                 command = ['sh', '-c', 'echo PING | timeout 5 nc cache 6379 | head -1']\n\
                 expected_output_contains = '+PONG'",
            ),
        ]
        .concat(),
    );
    let engine = Engine::of(&docker, &project);
    project.run(&["run", "-v", "--keep"]).await.expect(0);

    let running = project.running().await;
    let ids: BTreeSet<String> = running
        .iter()
        .map(|one| one["container_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, BTreeSet::from_iter(engine.containers()));
    assert!(running.iter().all(|one| one["runtime"] == "container"));
    let cache = running
        .iter()
        .find(|one| one["service"] == "cache")
        .unwrap();
    assert!(cache["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let id = cache["container_id"].as_str().unwrap();
    let limits = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}";
    let limits = docker.run(&["inspect", "--format", limits, id]).unwrap();
    assert_eq!(limits, "500000000 64000000 64000000");

    let report = project.manage(&["-s", "cache"]).await;
    let cache = &report["services"][0];
    assert_eq!(cache["sources"]["cpu_percent"], "cgroup", "{cache:#}");
    assert_eq!(cache["sources"]["request_rate"], "redis", "{cache:#}");
    assert!(
        cache["current"]["memory_mb"].as_f64().unwrap() > 0.5,
        "{cache:#}"
    );

    let logs = project.run(&["services", "logs", "app"]).await.expect(0);
    assert!(logs.out.contains("cache is at cache-in-"), "{logs:#?}");
    project
        .run(&["services", "stop", "--all"])
        .await
        .expect(0)
        .says("0 leaked (2 containers checked)");
    engine.assert_nothing_is_left();
    let logs = project.run(&["services", "logs", "cache"]).await.expect(0);
    assert!(
        logs.out.contains("Ready to accept connections"),
        "{logs:#?}"
    );
    assert_eq!(docker.inspect(&foreign, "{{.State.Running}}"), "true");
}

#[tokio::test]
async fn the_steps_of_an_older_file_run_inside_its_only_container() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let steps = [
        "command = ['sh', '-c', 'ls /bin/busybox && exit 3']\nexpected_exit_code = 3",
        "command = 'echo $((6 * 7)) $PLACE'\nexpected_output_regex = '42 inside'\nenv = { PLACE = 'inside' }",
        "command = ['pwd']\nworkdir = '/tmp'\nexpected_output_contains = '/tmp'",
        "command = ['no-such-program']\ncontinue_on_failure = true",
    ];
    let steps = steps
        .iter()
        .enumerate()
        .map(|(n, lines)| step(&format!("s{n}"), lines));
    let service = busybox("shell", "type = 'generic_container'\nplugin = 'alpine'");
    let file = format!(
        "[test.metadata]\nname = \"old\"\n{service}{}",
        steps.collect::<String>()
    );
    let project = TestProject::with(&file);
    let answer = project
        .run(&["run", "--stop", "-f", "json"])
        .await
        .expect(1);
    let report = answer.json();
    let steps = report["tests"][0]["steps"].as_array().unwrap();
    let statuses: Vec<&str> = steps
        .iter()
        .map(|step| step["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["passed", "passed", "passed", "failed"],
        "{report:#}"
    );
    assert_eq!(
        steps[3]["reason"],
        "the command `no-such-program` does not exist inside the container of `shell`, where this step runs"
    );
    Engine::of(&docker, &project).assert_nothing_is_left();
}

#[tokio::test]
async fn containers_are_scaled_up_and_down() {
    let Some(docker) = docker(&[TestImage::Redis]) else {
        return;
    };
    let scale =
        |min, max| redis_service("cache", &format!("scale = {{ min = {min}, max = {max} }}"));
    let file = |min| test_file("t", &scale(min, 3), "test -n {cache.port}");
    let project = TestProject::with(&file(1));
    let engine = Engine::of(&docker, &project);
    project.run(&["run", "--keep"]).await.expect(0);
    assert_eq!(engine.containers().len(), 1);
    // The file asks for more now: the same service, seen by its file.
    project.write("t.clnrm.toml", &file(2));
    project.run(&["run", "--keep"]).await.expect(0);
    let up = project.manage(&["--auto-scale"]).await;
    let scaling = &up["services"][0]["scaling"];
    assert_eq!(
        (&scaling["action"], &scaling["performed"], &scaling["to"]),
        (&"scale_up".into(), &true.into(), &2.into()),
        "{scaling:#}"
    );
    assert_eq!(engine.containers().len(), 2);
    let addresses: BTreeSet<String> = project
        .running()
        .await
        .iter()
        .map(|one| one["address"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(addresses.len(), 2);
    project.stop_all().await;
    engine.assert_nothing_is_left();
}

/// What a run says of a service that cannot become ready.
async fn failure(service: &str) -> (String, Value) {
    let project = TestProject::of_services(service);
    let answer = project
        .run(&["run", "--stop", "-f", "json"])
        .await
        .expect(3);
    let report = answer.json();
    let failure = report["tests"][0]["service_failures"][0].clone();
    (
        failure["message"].as_str().unwrap_or_default().to_owned(),
        failure,
    )
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let images = [TestImage::Busybox, TestImage::Nothing, TestImage::Redis];
    let Some(docker) = docker(&images) else {
        return;
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let cases = [
        (
            busybox(
                "doomed",
                "command = ['sh', '-c', 'echo sorry; exit 3']\nready = { log = 'never' }",
            ),
            "its process ended with exit code 3 before it was ready".to_owned(),
        ),
        (
            container_service(
                "doomed",
                TestImage::Nothing,
                "command = ['no-such-program']",
            ),
            "the command `no-such-program` cannot be executed in the image".to_owned(),
        ),
        (
            "\n[services.doomed]\nimage = 'localhost:1/absent:1'\n".to_owned(),
            "the image `localhost:1/absent:1` is not there and cannot be pulled".to_owned(),
        ),
        (
            busybox("doomed", &format!("ports = ['{port}:80']")),
            format!("port {port} is taken"),
        ),
        (
            busybox(
                "doomed",
                "memory = '8MB'\ncommand = ['tail', '/dev/zero']\nready = { log = 'never' }",
            ),
            "out of memory".to_owned(),
        ),
        (
            busybox(
                "doomed",
                "ports = [80]\nready = { tcp = true, timeout = '1s' }",
            ),
            "not ready after 1s: nothing listens on port 80 inside".to_owned(),
        ),
        (
            container_service(
                "doomed",
                TestImage::Redis,
                "command = ['redis-server', '--bind', '::']\nports = 6379\nready = { timeout = '2s' }",
            ),
            "does so on IPv6 only, and must on 0.0.0.0".to_owned(),
        ),
    ];
    for (service, words) in &cases {
        let (message, failure) = failure(service).await;
        assert!(
            message.contains(words.as_str()),
            "{words:?} is missing in {failure:#}"
        );
        if words.contains("exit code 3") {
            assert_eq!(failure["log_tail"][0], "sorry", "{failure:#}");
        }
    }
    let left = docker.run(&[
        "ps",
        "--all",
        "--quiet",
        "--filter",
        "label=clnrm.service=doomed",
    ]);
    assert_eq!(left.unwrap(), "");
}

#[tokio::test]
async fn a_container_whose_own_health_check_fails_is_not_ready() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let template = docker.start(&[], TestImage::Busybox, &["sleep", "86400"]);
    let check = r#"HEALTHCHECK --interval=100ms --retries=2 CMD echo the disk is full; false"#;
    let tag = format!("clnrm-test/unhealthy:{}", std::process::id());
    docker
        .run(&["commit", "--change", check, &template.id, &tag])
        .unwrap();
    let (message, failure) = failure(&format!("\n[services.ill]\nimage = '{tag}'\n")).await;
    docker.run(&["rmi", "--force", &tag]).unwrap();
    assert_eq!(
        message, "its health check failed: the disk is full",
        "{failure:#}"
    );
}

#[tokio::test]
async fn a_container_that_ends_under_its_own_step_is_what_failed() {
    let Some(_docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let service = |main: &str, lines: &str| {
        busybox(
            "shell",
            &format!("command = ['sh', '-c', '{main}']\n{lines}"),
        )
    };
    let long = "command = ['sleep', '30']";
    let run = async |service: String, lines: &str| {
        let file = format!("[test]\nname = \"t\"\n{service}{}", step("x", lines));
        TestProject::with(&file).run(&["run", "--stop"]).await
    };
    let died = run(service("sleep 0.5; echo sorry; exit 7", ""), long).await;
    died.expect(3)
        .says("ended with exit code 7 while the test ran")
        .says("sorry");
    let published = service("exit 9", "ports = [80]");
    run(published, long)
        .await
        .expect(3)
        .says("exit code 9 before it was ready");
}

#[tokio::test]
async fn reading_the_log_does_not_disturb_who_waits_for_a_line() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let main = "command = ['sh', '-c', 'echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo now ready; sleep 99']";
    let service = busybox(
        "slow",
        &format!("{main}\nready = {{ log = 'now ready', timeout = '30s' }}"),
    );
    let project = TestProject::with(&test_file("t", &service, "true"));
    let engine = Engine::of(&docker, &project);
    let mut run = Background(project.command(&["run", "--stop"]).spawn().unwrap());
    eventually("the first line is there", || {
        let logs = project
            .command(&["services", "logs", "slow"])
            .output()
            .unwrap();
        match String::from_utf8_lossy(&logs.stdout).contains("first") {
            true => Ok(()),
            false => Err(format!("{logs:?} {:?}", run.0.try_wait())),
        }
    })
    .await;
    docker
        .run(&["exec", &engine.containers()[0], "touch", "/tmp/go"])
        .unwrap();
    let status = eventually("the run ends", || {
        run.0
            .try_wait()
            .unwrap()
            .ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.await.code(), Some(0));
}

#[tokio::test]
async fn an_interrupt_at_any_moment_leaves_nothing() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let seed = 20_261_124;
    let mut random = StdRng::seed_from_u64(seed);
    let service = container_service("s", TestImage::Nothing, "stop = { grace = '100ms' }");
    for round in 0..6 {
        let project = TestProject::with(&test_file("t", &service, "sleep 5; test -n {s.host}"));
        let engine = Engine::of(&docker, &project);
        let moment = Duration::from_millis(random.random_range(20..500));
        let mut run = Background(project.command(&["run", "--stop"]).spawn().unwrap());
        // The moment is the point of this test; nothing waits for a condition here.
        tokio::time::sleep(moment).await;
        let pid = rustix::process::Pid::from_child(&run.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        eventually("the run ends", || {
            run.0
                .try_wait()
                .unwrap()
                .ok_or_else(|| "it runs".to_owned())
        })
        .await;
        let context = format!("round {round}, interrupted after {moment:?}, seed {seed}");
        let mut said = String::new();
        run.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        run.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(engine.containers(), [""; 0], "{context}: {said}");
        assert_eq!(engine.networks(), [""; 0], "{context}");
    }
}

#[tokio::test]
async fn a_step_that_hangs_inside_is_ended_inside() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let service = busybox("shell", "command = ['sleep', '86400']");
    let hang = step(
        "hang",
        "timeout = '300ms'\ncommand = ['sh', '-c', 'sleep 4242; true']",
    );
    let project = TestProject::with(&format!("[test]\nname = \"t\"\n{service}{hang}"));
    let answer = project.run(&["run", "--keep"]).await.expect(1);
    answer.says("still running after 300ms");
    let engine = Engine::of(&docker, &project);
    let id = engine.containers().remove(0);
    eventually("what hung is gone", || {
        match docker.run(&["top", &id]).unwrap().contains("sleep 4242") {
            true => Err("it still runs".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    project.stop_all().await;
}

#[tokio::test]
async fn without_an_engine_a_run_says_where_it_looked() {
    let project = TestProject::of_services("\n[services.s]\nimage = 'redis:7'\n");
    let mut command = project.command(&["run", "--stop"]);
    command.env("DOCKER_HOST", "unix:///nowhere/engine.sock");
    let answer = crate::project::answer(command).await.expect(3);
    answer.says("no container engine answers: there is no /nowhere/engine.sock (DOCKER_HOST)");
    project.write("config.json", r#"{"currentContext": "gone"}"#);
    let mut command = project.command(&["run", "--stop"]);
    command.env_remove("DOCKER_HOST");
    command.env("DOCKER_CONFIG", project.path());
    let answer = crate::project::answer(command).await.expect(3);
    answer
        .says("the Docker context `gone` of /")
        .says("docker context ls");
}

/// Passes a socket on to the engine, until it is dropped.
struct Relay {
    host: String,
    _folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut engine =
                        tokio::net::UnixStream::connect("/var/run/docker.sock").await?;
                    tokio::io::copy_bidirectional(&mut client, &mut engine).await
                });
            }
        });
        Self {
            host: format!("unix://{}", path.display()),
            _folder: folder,
            task,
        }
    }
}

#[tokio::test]
async fn an_engine_that_goes_away_ends_the_test_and_loses_nothing() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let service = container_service("s", TestImage::Nothing, "");
    let project = TestProject::with(&test_file("t", &service, "touch {s.host}; sleep 60"));
    let engine = Engine::of(&docker, &project);
    let relay = Relay::start();
    let mut command = project.command(&["run", "--stop"]);
    command.env("DOCKER_HOST", &relay.host);
    let mut run = Background(command.spawn().unwrap());
    let begun = project.path().join("127.0.0.1");
    eventually("the step begins", || match begun.exists() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    })
    .await;
    relay.task.abort();
    // The engine may be restarting, so a run waits ten seconds for it.
    let ended = async {
        loop {
            if let Some(status) = run.0.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(50), ended)
        .await
        .unwrap();
    assert_ne!(status.code(), Some(0));
    assert_eq!(engine.containers().len(), 1, "nobody could end it");
    assert_eq!(project.running().await, [Value::Null; 0]);
    engine.assert_nothing_is_left();
}

#[tokio::test]
async fn a_run_killed_at_any_moment_leaves_no_container_unaccounted() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let seed = 20_261_123;
    let mut random = StdRng::seed_from_u64(seed);
    let service = container_service("s", TestImage::Nothing, "stop = { grace = '100ms' }");
    let project = TestProject::with(&test_file("t", &service, "touch {s.host}; sleep 0.2"));
    let engine = Engine::of(&docker, &project);
    for round in 0..number("CLNRM_TEST_CONTAINER_KILLS", 8) {
        let mode = if round % 2 == 0 { "--keep" } else { "--stop" };
        let moment = Duration::from_millis(random.random_range(0..900));
        let context = format!("round {round} ({mode}, killed after {moment:?}, seed {seed})");
        let kept: BTreeSet<String> = engine.containers().into_iter().collect();
        let mut run = Background(project.command(&["run", mode]).spawn().unwrap());
        // The moment is the point of this test; nothing waits for a condition here.
        tokio::time::sleep(moment).await;
        run.0.kill().unwrap();
        run.0.wait().unwrap();
        // A request that was under way when clnrm died is carried out by the engine nevertheless.
        eventually("every container is accounted for", || {
            let status = project
                .command(&["services", "status", "-f", "json"])
                .output()
                .unwrap();
            let status: Value = serde_json::from_slice(&status.stdout).unwrap();
            let known: BTreeSet<String> = status["instances"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["state"] == "running")
                .map(|one| one["container_id"].as_str().unwrap().to_owned())
                .collect();
            let real = BTreeSet::from_iter(engine.containers());
            // One that is killed before it has begun has not taken the place of what was kept.
            if mode == "--stop" && !known.is_subset(&kept) {
                return Err(format!("{context}: {known:?} should have been stopped"));
            }
            (known == real)
                .then_some(())
                .ok_or(format!("{context}: {known:?}, really {real:?}"))
        })
        .await;
    }
    project.stop_all().await;
    engine.assert_nothing_is_left();
}

//! Reads the fixture files: older shapes that must keep working, and mistakes with the text that they must give.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load_test;
use crate::config::ConfigError;
use crate::config::definition::{
    CommandLine, Launch, ReadyCheck, StepAction, StepDefinition, TestDefinition,
};

pub(super) fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().unwrap() == "toml")
        .collect();
    files.sort();
    files
}

fn legacy(name: &str) -> TestDefinition {
    let file = fixtures("legacy")
        .into_iter()
        .find(|path| path.file_stem().unwrap() == name);
    load_test(&file.unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

fn command(step: &StepDefinition) -> &CommandLine {
    match &step.action {
        StepAction::Command(step) => &step.command,
        StepAction::Http(_) => panic!("{} is an HTTP step", step.name),
    }
}

#[test]
fn every_older_shape_is_read() {
    let files = fixtures("legacy");
    assert!(files.len() >= 12);
    let errors = files.iter().filter_map(|file| load_test(file).err());
    let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

/// The text of each error is in `NAME.expected` beside the file. `CLNRM_UPDATE_EXPECTED=1` writes it anew.
#[test]
fn every_mistake_is_reported_as_expected() {
    let update = std::env::var_os("CLNRM_UPDATE_EXPECTED").is_some();
    let mut different = Vec::new();
    for file in fixtures("bad") {
        let error = load_test(&file).expect_err(&file.display().to_string());
        assert!(matches!(error, ConfigError::Invalid { .. }), "{error}");
        let folder = format!("{}/", file.parent().unwrap().display());
        let text = format!("{}\n", error.to_string().replace(&folder, ""));
        let expected = file.with_extension("expected");
        if update {
            fs::write(&expected, &text).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_ref() != Some(&text) {
            different.push(text);
        }
    }
    assert!(
        different.is_empty(),
        "these differ:\n{}",
        different.join("\n")
    );
}

#[test]
fn the_thresholds_of_a_container_lie_below_its_limit() {
    let thresholds = |lines: &str| {
        let test = load(&format!("[test]\nname = \"t\"\n[services.s]\n{lines}"));
        let scale = test.unwrap_or_else(|error| panic!("{error}")).services[0]
            .scale
            .clone();
        (scale.memory_up_mb, scale.memory_down_mb)
    };
    let limited = "image = \"a\"\nmemory = \"100MB\"\n";
    assert_eq!(thresholds(limited), (80.0, 20.0));
    let stated = format!("{limited}scale = {{ memory_up = \"90MB\" }}");
    assert_eq!(thresholds(&stated), (90.0, 20.0));
    assert_eq!(
        thresholds("image = \"a\"\nmemory = \"1GB\""),
        (512.0, 128.0)
    );
    // What a process is allotted limits nothing.
    assert_eq!(
        thresholds("command = [\"a\"]\nmemory = \"100MB\""),
        (512.0, 128.0)
    );
}

#[test]
fn compose_shapes_mean_what_they_say() {
    let test = legacy("v2_compose");
    assert_eq!(test.timeout, Some(Duration::from_secs(300)));
    let [model, site] = test.services.as_slice() else {
        panic!("{:?}", test.services);
    };
    let Launch::Container(container) = &model.launch else {
        panic!("{:?}", model.launch);
    };
    let port = container.ports[0];
    assert_eq!((port.host, port.container), (Some(11434), 11434));
    let read_only: Vec<bool> = container
        .volumes
        .iter()
        .map(|volume| volume.read_only)
        .collect();
    assert_eq!(read_only, [false, true, true]);
    assert_eq!(container.volumes[1].host, model.base_dir.join("../legacy"));
    assert_eq!(
        (model.scale.min_instances, model.scale.max_instances),
        (1, 1),
        "a fixed port"
    );
    let ready = ReadyCheck::Command(CommandLine::Exec(vec!["ollama".into(), "list".into()]));
    assert_eq!(model.ready.checks, [ready]);
    assert_eq!(model.ready.timeout, Duration::from_secs(5 * 10 + 5));
    assert_eq!(model.ready.max_interval, Duration::from_secs(10));
    assert_eq!(site.env["PORT"], "3000");
    assert_eq!(site.env["DEBUG"], "false");
    assert_eq!(site.depends_on, ["model"]);
    assert_eq!(site.ready.checks, [ReadyCheck::Tcp]);
    assert_eq!(test.steps[0].retry.max_attempts, 11);
    assert_eq!(test.steps[0].timeout, Duration::from_secs(120));
    assert_eq!(test.steps[1].retry.max_attempts, 1);
}

#[test]
fn health_checks_of_docker_lose_their_prefix() {
    let test = legacy("v2_docker_health_checks");
    let checks: Vec<_> = test
        .services
        .iter()
        .flat_map(|service| &service.ready.checks)
        .collect();
    let exec = ReadyCheck::Command(CommandLine::Exec(vec!["pg_isready".into(), "-q".into()]));
    let shell = ReadyCheck::Command(CommandLine::Shell("test -e /ready".into()));
    assert_eq!(checks, [&exec, &shell]);
}

#[test]
fn environments_may_be_lists() {
    let test = legacy("v2_health_check_string");
    let env: Vec<_> = test.services[0].env.iter().collect();
    let pairs = [("EMPTY", ""), ("TZ", "UTC"), ("URL", "http://x/?a=b")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(
        env,
        pairs
            .iter()
            .map(|(name, value)| (name, value))
            .collect::<Vec<_>>()
    );
    let StepAction::Command(step) = &test.steps[0].action else {
        panic!("{:?}", test.steps[0]);
    };
    assert_eq!(step.service.as_deref(), Some("web"));
    assert_eq!(step.working_dir, Some(PathBuf::from("/etc/nginx")));
}

#[test]
fn retries_may_be_a_table() {
    let test = legacy("v2_retry_table");
    let retry = test.steps[0].retry;
    assert_eq!(
        (retry.max_attempts, retry.delay),
        (5, Duration::from_secs(2))
    );
    let retry = test.steps[1].retry;
    assert_eq!(
        (retry.max_attempts, retry.delay),
        (4, Duration::from_secs(1))
    );
    assert!(test.steps[1].continue_on_failure);
}

#[test]
fn scenarios_become_steps_with_names_of_their_own() {
    let test = legacy("v4_scenarios");
    assert_eq!(test.name, "generated");
    assert_eq!(test.steps[1].name, "check");
    assert_eq!(test.steps[1].depends_on, ["setup"]);

    let test = legacy("v4_scenarios_that_share_names");
    let names: Vec<&str> = test.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["one/setup", "check", "two/setup", "only here"]);
    assert_eq!(test.steps[1].depends_on, ["one/setup"]);
    assert_eq!(test.steps[3].depends_on, ["two/setup"]);
    assert_eq!(
        command(&test.steps[2]),
        &CommandLine::Shell("echo 2".into())
    );
}

#[test]
fn assertions_that_can_be_measured_are_kept() {
    let assertions = legacy("v1_measurable_assertions").assertions;
    assert_eq!(assertions.min_commands_executed, Some(2));
    assert!(assertions.hermetic);
}

fn load(text: &str) -> Result<TestDefinition, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("case.clnrm.toml");
    fs::write(&file, text).unwrap();
    let place = format!("{}/", folder.path().display());
    load_test(&file).map_err(|error| error.to_string().replace(&place, ""))
}

/// The example of the product's own description.
#[test]
fn the_canonical_shape_is_read_with_its_defaults() {
    let test = load(
        r#"
        [test]
        name = "api"
        [services.db]
        command = ["db", "--port={port}", "--admin={port.admin}"]
        scale = { max = 3 }
        [services.db.pool]
        size = 3
        reset = ["db", "--reset", "{port}"]
        verify = ["db", "--show", "{port}"]
        ttl = "5m"
        [services.cache]
        command = ["redis-server", "--port", "{port}", "--dir", "{data_dir}", "--peer", "{db.addr}"]
        ready = { tcp = true, log = "Ready", http = "http://{addr}/", timeout = "10s" }
        metrics = "redis"
        cpus = 2
        memory = "256MB"
        depends_on = ["db"]
        stop = { signal = "SIGINT", grace = "1s" }
        [services.cache.scale]
        max = 3
        memory_up = "300MB"
        [[steps]]
        command = "redis-cli -p {port} ping; echo {db.port.admin}"
        service = "cache"
        [[steps]]
        name = "health"
        http = { url = "http://{db.addr}/", json = { id = 1 }, body_regex = "ok" }
        "#,
    );
    let test = test.unwrap_or_else(|error| panic!("{error}"));
    let [db, cache] = test.services.as_slice() else {
        panic!("{:?}", test.services);
    };
    assert_eq!(db.ready.checks, [ReadyCheck::Tcp], "it has a port");
    assert_eq!(cache.ready.checks.len(), 3);
    assert_eq!(cache.memory_bytes, Some(256_000_000));
    assert_eq!(cache.scale.memory_up_mb, 300.0);
    assert_eq!((cache.scale.max_instances, cache.pool.size), (3, 0));
    assert_eq!((db.pool.size, db.pool.ttl.as_secs()), (3, 300));
    assert!(db.pool.reset.is_some() && db.pool.verify.is_some());
    assert_eq!(test.steps[0].name, "step 1");
    assert_eq!(
        command(&test.steps[0]),
        &CommandLine::Shell("redis-cli -p {cache.port} ping; echo {db.port.admin}".into())
    );
    let StepAction::Http(http) = &test.steps[1].action else {
        panic!("{:?}", test.steps[1]);
    };
    assert_eq!(http.body.as_deref(), Some(r#"{"id":1}"#));
    assert_eq!(http.headers["content-type"], "application/json");
}

#[test]
fn readiness_follows_from_the_ports() {
    let checks = |service: &str| {
        let test = load(&format!("[services.web]\n{service}\n"));
        test.map(|test| test.services[0].ready.checks.clone())
    };
    assert_eq!(checks(r#"command = ["web"]"#), Ok(vec![]));
    assert_eq!(
        checks("command = [\"web\"]\nports = 80"),
        Ok(vec![ReadyCheck::Tcp])
    );
    assert_eq!(
        checks("command = [\"web\"]\nenv = { P = \"{port}\" }"),
        Ok(vec![ReadyCheck::Tcp])
    );
    assert_eq!(
        checks("command = [\"web\"]\nenv = { P = \"{web.addr}\" }"),
        Ok(vec![ReadyCheck::Tcp])
    );
    assert_eq!(
        checks("command = [\"web\"]\nports = 80\nready = { tcp = false }"),
        Ok(vec![])
    );
    assert_eq!(
        checks("command = [\"web\", \"{port.admin}\"]"),
        Ok(vec![]),
        "no main port"
    );
    let needs_port = checks("command = [\"web\"]\nready = { tcp = true }").unwrap_err();
    assert!(
        needs_port.contains("3:11: services.web.ready.tcp: this asks"),
        "{needs_port}"
    );
}

#[test]
fn a_bare_placeholder_in_a_step_means_the_only_service() {
    let step = "[[steps]]\nname = \"s\"\ncommand = [\"curl\", \"{addr}\"]\n";
    let one = "[services.web]\ncommand = [\"web\", \"{port}\"]\n";
    let test = load(&format!("{one}{step}")).unwrap();
    let curl = CommandLine::Exec(vec!["curl".into(), "{web.addr}".into()]);
    assert_eq!(command(&test.steps[0]), &curl);
    let error = load(step).unwrap_err();
    assert!(
        error.contains("which service is meant; the file has no services"),
        "{error}"
    );
}

#[test]
fn a_bare_placeholder_in_an_expected_text_means_the_same_as_in_the_command() {
    let expected = |line: &str| {
        let step = format!("[[steps]]\nname = \"s\"\n{line}\n");
        let test = load(&format!(
            "[services.web]\ncommand = [\"web\", \"{{port}}\"]\n{step}"
        ))
        .unwrap();
        match &test.steps[0].action {
            StepAction::Command(step) => step.output.contains.clone(),
            StepAction::Http(step) => step.body_expectations.contains.clone(),
        }
    };
    let of_command = |text: &str| {
        expected(&format!(
            "command = \"true\"\nexpected_output_contains = '{text}'"
        ))
    };
    assert_eq!(of_command("on {port}").unwrap(), "on {web.port}");
    assert_eq!(of_command("{port.admin}").unwrap(), "{port.admin}");
    let of_body = "http = { url = \"http://{addr}/\", body_contains = '{\"at\": \"{addr}\"}' }";
    assert_eq!(expected(of_body).unwrap(), "{\"at\": \"{web.addr}\"}");
}

#[test]
fn steps_run_inside_the_only_container_unless_they_ask_for_its_address() {
    let service_of = |service: &str, line: &str| {
        let step = format!("[[steps]]\nname = \"s\"\n{line}\n");
        let test = load(&format!("[services.web]\n{service}\n{step}")).unwrap();
        match &test.steps[0].action {
            StepAction::Command(step) => step.service.clone(),
            StepAction::Http(_) => panic!("an HTTP step"),
        }
    };
    let container = "image = \"nginx:1.27\"\nports = [80]";
    let inside = Some("web".to_owned());
    assert_eq!(service_of(container, "command = \"nginx -t\""), inside);
    assert_eq!(service_of(container, "command = \"curl {addr}\""), None);
    assert_eq!(service_of(container, "command = \"curl {web.addr}\""), None);
    assert_eq!(
        service_of(container, "service = \"web\"\ncommand = \"curl {addr}\""),
        inside
    );
    assert_eq!(
        service_of("command = [\"web\"]", "command = \"true\""),
        None
    );
}

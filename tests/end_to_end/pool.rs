//! Warm instances: reused only when proved clean, never handed out twice, never lost.

use serde_json::Value;

use crate::docker::{TestImage, container_service, docker, redis_service};
use crate::project::{TestProject, installed};

/// A service whose state is the files of its data directory.
fn files(pool: &str) -> String {
    format!("[services.files]\ncommand = \"exec sleep 86400\"\npool = {pool}\n")
}

const HONEST: &str = "{ size = 1, reset = \"rm -f {data_dir}/*\", verify = \"ls {data_dir}\" }";
const BLIND: &str = "{ size = 1, reset = \"true\", verify = \"true\" }";

/// A test that fails where it finds a file, and leaves one.
fn dirty(name: &str, services: &str) -> String {
    let step = "test -z \"$(ls {files.data_dir})\" && touch {files.data_dir}/left";
    crate::project::test_file(name, services, step)
}

/// A project with so many tests of one service, which run one after the other.
fn project(tests: usize, services: &str) -> TestProject {
    let project = TestProject::empty();
    for number in 1..=tests {
        project.write(
            &format!("t{number}.clnrm.toml"),
            &dirty(&format!("t{number}"), services),
        );
    }
    project
}

async fn run(project: &TestProject, code: i32, options: &[&str]) -> Value {
    let arguments = [&["run", "-f", "json", "-j", "1"], options].concat();
    project.run(&arguments).await.expect(code).json()
}

fn used(report: &Value, test: usize) -> &Value {
    &report["tests"][test]["services"][0]
}

#[tokio::test]
async fn an_instance_is_reused_once_it_is_proved_clean() {
    let project = project(2, &files(HONEST));
    let first = run(&project, 0, &["--keep"]).await;
    assert_eq!(used(&first, 0)["origin"], "fresh");
    assert_eq!(used(&first, 1)["origin"], "reused", "{first:#}");
    assert_eq!(used(&first, 1)["afterwards"]["outcome"], "pooled");
    assert!(first["kept"][0]["warm_until"].is_string(), "{first:#}");

    // Another command finds it warm, and it is the same one.
    let second = run(&project, 0, &["--keep"]).await;
    assert_eq!(
        (&used(&second, 0)["origin"], &used(&second, 0)["warm"]),
        (&Value::from("reused"), &Value::from(true))
    );
    let id = |report, test| used(report, test)["instance_id"].clone();
    assert_eq!(id(&first, 0), id(&second, 0));
    assert!(used(&second, 0)["verified_ms"].as_f64().unwrap() > 0.0);

    // An edited definition never gets it.
    let edited = files(HONEST).replace("86400", "86401");
    project.write("t1.clnrm.toml", &dirty("t1", &edited));
    project.write("t2.clnrm.toml", &dirty("t2", &edited));
    let third = run(&project, 0, &["--keep"]).await;
    assert_eq!(used(&third, 0)["origin"], "fresh");
    assert_ne!(id(&first, 0), id(&third, 0));
    assert_eq!(project.running().await.len(), 1, "the old one is stopped");

    // What is told to stop leaves nothing, whoever started it.
    let last = run(&project, 0, &["--stop"]).await;
    assert_eq!(used(&last, 0)["origin"], "reused");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_test_that_only_a_used_instance_fails_is_contaminated() {
    let project = project(2, &files(BLIND));
    let report = run(&project, 1, &["--stop"]).await;
    assert_eq!(report["tests"][0]["status"], "passed");
    let second = &report["tests"][1];
    assert_eq!(second["status"], "contaminated", "{report:#}");
    assert_eq!(second["suspects"][0]["test"], "t1");
    assert_eq!(report["summary"]["contaminated"], 1);
    assert_eq!(used(&report, 1)["afterwards"]["outcome"], "quarantined");
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn counting_keys_proves_nothing_beside_an_own_reset() {
    if !installed("redis-server") {
        return;
    }
    let service = "[services.files]\ncommand = ['redis-server', '--port', '{port}', '--dir', '{data_dir}', '--save', '']\n\
                   metrics = 'redis'\npool = { size = 1, reset = 'true' }\n\
                   ready = { command = ['redis-cli', '-p', '{port}', 'set', 'seed', '1'] }\n";
    let project = TestProject::of_services(service);
    let report = run(&project, 0, &["--stop"]).await;
    let afterwards = &used(&report, 0)["afterwards"];
    assert_eq!(afterwards["outcome"], "quarantined", "{report:#}");
    let reason = afterwards["reason"].as_str().unwrap();
    assert!(reason.contains("give its pool a `verify`"), "{reason}");
}

/// The guard as `services status` names it.
async fn guard(project: &TestProject) -> Option<i64> {
    let answer = project.run(&["services", "status", "-f", "json"]).await;
    answer.expect(0).json()["guard"]["pid"].as_i64()
}

async fn guard_comes(project: &TestProject) -> i64 {
    for _ in 0..100 {
        if let Some(pid) = guard(project).await {
            return pid;
        }
    }
    panic!("no guard comes: {:#?}", project.processes());
}

#[tokio::test]
async fn one_guard_stands_and_the_next_command_replaces_a_killed_one() {
    let project = project(1, &files(HONEST));
    run(&project, 0, &["--keep"]).await;
    guard_comes(&project).await;
    let again = || run(&project, 0, &["--keep"]);
    // One that looks while the only warm instance is leased has nothing to guard and leaves: who gives it back starts
    // another, and only one of them does.
    tokio::join!(again(), again(), again());
    let guards = || {
        let processes = project.processes();
        let guards = processes.iter().filter(|line| line.contains("__guard"));
        guards.count()
    };
    crate::support::eventually("the others have left", || match guards() {
        1 => Ok(()),
        count => Err(format!("{count} guards")),
    })
    .await;
    let first = guard_comes(&project).await;

    let mut kill = std::process::Command::new("kill");
    kill.args(["-KILL", &first.to_string()]);
    crate::project::answer(kill).await.expect(0);
    let warm = project.running().await;
    assert_eq!(warm.len(), 1, "the guard holds nothing");
    assert_ne!(guard_comes(&project).await, first);
    // With the last warm instance the guard goes too.
    project.stop_all().await;
}

const REDIS: &str = r#"
[services.cache]
command = ["redis-server", "--port", "{port}", "--dir", "{data_dir}", "--save", ""]
metrics = "redis"
pool = { size = 1 }
"#;

#[tokio::test]
async fn redis_is_reset_and_verified_without_a_word_in_the_file() {
    if !installed("redis-server") || !installed("redis-cli") {
        return;
    }
    let cli = "redis-cli -p {cache.port}";
    let project = TestProject::empty();
    let tidy = format!("{cli} --no-raw dbsize | grep -q '^(integer) 0$' && {cli} -n 3 set k v");
    project.write(
        "a.clnrm.toml",
        &crate::project::test_file("a", REDIS, &tidy),
    );
    project.write(
        "b.clnrm.toml",
        &crate::project::test_file("b", REDIS, &tidy),
    );
    // What FLUSHALL does not undo.
    let setting = format!("{cli} config set maxmemory 100mb");
    project.write(
        "c.clnrm.toml",
        &crate::project::test_file("c", REDIS, &setting),
    );
    let report = run(&project, 0, &["--stop"]).await;
    assert_eq!(used(&report, 1)["origin"], "reused", "{report:#}");
    let afterwards = &used(&report, 2)["afterwards"];
    assert_eq!(afterwards["outcome"], "quarantined", "{report:#}");
    let reason = afterwards["reason"].as_str().unwrap();
    assert!(reason.contains("config maxmemory"), "{reason}");
}

#[tokio::test]
async fn a_database_is_made_again_from_its_fresh_copy() {
    if std::fs::read_dir("/usr/lib/postgresql").is_err() {
        crate::project::skipped("PostgreSQL is not installed");
        return;
    }
    let example = include_str!("../../examples/postgres.clnrm.toml");
    let pooled = example.replace(
        "metrics = \"postgres\"",
        "metrics = \"postgres\"\npool = { size = 1 }",
    );
    let project = TestProject::empty();
    // The table that it makes must not be there for the second.
    project.write("a.clnrm.toml", &pooled);
    project.write("b.clnrm.toml", &pooled);
    let role = "[\"psql\", \"-h\", \"127.0.0.1\", \"-p\", \"{database.port}\", \"-U\", \"postgres\", \"-w\", \"-c\", \"create role left_behind\"]";
    let third = format!("{pooled}\n[[steps]]\nname = \"leaves a role\"\ncommand = {role}\n");
    project.write("c.clnrm.toml", &third);
    let report = run(&project, 0, &["--stop"]).await;
    assert_eq!(used(&report, 1)["origin"], "reused", "{report:#}");
    assert_eq!(used(&report, 2)["origin"], "reused", "{report:#}");
    let afterwards = &used(&report, 2)["afterwards"];
    assert_eq!(afterwards["outcome"], "quarantined", "{report:#}");
    let reason = afterwards["reason"].as_str().unwrap();
    assert!(reason.contains("left_behind"), "{reason}");
}

#[tokio::test]
async fn containers_are_reused_like_processes() {
    let Some(docker) = docker(&[TestImage::Redis, TestImage::Busybox]) else {
        return;
    };
    let project = TestProject::empty();
    // One is reset over its protocol from outside, the other by commands inside.
    let redis = redis_service("cache", "pool = { size = 1 }");
    let files = container_service(
        "files",
        TestImage::Busybox,
        "command = \"mkdir -p /files; exec sleep 86400\"\npool = { size = 1, reset = \"rm -f /files/*\", verify = \"ls /files\" }",
    );
    let steps = "\n[[steps]]\nname = \"inside\"\nservice = \"files\"\ncommand = \"test -z \\\"$(ls /files)\\\" && touch /files/left\"\n";
    for name in ["a", "b"] {
        let file = format!("[test]\nname = \"{name}\"\n{redis}\n{files}\n{steps}");
        project.write(&format!("{name}.clnrm.toml"), &file);
    }
    let first = run(&project, 0, &["--keep"]).await;
    let second = run(&project, 0, &["--stop"]).await;
    for report in [&first["tests"][1], &second["tests"][0], &second["tests"][1]] {
        for service in report["services"].as_array().unwrap() {
            assert_eq!(service["origin"], "reused", "{service:#}");
        }
    }
    assert_eq!(second["leaks"]["containers_checked"], 2, "{second:#}");
    let state_dir = project.path().canonicalize().unwrap().join(".clnrm");
    let label = format!("label=clnrm.state-dir={}", state_dir.display());
    let left = docker.run(&["ps", "--all", "--quiet", "--filter", &label]);
    assert_eq!(left.unwrap(), "");
}

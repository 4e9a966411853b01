//! Services that end: jobs, which do their work before the steps, and services that must not or may.

use crate::docker::{TestImage, container_service, docker};
use crate::project::{Answer, TestProject, WEB, test_file};

fn job(script: &str, more: &str) -> String {
    format!("[services.migrate]\njob = true\ncommand = '''{script}'''\n{more}\n")
}

async fn run(services: &str, step: &str) -> Answer {
    let project = TestProject::with(&test_file("t", services, step));
    let answer = project.run(&["run", "-v", "--stop"]).await;
    assert_eq!(project.processes(), [""; 0]);
    answer
}

#[tokio::test]
async fn a_job_is_done_before_what_waits_for_it_and_is_no_instance_afterwards() {
    let services = format!(
        "{}\n[services.api]\ndepends_on = [\"migrate\"]\ncommand = '''cat {{migrate.data_dir}}/made && exec sleep 86400'''\nready = {{ log = \"for \" }}\n",
        job(
            "echo for $WHOM > {data_dir}/made",
            "env = { WHOM = \"all\" }"
        )
    );
    let step = "cat {migrate.data_dir}/made; clnrm=$(ls .clnrm/instances | grep -c migrate); test $clnrm = 1";
    let project = TestProject::with(&test_file("t", &services, step));
    let answer = project.run(&["run", "-v", "--keep", "-f", "json"]).await;
    let report = answer.expect(0).json();
    let uses = report["tests"][0]["services"].as_array().unwrap();
    let names: Vec<_> = uses.iter().map(|used| &used["service"]).collect();
    assert_eq!(names, ["migrate", "api"], "in this order");
    assert_eq!(
        (&uses[0]["job"], &uses[0]["ended"]),
        (&true.into(), &"exit code 0".into())
    );
    assert_eq!(
        (&uses[1]["job"], uses[1]["ended"].is_null()),
        (&false.into(), true)
    );
    let status = project.status().await;
    let of = |name: &str| {
        status
            .iter()
            .find(|one| one["service"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("migrate")["state"], "stopped");
    assert_eq!(of("migrate")["exit"], "exit code 0");
    assert_eq!(of("api")["state"], "running");
    project.run(&["services", "restart", "api"]).await.expect(0);
    let restart = project.run(&["services", "restart", "migrate"]).await;
    restart.expect(2).says("is a job");
    let managed = project.manage(&["--auto-scale"]).await;
    let managed = managed["services"].as_array().unwrap().clone();
    assert_eq!(managed.len(), 1, "{managed:?}");
    project.stop_all().await;
}

#[tokio::test]
async fn a_job_that_fails_shows_its_log() {
    let failed = run(&job("echo no such table; exit 3", ""), "true").await;
    failed
        .expect(3)
        .says("the job ended with exit code 3")
        .says("migrate | no such table");
    let killed = run(&job("kill -9 $$", ""), "true").await;
    killed
        .expect(3)
        .says("the job ended with signal 9 (SIGKILL)");
    let slow = job("sleep 86400", "ready = { timeout = \"200ms\" }");
    let slow = run(&slow, "true").await;
    slow.expect(3)
        .says("the job was not done after 200ms")
        .says("how long a job may take");
}

#[tokio::test]
async fn what_a_job_leaves_in_the_background_is_ended() {
    let services = format!("{}{WEB}", job("sleep 86400 & echo begun", ""));
    run(&services, "true").await.expect(0);
}

#[tokio::test]
async fn a_service_that_ends_is_an_error_unless_it_is_a_job_or_may_exit() {
    let service =
        |script: &str, more: &str| format!("[services.odd]\ncommand = '''{script}'''\n{more}\n");
    let waits = "ready = { log = \"never\" }";
    let early = run(&service("echo done", waits), "true").await;
    early
        .expect(3)
        .says("exit code 0 before it was ready")
        .says("`job = true`");
    // Whether it is seen before the steps or while they run.
    run(&service("true", ""), "sleep 60")
        .await
        .expect(3)
        .says("`job = true`");

    let ends_with =
        |code: u8| format!("trap 'exit {code}' TERM; echo up; while :; do sleep 0.02; done");
    let ready = "ready = { log = \"up\" }";
    // A process that has ended is there until its supervisor has seen it.
    let end_it = "pid=$(sed 's/.*\"main_pid\":\\([0-9]*\\).*/\\1/' .clnrm/instances/odd-*/shim.json); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.01; done";
    for code in [0, 4] {
        let script = ends_with(code);
        let died = run(&service(&script, ready), end_it).await;
        died.expect(3).says(&format!(
            "it ended with exit code {code} while the test ran"
        ));
        let may = run(
            &service(&script, &format!("{ready}\nmay_exit = true")),
            end_it,
        )
        .await;
        may.expect(0).says(&format!("ended with exit code {code}"));
    }
    let at_once = service("exit 5", "may_exit = true");
    run(&at_once, "true").await.expect(0);
}

#[tokio::test]
async fn a_container_may_be_a_job_too() {
    let Some(_docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let migrate = |script: &str| {
        let lines = format!("job = true\ncommand = ['sh', '-c', '{script}']");
        container_service("migrate", TestImage::Busybox, &lines)
    };
    let db = container_service(
        "db",
        TestImage::Busybox,
        "command = 'exec sleep 86400'\ndepends_on = ['migrate']",
    );
    let done = run(&format!("{}{db}", migrate("echo made")), "true").await;
    done.expect(0)
        .says("migrate is done after")
        .says("job migrate");
    let failed = run(&format!("{}{db}", migrate("echo no disk; exit 9")), "true").await;
    failed
        .expect(3)
        .says("the job ended with exit code 9")
        .says("migrate | no disk");
    // A last step that ends a container has ended it.
    let ends = "docker kill $(docker ps -q --filter label=clnrm.service=gone --filter label=clnrm.state-dir=$PWD/.clnrm)";
    let gone = container_service("gone", TestImage::Busybox, "command = 'exec sleep 86400'");
    let step = format!("# {{gone.host}}\n{ends}");
    let project = TestProject::with(&test_file("t", &gone, &step));
    let answer = project.run(&["run", "--stop"]).await;
    answer.expect(3).says("while the test ran");
}

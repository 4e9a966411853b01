//! What a process does without a word, a container does, too.

use crate::docker::{Docker, TestImage, container_service, docker};
use crate::project::TestProject;
use crate::support::eventually;

fn step(service: &str, lines: &str) -> String {
    format!("\n[[steps]]\nservice = '{service}'\n{lines}\n")
}

/// An image made for one test; removed when this goes.
struct Made<'a> {
    docker: &'a Docker,
    tag: String,
}

impl<'a> Made<'a> {
    /// Of the shell's image, with these instructions, once the script has said that it is `done`.
    fn of(docker: &'a Docker, name: &str, script: &str, changes: &[&str]) -> Self {
        let script = format!("{script}; touch /tmp/done; exec sleep 86400");
        let template = docker.start(&[], TestImage::Busybox, &["sh", "-c", &script]);
        let wait = "until test -e /tmp/done; do :; done";
        docker
            .run(&["exec", &template.id, "sh", "-c", wait])
            .unwrap();
        let tag = format!("clnrm-test/{name}:{}", std::process::id());
        let changes = changes.iter().flat_map(|change| ["--change", change]);
        let commit: Vec<&str> = ["commit"].into_iter().chain(changes).collect();
        docker
            .run(&[&commit[..], &[&template.id, &tag]].concat())
            .unwrap();
        Self { docker, tag }
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let _ = self.docker.run(&["rmi", "--force", &self.tag]);
    }
}

#[tokio::test]
async fn input_output_folders_and_exit_codes_are_those_of_a_process() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let users = "mkdir -p /etc; echo app:x:1234:56::/: >/etc/passwd";
    let changes = ["USER app", "CMD [\"sleep\", \"86400\"]"];
    let image = Made::of(&docker, "of-user", users, &changes);
    let shell = |name: &str, script: &str, log: &str| {
        let lines = format!(
            "command = \"{script}\"\nready = {{ log = '{log}', timeout = '30s' }}\ncpus = 4096"
        );
        container_service(name, TestImage::Busybox, &lines)
    };
    let parts = [
        "[test]\nname = \"t\"\n".to_owned(),
        shell(
            "input",
            "cat >/dev/null; echo input ended; exec sleep 86400",
            "input ended",
        ),
        shell("prompt", "printf 'ready> '; exec sleep 86400", "^ready> $"),
        format!(
            "\n[services.folder]\nimage = '{}'\nenv = {{ STORE = '{{data_dir}}' }}\n",
            image.tag
        ),
        step(
            "folder",
            "command = 'touch $STORE/x && ls -ldn $STORE'\nexpected_output_regex = '^drwxr-xr-x +2 1234 +56 '",
        ),
        step(
            "input",
            "command = 'for i in 1 2 3 4 5 6 7 8 9; do echo a; echo b >&2; done'\n\
                       expected_output_regex = '^(a\\r?\\nb\\r?\\n){9}$'",
        ),
        step(
            "input",
            "command = ['sh', '-c', 'exec >&- 2>&-; sleep 0.3; exit 3']\nexpected_exit_code = 3",
        ),
    ];
    let project = TestProject::with(&parts.concat());
    let answer = project.run(&["run", "--stop"]).await.expect(0);
    answer.says("service `input`: `cpus = 4096` is more than the ");
}

#[tokio::test]
async fn the_engine_keeps_no_more_of_a_log_than_its_limit_and_its_end_is_shown_at_once() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let lines = "command = \"seq 100000; echo all said; exec sleep 86400\"\n\
                 ready = { log = 'all said', timeout = '60s' }\nlog_limit = '100KB'";
    let service = container_service("chatty", TestImage::Busybox, lines);
    let project = TestProject::with(&format!(
        "[test]\nname = \"t\"\n{service}{}",
        step("chatty", "command = ['true']")
    ));
    project.run(&["run", "--keep"]).await.expect(0);
    let running = project.running().await;
    let id = running[0]["container_id"].as_str().unwrap();
    // The engine writes its log after it has told clnrm of the line.
    eventually("the engine has the last line", || {
        let kept = docker.run(&["logs", id])?;
        let is_whole = kept.ends_with("100000\nall said") && kept.len() < 100_000;
        is_whole
            .then_some(())
            .ok_or(format!("{} bytes", kept.len()))
    })
    .await;
    let shown = project
        .run(&["services", "logs", "chatty", "-l", "2"])
        .await
        .expect(0);
    assert!(
        shown.out.contains("\n100000\nall said\n") || shown.out.starts_with("100000\nall said\n"),
        "{shown:?}"
    );
    assert!(!shown.out.contains("99999"), "{shown:?}");
    project.stop_all().await;
    let shown = project
        .run(&["services", "logs", "chatty", "-l", "2"])
        .await
        .expect(0);
    assert!(shown.out.contains("100000\nall said\n"), "{shown:?}");
}

#[tokio::test]
async fn an_images_check_is_not_waited_for_and_what_the_file_states_decides_alone() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    // Docker's own first look would come after half a minute.
    let slow = Made::of(
        &docker,
        "slow",
        "true",
        &["HEALTHCHECK CMD test -e /tmp/ok"],
    );
    let never = Made::of(
        &docker,
        "never",
        "true",
        &["HEALTHCHECK CMD echo too late; false"],
    );
    let up = "command = \"sleep 0.3; touch /tmp/ok; echo up; exec sleep 86400\"";
    let service = |name: &str, image: &Made<'_>, ready: &str| {
        format!(
            "\n[services.{name}]\nimage = '{}'\n{up}\n{ready}\n",
            image.tag
        )
    };
    let project = TestProject::of_services(
        &[
            service("own", &slow, "ready = { timeout = '20s' }"),
            service("stated", &never, "ready = { log = 'up', timeout = '20s' }"),
        ]
        .concat(),
    );
    project.run(&["run", "--stop"]).await.expect(0);
    let late = TestProject::of_services(&service("late", &never, "ready = { timeout = '1s' }"));
    late.run(&["run", "--stop"])
        .await
        .expect(3)
        .says("not ready after 1s: its own health check has not passed yet: too late");
}

#[tokio::test]
async fn lack_of_memory_bad_health_and_pauses_are_told_everywhere() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let check = "HEALTHCHECK --interval=100ms --retries=1 CMD false";
    let ill = Made::of(&docker, "ill", "true", &[check]);
    let stays = "command = \"echo up; exec sleep 86400\"\nready = { log = 'up' }";
    // Its own check counts how often it was executed; two more executions later the engine has judged.
    let filed = "healthcheck = { command = 'echo x >> /tmp/n; test ! -e /tmp/bad', interval = '100ms', retries = 1 }";
    let falls_ill = "touch /tmp/bad; n=$(wc -l </tmp/n); until [ $(wc -l </tmp/n) -gt $((n+2)) ]; do sleep 0.05; done";
    let parts = [
        "[test]\nname = \"t\"\n".to_owned(),
        container_service(
            "tight",
            TestImage::Busybox,
            &format!("{stays}\nmemory = '16MB'"),
        ),
        format!("\n[services.ill]\nimage = '{}'\n{stays}\n", ill.tag),
        container_service(
            "filed",
            TestImage::Busybox,
            &format!("{filed}\ncommand = ['sleep', '86400']"),
        ),
        step("filed", &format!("command = '{falls_ill}'")),
        step("tight", "command = ['tail', '/dev/zero']"),
    ];
    let project = TestProject::with(&parts.concat());
    project.run(&["run", "--keep"]).await.expect(1).says(
        "exit code 137, expected 0; the container of `tight` ran out of its 16 MB meanwhile: 1 process of it was killed",
    ).says("step `step 2` failed; ").says("service `filed` is unhealthy");

    let running = project.running().await;
    let tight = running
        .iter()
        .find(|one| one["service"] == "tight")
        .unwrap();
    assert_eq!(tight["memory_kills"], 1, "{tight:#}");
    let report = project
        .manage(&["-s", "tight", "--auto-scale", "--dry-run"])
        .await;
    let service = &report["services"][0];
    let alert = service["alerts"][0].as_str().unwrap();
    assert!(
        alert.starts_with("16 MB is too little: 1 process was killed for lack of memory in "),
        "{service:#}"
    );
    assert!(
        service["health"]["current"]["score"].as_f64().unwrap() <= 50.0,
        "{service:#}"
    );
    let reason = service["scaling"]["reason"].as_str().unwrap();
    assert!(reason.ends_with(alert), "{reason}");

    let id = tight["container_id"].as_str().unwrap();
    docker.run(&["pause", id]).unwrap();
    let states = || {
        let status = project
            .command(&["services", "status", "-f", "json"])
            .output()
            .unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let state = |name: &str| {
            let all = status["instances"].as_array().unwrap();
            all.iter().find(|one| one["service"] == name).unwrap()["state"].clone()
        };
        match (state("tight"), state("ill")) {
            (tight, ill) if tight == "paused" && ill == "unhealthy" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually("both states are told", states).await;
    let report = project.manage(&[]).await;
    for service in report["services"].as_array().unwrap() {
        assert_eq!(service["health"]["current"]["score"], 0.0, "{service:#}");
        let alert = service["alerts"][0].as_str().unwrap();
        assert!(
            alert.ends_with("is paused") || alert.ends_with("is unhealthy"),
            "{alert}"
        );
    }
    docker.run(&["unpause", id]).unwrap();
    project.stop_all().await;
}

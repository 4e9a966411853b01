//! What a process does without a word, a container does, too.

use crate::docker::{Docker, TestImage, container_service, docker};
use crate::project::TestProject;

fn step(service: &str, lines: &str) -> String {
    format!("\n[[steps]]\nservice = '{service}'\n{lines}\n")
}

/// An image whose programs run as a user with a name, without any file of his own; removed when this goes.
struct OfUser<'a> {
    docker: &'a Docker,
    tag: String,
}

impl<'a> OfUser<'a> {
    fn make(docker: &'a Docker) -> Self {
        let users = "mkdir -p /etc; echo app:x:1234:56::/: >/etc/passwd; exec sleep 86400";
        let template = docker.start(&[], TestImage::Busybox, &["sh", "-c", users]);
        let has_users = [
            "exec",
            &template.id,
            "sh",
            "-c",
            "until grep -q app /etc/passwd; do :; done",
        ];
        docker.run(&has_users).unwrap();
        let tag = format!("clnrm-test/of-user:{}", std::process::id());
        let commit = [
            "commit",
            "--change",
            "USER app",
            "--change",
            "CMD [\"sleep\", \"86400\"]",
        ];
        docker
            .run(&[&commit[..], &[&template.id, &tag]].concat())
            .unwrap();
        Self { docker, tag }
    }
}

impl Drop for OfUser<'_> {
    fn drop(&mut self) {
        let _ = self.docker.run(&["rmi", "--force", &self.tag]);
    }
}

#[tokio::test]
async fn input_output_folders_and_exit_codes_are_those_of_a_process() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let image = OfUser::make(&docker);
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
    let kept = docker.run(&["logs", id]).unwrap();
    assert!(
        kept.ends_with("100000\nall said") && kept.len() < 100_000,
        "{} bytes",
        kept.len()
    );
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

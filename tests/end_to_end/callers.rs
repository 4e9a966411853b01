//! What a command gets from its caller: open descriptors, ignored signals, and signals.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::project::{Background, TestProject, WEB, answer, test_file};
use crate::support::eventually;

/// The project's command below a shell that does something first.
fn below_shell(project: &TestProject, script: &str, arguments: &[&str]) -> Command {
    let own = project.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]);
    shell.arg(own.get_program()).args(own.get_args());
    shell.current_dir(project.path());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell
}

fn kill(signal: &str, pid: u32) {
    let mut kill = Command::new("kill");
    assert!(
        kill.args([signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

async fn file_appears(file: &Path) {
    eventually("the step begins", || match file.exists() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    })
    .await;
}

#[tokio::test]
async fn what_the_caller_has_open_reaches_nobody() {
    // A pool, so that there is a guard too.
    let services = format!("{WEB}pool = {{ size = 1, reset = \"true\", verify = \"true\" }}\n");
    let step = "for fd in 3 9; do test ! -e /proc/self/fd/$fd || exit 1; done";
    let project = TestProject::with(&test_file("t", &services, step));
    // Descriptor 3 is the pipe that `answer` reads to its end, as `$(…)` does.
    let open = "exec 3>&1 9>held";
    answer(below_shell(&project, open, &["run", "--keep"]))
        .await
        .expect(0);
    let processes = project.processes();
    assert!(
        processes.len() >= 3,
        "shim, server and guard: {processes:?}"
    );
    let held = project.path().join("held");
    for process in &processes {
        let (pid, _) = process.split_once(':').unwrap();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let has_it = |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|to| to == held);
        assert!(!descriptors.into_iter().any(has_it), "{process}");
    }
    project.stop_all().await;
}

#[tokio::test]
async fn an_ignored_hangup_stays_ignored_and_is_not_handed_down() {
    let step = "touch begun; while [ ! -e go ]; do sleep 0.02; done; grep SigIgn /proc/self/status";
    let file = test_file("t", "", step);
    // The lowest bit of the mask is SIGHUP.
    let project = TestProject::with(&format!(
        "{file}expected_output_regex = \"[02468ace]\\n\"\n"
    ));
    let mut command = below_shell(&project, "trap '' HUP", &["run", "--stop"]);
    let mut run = Background(command.spawn().unwrap());
    file_appears(&project.path().join("begun")).await;
    kill("-HUP", run.0.id());
    project.write("go", "");
    assert_eq!(run.0.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_later_second_interrupt_ends_the_grace_and_the_report_is_whole() {
    let deaf = "trap '' TERM; touch up; while :; do sleep 86400; done";
    let services = format!(
        "[services.deaf]\ncommand = '''{deaf}'''\nready = {{ command = [\"test\", \"-e\", \"up\"] }}\nstop = {{ grace = \"10m\" }}\n"
    );
    let endings = [("junit", "</testsuites>"), ("json", "}\n"), ("tap", "1..1")];
    for (format, ending) in endings {
        let project = TestProject::with(&test_file("t", &services, "touch begun; sleep 86400"));
        let arguments = ["run", "--stop", "--format", format];
        let mut run = Background(project.command(&arguments).spawn().unwrap());
        file_appears(&project.path().join("begun")).await;
        // The first two count as one; those of later than a second end the ten minutes.
        kill("-INT", run.0.id());
        kill("-INT", run.0.id());
        let ended = eventually("it ends", || match run.0.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => {
                kill("-INT", run.0.id());
                Err("still running".to_owned())
            }
        });
        assert_eq!(ended.await.code(), Some(130), "{format}");
        let mut report = String::new();
        run.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut report)
            .unwrap();
        assert!(report.contains(ending), "{format}: {report}");
        assert_eq!(project.processes(), [""; 0], "{format}");
    }
}

//! What other programs read of a run: whole documents, whatever happened, and GitHub's annotations.

use std::fs;

use crate::project::{TestProject, answer};

#[tokio::test]
async fn a_run_that_cannot_begin_is_a_document_too() {
    let project = TestProject::with("[[steps]]\ncomand = ['true']\n");
    let junit = project.run(&["run", "-f", "junit"]).await.expect(2);
    assert!(junit.out.contains("<error message=\""), "{junit:#?}");
    assert!(junit.out.contains("unknown key `comand`"), "{junit:#?}");
    assert!(junit.out.ends_with("</testsuites>\n"), "{junit:#?}");
    let tap = project.run(&["run", "-f", "tap"]).await.expect(2);
    assert!(
        tap.out.starts_with("TAP version 14\n1..1\nnot ok 1 - t\n"),
        "{tap:#?}"
    );

    fs::remove_file(project.path().join("t.clnrm.toml")).unwrap();
    let junit = project.run(&["run", "-f", "junit"]).await.expect(4);
    assert!(junit.out.contains("tests=\"0\""), "{junit:#?}");
    let json = project.run(&["run", "-f", "json"]).await.expect(4).json();
    assert_eq!(json["tests"].as_array().map(Vec::len), Some(0), "{json}");
}

#[tokio::test]
async fn what_passed_only_when_repeated_is_flaky_and_colours_hide_nothing() {
    let project = TestProject::empty();
    fs::create_dir(project.path().join("back")).unwrap();
    project.write(
        "back/t.clnrm.toml",
        r#"
        [services.web]
        command = ["sh", "-c", "printf '\\033[32mready\\033[0m on 8080\\r\\n'; exec sleep 60"]
        ready = { log = "^ready on 8080$", timeout = "5s" }

        [[steps]]
        name = "flaky"
        command = "test -f flag || { touch flag; exit 1; }"
        retry = { max_attempts = 3, delay = "10ms" }

        [[steps]]
        command = ["printf", "\\033[1mok\\033[0m 12 passed\\r\\nand more\\n"]
        expected_output_contains = "ok 12 passed\nand"

        [[steps]]
        name = "last"
        command = ["sh", "-c", "exit 7"]
        "#,
    );
    let on_github = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command
            .current_dir(project.path().join("back"))
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_WORKSPACE", project.path())
            .env_remove("GITHUB_STEP_SUMMARY");
        answer(command)
    };
    let failed = on_github(&["run", "--stop"]).await.expect(1);
    failed
        .says("step flaky passed at attempt 2, flaky: exit code 1, expected 0")
        .says("::error file=back/t.clnrm.toml,title=clnrm%3A t::step `last` failed: exit code 7, expected 0");

    fs::remove_file(project.path().join("back/flag")).unwrap();
    let text = fs::read_to_string(project.path().join("back/t.clnrm.toml")).unwrap();
    project.write("back/t.clnrm.toml", &text.replace("exit 7", "exit 0"));
    let passed = on_github(&["run", "--stop", "-f", "junit"]).await.expect(0);
    assert!(
        passed.out.contains("<flakyFailure message=\"step flaky"),
        "{passed:#?}"
    );
    passed.says("::warning file=back/t.clnrm.toml,");
}

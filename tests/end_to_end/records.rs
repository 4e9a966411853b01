//! What a run came to stays in the history: it can be printed again, and a kill loses no test that had ended.

use std::fs;

use clnrm_core::report::style::{ColorChoice, Style, Surroundings};
use clnrm_core::report::{Printer, RunFormat};
use clnrm_core::runner::replay::recorded_report;
use clnrm_core::runner::result::RunReport;
use clnrm_core::store::{RunVerdict, Store};

use crate::project::{Background, TestProject, WEB, test_file};
use crate::support::eventually;

/// Prints a report as `clnrm run` does.
fn printed(report: &RunReport, format: RunFormat, verbose: bool) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let style = Style::resolve(ColorChoice::Never, &Surroundings::default());
    let mut printer = Printer::new(&mut out, &mut err, style, verbose);
    printer.run(report, format).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every recorded run with its verdict, oldest first.
fn recorded(project: &TestProject) -> Vec<(RunReport, Option<RunVerdict>)> {
    let Some(store) = Store::open_existing(&project.state_dir()).unwrap() else {
        return Vec::new();
    };
    let runs = store.runs().unwrap().into_iter();
    runs.map(|run| {
        (
            recorded_report(&store, run.id).unwrap().unwrap(),
            run.verdict,
        )
    })
    .collect()
}

const STEPS: &str = r#"
[[steps]]
name = "flaky"
command = "test -f flag || { touch flag; exit 1; }"
retry = { max_attempts = 3, delay = "10ms" }

[[steps]]
name = "last"
command = "echo some output; exit 7"

[[steps]]
command = ["true"]
"#;

#[tokio::test]
async fn a_recorded_run_is_printed_as_it_was() {
    let project = TestProject::with(&format!(
        "[test]\nname = \"a\"\n{WEB}pool = {{ size = 1 }}\n{STEPS}"
    ));
    project.write("u.clnrm.toml", &test_file("u", WEB, "true"));
    project.write(
        "v.clnrm.toml",
        &test_file(
            "v",
            "[services.x]\ncommand = ['sh', '-c', 'echo no; exit 3']\nready = { log = 'up' }",
            "true",
        ),
    );
    fs::create_dir(project.path().join(".git")).unwrap();
    project.write(".git/HEAD", "c0ffee\n");
    let mut texts = Vec::new();
    for (arguments, format, verbose) in [
        (&["run", "--stop"][..], RunFormat::Human, false),
        (&["run", "-v", "--keep"], RunFormat::Human, true),
        (&["run", "--stop", "-f", "junit"], RunFormat::Junit, false),
        (&["run", "--stop", "-f", "json"], RunFormat::Json, false),
    ] {
        // The flaky step is flaky again.
        let _ = fs::remove_file(project.path().join("flag"));
        let answer = project.run(arguments).await.expect(1);
        texts.push((answer.out, format, verbose));
    }
    let recorded = recorded(&project);
    assert_eq!(recorded.len(), texts.len());
    for ((text, format, verbose), (report, verdict)) in texts.iter().zip(&recorded) {
        assert_eq!(&printed(report, *format, *verbose), text);
        assert_eq!(*verdict, Some(RunVerdict::Failed));
    }
    let (first, ..) = &texts[0];
    assert!(first.contains("passed at attempt 2, flaky") && first.contains("| some output"));
    assert!(
        texts[1].0.contains("stopped afterwards: "),
        "{}",
        texts[1].0
    );
    project.run(&["services", "stop", "--all"]).await.expect(0);
}

#[tokio::test]
async fn a_kill_loses_no_test_that_had_ended() {
    let project = TestProject::with(&test_file("t", "", "true"));
    project.write("u.clnrm.toml", &test_file("u", "", "sleep 86400"));
    let mut run = Background(project.command(&["run", "--jobs", "1"]).spawn().unwrap());
    eventually("the first test is recorded", || {
        match recorded(&project).as_slice() {
            [(report, _)] if !report.tests.is_empty() => Ok(()),
            runs => Err(format!("{runs:?}")),
        }
    })
    .await;
    run.0.kill().unwrap();
    run.0.wait().unwrap();
    assert_eq!(recorded(&project)[0].1, None);
    project.run(&["services", "stop", "--all"]).await.expect(0);
    let (report, verdict) = recorded(&project).remove(0);
    assert_eq!(verdict, Some(RunVerdict::Unfinished));
    assert_eq!(report.tests.len(), 1, "{report:?}");
}

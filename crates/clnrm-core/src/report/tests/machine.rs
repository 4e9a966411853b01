//! Reports for machines: JSON, JUnit XML, TAP.

use serde_json::{Value, json};

use super::NOW;
use super::manage::{pass, service, with_prediction};
use super::run_fixtures::{everything, flaky, passed, report};
use crate::report::human::tests::rendered;
use crate::report::manage::document::ManageReport;
use crate::report::{json, junit, tap};
use crate::runner::cause::TestReason;
use crate::runner::result::{RunReport, TestReport, TestStatus};
use crate::services::service_manager::NotEnoughData;

fn run_value_of(report: &RunReport) -> Value {
    parsed(&rendered(|out| json::write_run(out, report)))
}

fn value_of(report: &impl serde::Serialize) -> Value {
    parsed(&rendered(|out| json::write(out, report)))
}

fn parsed(text: &str) -> Value {
    assert!(text.ends_with("}\n"), "{text}");
    serde_json::from_str(text).expect("valid JSON")
}

#[test]
fn the_manage_report_has_the_names_that_scripts_rely_on() {
    let mut little = service("little");
    little.assessment.prediction = Some(Err(NotEnoughData { have: 2, need: 3 }));
    let pass = pass(vec![with_prediction(service("cache")), little]);
    let value = value_of(&ManageReport::of(&pass));
    assert_eq!(value["schema"], "clnrm.ai-manage/1");
    assert_eq!(value["generated_at"], "2026-11-23T10:00:00.000Z");
    assert_eq!(value["horizon_minutes"], 5);
    assert_eq!(value["recommendations"], Value::Null);
    let cache = &value["services"][0];
    assert_eq!(cache["state"], "running");
    assert_eq!(cache["current"]["cpu_percent"], 45.2);
    assert_eq!(cache["current"]["network_mb_per_s"], Value::Null);
    assert_eq!(cache["prediction"]["model"], "ses");
    assert_eq!(cache["prediction"]["cpu_percent"]["upper"], 57.1);
    assert_eq!(cache["health"]["current"]["status"], "healthy");
    assert_eq!(cache["scaling"], Value::Null);
    assert_eq!(
        value["services"][1]["prediction"],
        json!({"not_enough_data": {"have": 2, "need": 3}})
    );
}

#[test]
fn the_run_report_has_the_names_that_scripts_rely_on() {
    let value = run_value_of(&everything());
    assert_eq!(value["schema"], "clnrm.run/1");
    assert_eq!(
        value["summary"],
        json!({"passed": 1, "failed": 1, "errors": 1, "skipped": 1, "contaminated": 0, "flaky": 0})
    );
    assert_eq!(value["tests"][0]["status"], "passed");
    assert_eq!(value["tests"][0]["duration_ms"], 1234.0);
    assert_eq!(value["tests"][2]["service_failures"][0]["service"], "db");
    assert_eq!(value["tests"][0]["reason"], Value::Null);
    assert_eq!(value["tests"][1]["reason"], "step `health #1` failed");
    assert_eq!(
        value["tests"][1]["steps"][1]["reason"],
        "the output does not match `ok`"
    );
}

#[test]
fn junit_of_every_outcome() {
    let text = rendered(|out| junit::write(out, &everything()));
    insta::assert_snapshot!(text, @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="clnrm" tests="4" failures="1" errors="1" skipped="1" time="4.200" timestamp="2026-11-23T10:00:00.000Z">
      <testsuite name="tests/cache.clnrm.toml" tests="1" failures="0" errors="0" skipped="0" time="1.234">
        <testcase name="cache" classname="tests.cache" file="tests/cache.clnrm.toml" time="1.234"/>
      </testsuite>
      <testsuite name="./tests/api.clnrm.toml" tests="1" failures="1" errors="0" skipped="0" time="2.100">
        <testcase name="api" classname="tests.api" file="./tests/api.clnrm.toml" time="2.100">
          <failure message="step `health #1` failed: the output does not match `ok`" type="failure">step `health #1` failed
    step warm up passed in 12 ms
    step health #1 failed in 12 ms after 3 attempts: the output does not match `ok`
      | curl: (7)
      |
      | refused &lt;&amp;"]]&gt;\u{0}
    step load skipped: step `health #1` failed
    </failure>
        </testcase>
      </testsuite>
      <testsuite name="tests/database.clnrm.toml" tests="1" failures="0" errors="1" skipped="0" time="0.310">
        <testcase name="database" classname="tests.database" file="tests/database.clnrm.toml" time="0.310">
          <error message="service `db` did not start: it exited with code 1 before it was ready" type="error">service `db` did not start
    service db (db-7) failed: it exited with code 1 before it was ready
      hint: is another server using its port?
      db | LOG: starting
      db | FATAL: port 5432 is taken
      the whole log: .clnrm/instances/db-7/log
    step query skipped: its services did not start
    </error>
        </testcase>
      </testsuite>
      <testsuite name="tests/slow.clnrm.toml" tests="1" failures="0" errors="0" skipped="1" time="0.000">
        <testcase name="slow" classname="tests.slow" file="tests/slow.clnrm.toml" time="0.000">
          <skipped message="an earlier test did not pass (--fail-fast)"/>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn junit_escapes_and_groups() {
    let mut first = passed();
    first.name = "a \"quoted\"\n<name> & \u{1b}[31mred\0".to_owned();
    let text = rendered(|out| junit::write(out, &report(vec![first, passed()])));
    assert!(
        text.contains("name=\"a &quot;quoted&quot;&#10;&lt;name&gt; &amp; red\""),
        "{text}"
    );
    assert_eq!(text.matches("<testsuite ").count(), 1, "{text}");
    assert_eq!(text.matches("<testcase ").count(), 2, "{text}");
}

#[test]
fn tap_of_every_outcome() {
    let text = rendered(|out| tap::write(out, &everything()));
    insta::assert_snapshot!(text, @r#"
    TAP version 14
    1..4
    # Subtest: cache
        1..1
        ok 1 - ping
    ok 1 - cache
    # Subtest: api
        1..3
        ok 1 - warm up
        not ok 2 - health \#1
          ---
          message: "the output does not match `ok`"
          duration: "12 ms"
          output:
            - "curl: (7)"
            - ""
            - "refused <&\"]]>\\u{0}"
          ...
        ok 3 - load # SKIP step `health \#1` failed
    not ok 2 - api
      ---
      message: "step `health #1` failed: the output does not match `ok`"
      severity: "fail"
      file: "./tests/api.clnrm.toml"
      duration: "2.1 s"
      ...
    # Subtest: database
        1..1
        ok 1 - query # SKIP its services did not start
    not ok 3 - database
      ---
      message: "service `db` did not start: it exited with code 1 before it was ready"
      severity: "error"
      file: "tests/database.clnrm.toml"
      duration: "310 ms"
      services:
        - service: "db"
          message: "it exited with code 1 before it was ready"
          log:
            - "LOG: starting"
            - "FATAL: port 5432 is taken"
      ...
    ok 4 - slow # SKIP an earlier test did not pass (--fail-fast)
    "#);
}

#[test]
fn tap_of_nothing_and_of_an_interrupted_run() {
    let text = rendered(|out| tap::write(out, &report(vec![])));
    assert_eq!(text, "TAP version 14\n1..0 # SKIP no tests\n");
    let interrupted = RunReport {
        interrupted_by: Some("SIGTERM".to_owned()),
        ..report(vec![passed()])
    };
    let text = rendered(|out| tap::write(out, &interrupted));
    assert!(
        text.ends_with("ok 1 - cache\nBail out! interrupted by SIGTERM\n"),
        "{text}"
    );
}

#[test]
fn a_flaky_test_is_told_to_machines() {
    let flaky = report(vec![flaky()]);
    let text = rendered(|out| junit::write(out, &flaky));
    assert!(
        text.contains("<flakyFailure message=\"step second time passed at attempt 2, flaky: exit code 1, expected 0\" type=\"flaky\"/>\n    </testcase>"),
        "{text}"
    );
    let text = rendered(|out| tap::write(out, &flaky));
    assert!(
        text.contains("    ok 1 - second time\n    # second time passed at attempt 2, flaky: exit code 1, expected 0\nok 1 - flaky\n# flaky: "),
        "{text}"
    );
    let value = run_value_of(&flaky);
    assert_eq!(value["summary"]["flaky"], 1);
    assert_eq!(
        value["tests"][0]["steps"][0]["earlier_failure"],
        "exit code 1, expected 0"
    );
}

#[test]
fn a_path_that_is_not_utf8_does_not_cost_the_report() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut test = passed();
    test.file = std::ffi::OsStr::from_bytes(b"caf\xe9.clnrm.toml").into();
    let value = run_value_of(&report(vec![test]));
    assert_eq!(value["tests"][0]["file"], "caf\u{fffd}.clnrm.toml");
}

#[test]
fn an_error_that_is_no_files_has_a_name_all_the_same() {
    let error = TestReport::not_run(
        "clnrm".to_owned(),
        std::path::PathBuf::new(),
        TestStatus::Error,
        TestReason::NotRun {
            message: "nowhere: no such file or directory".to_owned(),
        },
    );
    let report = RunReport::without_run(vec![error], NOW);
    let text = rendered(|out| junit::write(out, &report));
    assert!(text.contains("<testsuite name=\"clnrm\""), "{text}");
    assert!(
        text.contains("<testcase name=\"clnrm\" classname=\"clnrm\" time="),
        "{text}"
    );
    let text = rendered(|out| tap::write(out, &report));
    assert!(!text.contains("file:"), "{text}");
}

#[test]
fn a_run_that_could_not_begin_is_a_whole_document() {
    let test = TestReport::not_run(
        "broken".to_owned(),
        "broken.clnrm.toml".into(),
        TestStatus::Error,
        TestReason::NotRun {
            message: "broken.clnrm.toml:2:1: unknown key `comand`".to_owned(),
        },
    );
    let none = RunReport::without_run(vec![], NOW);
    let broken = RunReport::without_run(vec![test], NOW);
    let text = rendered(|out| junit::write(out, &broken));
    assert!(
        text.contains("<error message=\"broken.clnrm.toml:2:1: unknown key `comand`\""),
        "{text}"
    );
    assert!(text.ends_with("</testsuites>\n"), "{text}");
    let text = rendered(|out| tap::write(out, &broken));
    assert!(text.contains("not ok 1 - broken\n"), "{text}");
    let text = rendered(|out| junit::write(out, &none));
    assert!(
        text.contains("tests=\"0\"") && text.ends_with("</testsuites>\n"),
        "{text}"
    );
    assert_eq!(run_value_of(&none)["run_id"], Value::Null);
}

//! The report of `clnrm run` for people, and GitHub's summary.

use super::run_fixtures::{contaminated, error, everything, failed, flaky, passed, report};
use crate::lifecycle::stopped::LeakReport;
use crate::report::github::append_step_summary;
use crate::report::human::run::{run, summary};
use crate::report::human::tests::{PLAIN, VERBOSE, rendered};
use crate::runner::cause::TestReason;
use crate::runner::result::{RunReport, RunSummary, TestStatus};

#[test]
fn every_outcome() {
    let text = rendered(|out| run(out, &everything(), PLAIN));
    insta::assert_snapshot!(text, @r#"
    PASS  cache  (tests/cache.clnrm.toml)  1.2 s
    FAIL  api  (./tests/api.clnrm.toml)  2.1 s
          step `health #1` failed
          step health #1 failed in 12 ms after 3 attempts: the output does not match `ok`
            | curl: (7)
            |
            | refused <&"]]>\u{0}
    ERROR database  (tests/database.clnrm.toml)  310 ms
          service `db` did not start
          service db (db-7) failed: it exited with code 1 before it was ready
            hint: is another server using its port?
            db | LOG: starting
            db | FATAL: port 5432 is taken
            the whole log: .clnrm/instances/db-7/log
    SKIP  slow  (tests/slow.clnrm.toml)
          an earlier test did not pass (--fail-fast)

    4 tests: 1 passed, 1 failed, 1 error, 1 skipped in 4.2 s
    still running:
      redis at 127.0.0.1:40123
      stop them with: clnrm services stop --all
    0 leaked (9 processes checked)
    "#);
}

#[test]
fn verbose_shows_services_and_every_step() {
    let text = rendered(|out| run(out, &report(vec![passed(), failed()]), VERBOSE));
    insta::assert_snapshot!(text, @r#"
    PASS  cache  (tests/cache.clnrm.toml)  1.2 s
          service redis (redis-1) fresh, ready in 9 ms at 127.0.0.1:40123
          step ping passed in 12 ms
    FAIL  api  (./tests/api.clnrm.toml)  2.1 s
          step `health #1` failed
          step warm up passed in 12 ms
          step health #1 failed in 12 ms after 3 attempts: the output does not match `ok`
            | curl: (7)
            |
            | refused <&"]]>\u{0}
          step load skipped: step `health #1` failed

    2 tests: 1 passed, 1 failed in 4.2 s
    0 leaked (9 processes checked)
    "#);
}

#[test]
fn a_reason_that_nothing_else_tells_is_told() {
    let mut test = passed();
    test.status = TestStatus::Failed;
    test.reason = Some(
        TestReason::TooFewCommands {
            executed: 2,
            wanted: 3,
        }
        .into(),
    );
    let text = rendered(|out| run(out, &report(vec![test]), PLAIN));
    assert!(
        text.contains("\n      2 commands were executed, the assertion wants at least 3\n"),
        "{text}"
    );
    let told = rendered(|out| run(out, &report(vec![error()]), PLAIN));
    assert_eq!(told.matches("exited with code 1").count(), 1, "{told}");
}

#[test]
fn the_summary_counts_what_occurred() {
    let of = |passed, failed, errors, skipped| {
        summary(&RunSummary {
            passed,
            failed,
            errors,
            skipped,
            contaminated: 0,
            flaky: passed / 2,
        })
    };
    assert_eq!(of(2, 1, 0, 0), "3 tests: 2 passed (1 flaky), 1 failed");
    assert_eq!(of(1, 0, 0, 0), "1 test: 1 passed");
    assert_eq!(of(0, 0, 2, 3), "5 tests: 2 errors, 3 skipped");
    assert_eq!(of(0, 0, 0, 0), "0 tests");
}

#[test]
fn a_contaminated_test_names_its_suspects_and_what_became_of_the_instance() {
    let text = rendered(|out| run(out, &report(vec![contaminated()]), VERBOSE));
    insta::assert_snapshot!(text, @"
    DIRTY cache  (tests/cache.clnrm.toml)  1.2 s
          step `ping` failed on instances that other tests had used; it passed on fresh ones
            suspect: `writer` of run 7 had redis-1 from 2026-11-23T10:00:00.000Z
          service redis (redis-1) reused and verified in 0.8 ms at 127.0.0.1:40123; quarantined and replaced: `cache` failed on it alone
          step ping failed in 12 ms: exit code 1, expected 0

    1 test: 1 contaminated in 4.2 s
    0 leaked (9 processes checked)
    ");
}

#[test]
fn leaks_and_interruptions_are_named() {
    let report = RunReport {
        leaks: LeakReport {
            processes_checked: 1,
            containers_checked: 0,
            unchecked: None,
            leaked: vec!["sleep (pid 77) of cache".to_owned()],
        },
        interrupted_by: Some("SIGINT".to_owned()),
        ..report(vec![passed()])
    };
    let text = rendered(|out| run(out, &report, PLAIN));
    assert!(
        text.ends_with(
            "interrupted by SIGINT\n1 leaked (1 process checked), ended now:\n  sleep (pid 77) of cache\n"
        ),
        "{text}"
    );
}

#[test]
fn the_step_summary_is_appended_without_markup_from_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("summary.md");
    std::fs::write(&file, "before\n").expect("writes");
    append_step_summary(&file, &everything()).expect("appends");
    let text = std::fs::read_to_string(&file).expect("reads");
    insta::assert_snapshot!(text, @r#"
    before
    ### clnrm: 4 tests: 1 passed, 1 failed, 1 error, 1 skipped in 4.2 s

    | Test | Result | Time | Reason |
    |---|---|---|---|
    | cache | ✅ passed | 1.2 s |  |
    | api | ❌ failed | 2.1 s | step &#96;health #1&#96; failed: the output does not match &#96;ok&#96; |
    | database | ❌ error | 310 ms | service &#96;db&#96; did not start: it exited with code 1 before it was ready |
    | slow | ⏭️ skipped |  | an earlier test did not pass (--fail-fast) |

    <details><summary>api: output of health #1</summary>

    <pre>
    curl: (7)
     
    refused &lt;&amp;"&#93;&#93;&gt;&#92;u{0}
    </pre>

    </details>

    <details><summary>database: log of db</summary>

    <pre>
    LOG: starting
    FATAL: port 5432 is taken
    </pre>

    </details>
    "#);
}

#[test]
fn a_cell_of_the_step_summary_stays_one_cell() {
    let mut test = failed();
    test.name = "a | b\n<script>".to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("summary.md");
    append_step_summary(&file, &report(vec![test])).expect("creates the file");
    let text = std::fs::read_to_string(&file).expect("reads");
    assert!(
        text.contains("| a \\| b&#92;n&lt;script&gt; | ❌ failed |"),
        "{text}"
    );
}

#[test]
fn a_step_that_passed_only_when_repeated_is_told() {
    let text = rendered(|out| run(out, &report(vec![flaky()]), PLAIN));
    insta::assert_snapshot!(text, @"
    PASS  flaky  (tests/cache.clnrm.toml)  1.2 s
          step second time passed at attempt 2, flaky: exit code 1, expected 0

    1 test: 1 passed (1 flaky) in 4.2 s
    0 leaked (9 processes checked)
    ");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("summary.md");
    append_step_summary(&file, &report(vec![flaky()])).expect("creates the file");
    let text = std::fs::read_to_string(&file).expect("reads");
    assert!(
        text.contains(
            "| flaky | ⚠️ passed, flaky | 1.2 s | step second time passed at attempt 2, flaky: exit"
        ),
        "{text}"
    );
}

#[test]
fn the_step_summary_never_grows_beyond_what_github_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let with_output = |output: Option<String>| {
        let mut test = failed();
        for step in &mut test.steps {
            step.output_tail.clone_from(&output);
        }
        test
    };
    let (loud, silent) = (with_output(Some("_|&".repeat(2_700))), with_output(None));
    let cases = [
        (0, 60, &loud),
        (1_000_000, 20, &loud),
        (0, 13_000, &silent),
        (1 << 20, 1, &loud),
    ];
    for (before, tests, test) in cases {
        let file = folder.path().join(format!("{before}-{tests}.md"));
        std::fs::write(&file, vec![b'x'; before]).expect("writes");
        let many = |number: usize| report(vec![test.clone(); number]);
        let written = append_step_summary(&file, &many(tests));
        let text = std::fs::read_to_string(&file).expect("reads");
        assert!(text.len() <= 1 << 20, "{} bytes", text.len());
        if before == 1 << 20 {
            assert!(written.is_err() && text.len() == before);
            continue;
        }
        written.expect("appends");
        let rows = text.matches("| ❌ failed |").count();
        assert!(rows == tests || text.contains(&format!("{} tests left out", tests - rows)));
        let outputs = if test.steps[0].output_tail.is_some() {
            3 * tests
        } else {
            0
        };
        let left_out = outputs - text.matches("<details>").count();
        assert!(left_out == 0 || text.contains(&format!("{left_out} outputs left out")));
        assert!(text.ends_with("left out: GitHub shows 1 MiB at most.\n\n"));
    }
}

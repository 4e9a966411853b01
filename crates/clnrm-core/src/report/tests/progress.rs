//! The lines of a run's progress.

use std::path::PathBuf;

use super::run_fixtures::{everything, failed, passed, report, service_failure, step};
use super::{NOW, milliseconds};
use crate::report::checkout::Checkout;
use crate::report::progress::Progress;
use crate::report::style::{ColorChoice, ProgressKind, Style, Surroundings};
use crate::runner::cause::StepReason;
use crate::runner::event::{EventKind, RunEvent};
use crate::runner::replay::report_of;
use crate::runner::result::{Afterwards, Outcome, RunReport, StepStatus};

fn style(kind: ProgressKind) -> Style {
    Style {
        progress: kind,
        ..Style::resolve(ColorChoice::Never, &Surroundings::default())
    }
}

fn events() -> Vec<EventKind> {
    vec![
        EventKind::RunStarted {
            run_id: "r1".to_owned(),
            tests: 2,
            jobs: 1,
        },
        EventKind::TestStarted {
            test: 0,
            name: "cache".to_owned(),
            file: PathBuf::from("tests/cache.clnrm.toml"),
        },
        EventKind::ServiceStarting {
            test: 0,
            service: "redis".to_owned(),
        },
        EventKind::ServiceReady {
            test: 0,
            service: "redis".to_owned(),
            took: milliseconds(9),
            address: Some("127.0.0.1:40123".to_owned()),
        },
        EventKind::StepStarted {
            test: 0,
            step: "ping".to_owned(),
            index: 0,
            of: 1,
        },
        EventKind::StepRetrying {
            test: 0,
            step: "ping".to_owned(),
            attempt: 1,
            max_attempts: 3,
            reason: StepReason::Other {
                message: "\u{1b}[31mrefused\nforged".to_owned(),
            }
            .into(),
        },
        EventKind::StepFinished {
            test: 0,
            step: step("ping", StepStatus::Passed, None),
        },
        EventKind::TestFinished {
            test: 0,
            report: passed(),
        },
        EventKind::ServiceFailed {
            test: 1,
            failure: service_failure(),
        },
        EventKind::Warning {
            message: "the disk is nearly full".to_owned(),
        },
        EventKind::Interrupted {
            signal: "SIGINT".to_owned(),
        },
        EventKind::InterruptedAgain,
        EventKind::TestFinished {
            test: 1,
            report: failed(),
        },
    ]
}

fn told(kind: EventKind) -> RunEvent {
    RunEvent {
        at: NOW,
        elapsed: milliseconds(7),
        kind,
    }
}

fn lines_of(style: Style, verbose: bool) -> String {
    let mut err = Vec::new();
    let mut progress = Progress::new(style, verbose, &mut err);
    for event in events() {
        progress.on_event(&told(event)).expect("writes to memory");
    }
    progress.finish();
    String::from_utf8(err).expect("UTF-8")
}

#[test]
fn plain_progress_is_one_line_per_event() {
    insta::assert_snapshot!(lines_of(style(ProgressKind::Plain), false), @r#"
    running 2 tests, at most 1 at a time
    cache: started  (tests/cache.clnrm.toml)
    cache: redis is ready at 127.0.0.1:40123 after 9 ms
    cache: step ping: attempt 1 of 3 failed, trying again: refused\nforged
    [1/2] PASS  cache in 1.2 s
    test 2: service db failed: it exited with code 1 before it was ready
    warning: the disk is nearly full
    interrupted by SIGINT: stopping what was started
    interrupted again: killing what still runs
    [2/2] FAIL  api in 2.1 s
    "#);
}

#[test]
fn verbose_progress_has_every_step() {
    let lines = lines_of(style(ProgressKind::Plain), true);
    assert_eq!(lines.lines().count(), events().len(), "{lines}");
    assert!(lines.contains("cache: step 1/1 ping\n"), "{lines}");
}

#[test]
fn what_was_told_can_be_told_again() {
    let told: Vec<RunEvent> = events().into_iter().map(told).collect();
    let json = serde_json::to_string(&told).expect("events are text and numbers");
    let read: Vec<RunEvent> = serde_json::from_str(&json).expect("it was written from events");
    assert_eq!(read, told);
    assert_eq!(report_of(&read), report_of(&told));
}

#[test]
fn a_report_is_what_the_events_came_to() {
    let mut told: Vec<RunEvent> = events().into_iter().map(told).collect();
    let afterwards = Afterwards {
        outcome: Outcome::Pooled,
        reason: None,
        cleaned_ms: Some(0.5),
    };
    let rest = [
        EventKind::InstanceReturned {
            test: 0,
            instance_id: "redis-1".to_owned(),
            afterwards: afterwards.clone(),
        },
        EventKind::RunFinished {
            kept: everything().kept,
            kept_earlier: Vec::new(),
            leaks: everything().leaks,
        },
    ];
    told.extend(rest.into_iter().map(self::told));
    let mut cache = passed();
    cache.services[0].afterwards = Some(afterwards);
    let expected = RunReport {
        started_at: NOW - milliseconds(7),
        duration: milliseconds(7),
        interrupted_by: Some("SIGINT".to_owned()),
        kept: everything().kept,
        ..report(vec![cache, failed()])
    };
    assert_eq!(report_of(&told), expected);
}

#[test]
fn no_progress_still_warns() {
    assert_eq!(
        lines_of(style(ProgressKind::None), false),
        "warning: the disk is nearly full\n\
         interrupted by SIGINT: stopping what was started\n\
         interrupted again: killing what still runs\n"
    );
}

/// The test's standard error is no terminal under a test harness that captures it; where it is one, a bar is drawn
/// there and only failures are lines.
#[test]
fn a_bar_that_cannot_be_drawn_becomes_lines() {
    let lines = lines_of(style(ProgressKind::Bar), false);
    assert!(lines.contains("FAIL  api"), "{lines}");
    let bar_is_hidden = indicatif::ProgressDrawTarget::stderr().is_hidden();
    assert_eq!(lines.contains("PASS  cache"), bar_is_hidden, "{lines}");
}

#[test]
fn github_gets_an_annotation_per_failed_test() {
    let style = Style {
        github_actions: Some(Checkout {
            workspace: PathBuf::from("/repo"),
            current_dir: PathBuf::from("/repo/back"),
        }),
        ..style(ProgressKind::None)
    };
    let lines = lines_of(style, false);
    assert!(
        lines.ends_with(
            "::error file=back/tests/api.clnrm.toml,title=clnrm%3A api::step `health #1` failed: the output does not match `ok`\n"
        ),
        "{lines}"
    );
    assert_eq!(lines.matches("::error ").count(), 1, "{lines}");
}

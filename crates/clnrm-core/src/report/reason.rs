//! Why tests and steps did not pass, in words.

use std::fmt::Write as _;

use crate::backend::ExitStatus;
use crate::config::definition::ExpectedEnd;
use crate::runner::cause::{
    EndedDuring, MemoryKill, SecondAttempt, StepCause, StepReason, TestCause, TestReason, TextOf,
    Violation, WrongText,
};
use crate::runner::result::{StepStatus, TestReport};

/// The test's own reason and, where that only names a step or service, what happened there; empty = it passed.
pub(super) fn reason(test: &TestReport) -> String {
    let Some(cause) = &test.reason else {
        return String::new();
    };
    let sentence = of_test(cause);
    let part = match &cause.reason {
        TestReason::StepFailed { .. }
        | TestReason::ServiceDied { .. }
        | TestReason::ServiceNotStarted { .. }
        | TestReason::ServiceNotReady { .. } => happened(test),
        _ => None,
    };
    match part {
        Some(part) if !sentence.contains(&part) => format!("{sentence}: {part}"),
        _ => sentence,
    }
}

/// What the first failed service or step says of itself.
fn happened(test: &TestReport) -> Option<String> {
    let service = test.service_failures.first();
    service.map(|failure| failure.message.clone()).or_else(|| {
        let mut failed = (test.steps.iter()).filter(|step| step.status == StepStatus::Failed);
        failed.find_map(|step| step.reason.as_ref().map(of_step))
    })
}

/// Why a test did not pass.
pub(super) fn of_test(cause: &TestCause) -> String {
    let mut text = of_test_reason(&cause.reason);
    for seen in &cause.conditions {
        let _ = write!(text, "; service `{}` is {}", seen.service, seen.condition);
    }
    match &cause.second_attempt {
        None => {}
        Some(SecondAttempt::NotMade { why }) => {
            let why = why.as_deref().map(of_test).unwrap_or_default();
            let _ = write!(text, "; it could not be tried on fresh instances: {why}");
        }
        Some(SecondAttempt::PassedAfterAnEnd { service }) => {
            let _ = write!(
                text,
                "; an instance of `{service}` ended under it, and on fresh ones it passed"
            );
        }
        Some(SecondAttempt::Passed) => {
            text.push_str(" on instances that other tests had used; it passed on fresh ones");
        }
    }
    text
}

fn of_test_reason(reason: &TestReason) -> String {
    match reason {
        TestReason::Interrupted => "interrupted".to_owned(),
        TestReason::FailFast => "an earlier test did not pass (--fail-fast)".to_owned(),
        TestReason::OtherFileUnread => "not run: not every file could be read".to_owned(),
        TestReason::NotRun { message } => message.clone(),
        TestReason::ServiceNotStarted { service } => format!("service `{service}` did not start"),
        TestReason::ServiceNotReady { service, limit } => format!(
            "service `{service}` was not ready when the test's time of {} was up",
            humantime::format_duration(*limit)
        ),
        TestReason::ServiceDied { service } => format!("service `{service}` died"),
        TestReason::TimeUp { limit } => format!(
            "the test's time of {} was up",
            humantime::format_duration(*limit)
        ),
        TestReason::StepFailed { step } => format!("step `{step}` failed"),
        TestReason::TooFewCommands { executed, wanted } => {
            format!("{executed} commands were executed, the assertion wants at least {wanted}")
        }
    }
}

/// Why a step failed or was skipped.
pub(super) fn of_step(cause: &StepCause) -> String {
    let mut text = of_step_reason(&cause.reason);
    for kill in &cause.out_of_memory {
        text.push_str("; ");
        text.push_str(&of_memory_kill(kill));
    }
    text
}

fn of_step_reason(reason: &StepReason) -> String {
    match reason {
        StepReason::TestNotRun { cause } => of_test_reason(cause),
        StepReason::ServicesNotStarted => "its services did not start".to_owned(),
        StepReason::TestEnded => "the test was ended before it".to_owned(),
        StepReason::EarlierStepFailed { step } => format!("step `{step}` failed"),
        StepReason::DependencyNotPassed { step } => {
            format!("step `{step}`, on which it depends, did not pass")
        }
        StepReason::Ended(EndedDuring::Command) => "ended before it was done".to_owned(),
        StepReason::Ended(EndedDuring::Request) => "ended before there was an answer".to_owned(),
        StepReason::Ended(EndedDuring::Pause) => "ended between two attempts".to_owned(),
        StepReason::TimedOut { limit } => format!(
            "still running after {}, so it was ended",
            humantime::format_duration(*limit)
        ),
        StepReason::ContainerEnded { service, how } => {
            format!("the container of `{service}`, in which it ran, {how}")
        }
        StepReason::NoWorkingDirectory { path } => {
            format!("the working directory {} does not exist", path.display())
        }
        StepReason::NoSuchCommand { program, container } => match container {
            Some(service) => format!(
                "the command `{program}` does not exist inside the container of `{service}`, where this step runs"
            ),
            None => format!("the command `{program}` does not exist"),
        },
        StepReason::NotExecutable { program, message } => {
            format!("the command `{program}` cannot be executed: {message}")
        }
        StepReason::WrongEnd { ended, expected } => of_wrong_end(*ended, *expected),
        StepReason::WrongText(wrong) => of_wrong_text(wrong),
        StepReason::WrongStatus { status, expected } => match expected {
            Some(expected) => format!("the status is {status}, expected {expected}"),
            None => format!("the status is {status}, expected 2xx"),
        },
        StepReason::NoHeader { header } => format!("there is no header `{header}`"),
        StepReason::WrongHeader {
            header,
            value,
            pattern,
        } => format!("the header `{header}` is `{value}`, which does not match `{pattern}`"),
        StepReason::Other { message } => message.clone(),
    }
}

fn of_wrong_end(ended: ExitStatus, expected: ExpectedEnd) -> String {
    match (ended, expected) {
        (ExitStatus::Code(code), ExpectedEnd::Code(expected)) => {
            format!("exit code {code}, expected {expected}")
        }
        (ExitStatus::Code(code), ExpectedEnd::Signal(signal)) => {
            format!("exit code {code}, expected {}", ExitStatus::Signal(signal))
        }
        (status, ExpectedEnd::Code(0)) => format!("ended by {status}"),
        (status, ExpectedEnd::Code(code)) => {
            format!("ended by {status}, expected exit code {code}")
        }
        (status, ExpectedEnd::Signal(signal)) => {
            format!("ended by {status}, expected {}", ExitStatus::Signal(signal))
        }
    }
}

fn of_wrong_text(wrong: &WrongText) -> String {
    let expected = &wrong.expected;
    let what = match wrong.of {
        TextOf::Output => "output",
        TextOf::Body => "body",
    };
    let mut text = match wrong.violation {
        Violation::DoesNotContain => format!("the {what} does not contain `{expected}`"),
        Violation::DoesNotMatch => format!("the {what} does not match `{expected}`"),
        Violation::Matches => return format!("the {what} matches `{expected}`, which it must not"),
        Violation::MayMatch => {
            format!("it cannot be said that the {what} never matches `{expected}`")
        }
    };
    if let Some((kept, dropped)) = wrong.cut {
        let _ = write!(
            text,
            " (only its first {kept} bytes were kept, {dropped} more were not looked at)"
        );
    }
    if wrong.without_codes {
        text.push_str("; colour codes and carriage returns are left out: `raw = true` keeps them");
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
fn of_memory_kill(kill: &MemoryKill) -> String {
    let service = &kill.service;
    let ran_out = match kill.memory_bytes {
        Some(bytes) => format!(
            "the container of `{service}` ran out of its {:.0} MB",
            bytes as f64 / 1e6
        ),
        None => format!("the machine ran out of memory for the container of `{service}`"),
    };
    let killed = match kill.processes {
        1 => "1 process of it was".to_owned(),
        many => format!("{many} processes of it were"),
    };
    format!("{ran_out} meanwhile: {killed} killed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_named_beside_the_expected_one() {
        let kill = ExpectedEnd::Signal(9);
        for (ended, expected, sentence) in [
            (
                ExitStatus::Signal(15),
                kill,
                "ended by signal 15 (SIGTERM), expected signal 9 (SIGKILL)",
            ),
            (
                ExitStatus::Code(9),
                kill,
                "exit code 9, expected signal 9 (SIGKILL)",
            ),
            (
                ExitStatus::Signal(9),
                ExpectedEnd::Code(0),
                "ended by signal 9 (SIGKILL)",
            ),
            (
                ExitStatus::Signal(9),
                ExpectedEnd::Code(9),
                "ended by signal 9 (SIGKILL), expected exit code 9",
            ),
        ] {
            let cause = StepCause::from(StepReason::WrongEnd { ended, expected });
            assert_eq!(of_step(&cause), sentence);
        }
    }

    #[test]
    fn a_text_is_told_with_what_was_not_looked_at() {
        let wrong = |violation, cut, without_codes| {
            of_wrong_text(&WrongText {
                of: TextOf::Output,
                violation,
                expected: "^PING".to_owned(),
                cut,
                without_codes,
            })
        };
        assert_eq!(
            wrong(Violation::DoesNotMatch, None, true),
            "the output does not match `^PING`; colour codes and carriage returns are left out: `raw = true` keeps them"
        );
        assert_eq!(
            wrong(Violation::MayMatch, Some((4, 5)), false),
            "it cannot be said that the output never matches `^PING` (only its first 4 bytes were kept, 5 more were not looked at)"
        );
    }

    #[test]
    fn what_was_seen_besides_is_told_with_the_reason() {
        let not_tried = TestCause {
            second_attempt: Some(SecondAttempt::NotMade {
                why: Some(Box::new(TestCause::from(TestReason::ServiceNotStarted {
                    service: "db".to_owned(),
                }))),
            }),
            ..TestCause::from(TestReason::StepFailed {
                step: "ping".to_owned(),
            })
        };
        assert_eq!(
            of_test(&not_tried),
            "step `ping` failed; it could not be tried on fresh instances: service `db` did not start"
        );
        let killed = StepCause {
            reason: StepReason::ServicesNotStarted,
            out_of_memory: vec![MemoryKill {
                service: "db".to_owned(),
                memory_bytes: Some(64_000_000),
                processes: 1,
            }],
        };
        assert_eq!(
            of_step(&killed),
            "its services did not start; the container of `db` ran out of its 64 MB meanwhile: 1 process of it was killed"
        );
    }
}

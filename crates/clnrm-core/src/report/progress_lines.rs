//! What the progress of a run says: one line per event, and the message beside the bar.
//!
//! Deliberately absent: writing and drawing, which are `progress.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::report::human::run::word;
use crate::report::reason::of_step;
use crate::report::style::Paint;
use crate::report::text::safe_line;
use crate::report::units;
use crate::runner::event::EventKind;
use crate::runner::result::{ServiceFailure, StepReport, StepStatus, TestReport};

/// As many running tests as the bar names.
const NAMED_TESTS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lines {
    /// Warnings alone.
    Warnings,
    /// Beside a bar: what failed.
    Failures,
    /// What happens to tests and services.
    Events,
    /// Every step too.
    Steps,
}

#[derive(Debug, Default)]
struct Pull {
    downloaded_bytes: u64,
    waiting: BTreeSet<(usize, String)>,
}

/// What is known of the run so far.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) tests: usize,
    pub(super) finished: usize,
    unsuccessful: usize,
    running: BTreeMap<usize, String>,
    /// Images that are being pulled, with the bytes downloaded so far and the services that wait for them, by test.
    pulling: BTreeMap<String, Pull>,
}

impl Run {
    pub(super) fn apply(&mut self, event: &EventKind) {
        match event {
            EventKind::RunStarted { tests, .. } => self.tests = *tests,
            EventKind::TestStarted { test, name, .. } => {
                self.running.insert(*test, safe_line(name));
            }
            EventKind::TestFinished { test, report } => {
                self.running.remove(test);
                self.finished += 1;
                self.forget_pulls(|waiting, _| waiting == *test);
                self.unsuccessful += usize::from(report.status.is_bad());
            }
            EventKind::ImagePulling {
                test,
                service,
                image,
                downloaded_bytes,
            } => {
                let pull = self.pulling.entry(safe_line(image)).or_default();
                pull.downloaded_bytes = *downloaded_bytes;
                pull.waiting.insert((*test, service.clone()));
            }
            EventKind::ServiceReady { test, service, .. }
            | EventKind::JobDone { test, service, .. } => {
                self.forget_pulls(|waiting, name| waiting == *test && name == service);
            }
            EventKind::ServiceFailed { test, failure } => {
                self.forget_pulls(|waiting, name| waiting == *test && name == failure.service);
            }
            EventKind::TestWaiting { .. }
            | EventKind::ServiceStarting { .. }
            | EventKind::StepStarted { .. }
            | EventKind::StepRetrying { .. }
            | EventKind::StepFinished { .. }
            | EventKind::Warning { .. }
            | EventKind::Interrupted { .. }
            | EventKind::InterruptedAgain
            | EventKind::InstanceReturned { .. }
            | EventKind::RunFinished { .. } => {}
        }
    }

    /// These services, by test and name, wait for no image any more.
    fn forget_pulls(&mut self, are_done: impl Fn(usize, &str) -> bool) {
        self.pulling.retain(|_, pull| {
            pull.waiting.retain(|(test, name)| !are_done(*test, name));
            !pull.waiting.is_empty()
        });
    }

    /// What the bar says beside itself.
    pub(super) fn message(&self) -> String {
        let mut names: Vec<&str> = self.running.values().map(String::as_str).collect();
        let more = names.len().saturating_sub(NAMED_TESTS);
        names.truncate(NAMED_TESTS);
        let mut message = names.join(", ");
        if more > 0 {
            message.push_str(&format!(" and {more} more"));
        }
        for (image, pull) in &self.pulling {
            message.push_str(&format!(
                ", pulling {image} ({})",
                units::memory(megabytes(pull.downloaded_bytes))
            ));
        }
        match self.unsuccessful {
            0 => message,
            failed => format!("({failed} failed) {message}"),
        }
    }

    /// The line of an event, and from which level on it is written. Called before [`Run::apply`].
    pub(super) fn line(&self, event: &EventKind, paint: Paint) -> Option<(Lines, String)> {
        match event {
            EventKind::RunStarted { tests, jobs, .. } => {
                let tests = units::count(*tests, "test");
                let line = format!("running {tests}, at most {jobs} at a time");
                Some((Lines::Events, line))
            }
            EventKind::TestStarted { name, file, .. } => {
                let file = safe_line(&file.to_string_lossy());
                let line = format!("{}: started  ({file})", safe_line(name));
                Some((Lines::Events, line))
            }
            EventKind::TestWaiting { name, port, behind } => {
                let (name, behind) = (safe_line(name), safe_line(behind));
                let line = format!("{name}: waits for port {port}, which {behind} has before it");
                Some((Lines::Steps, line))
            }
            EventKind::TestFinished { report, .. } => Some(self.finished(report, paint)),
            EventKind::Warning { message } => {
                let line = format!("{} {}", paint.warning("warning:"), safe_line(message));
                Some((Lines::Warnings, line))
            }
            EventKind::Interrupted { signal } => {
                let line = format!("interrupted by {signal}: stopping what was started");
                Some((Lines::Warnings, paint.warning(&line)))
            }
            EventKind::InterruptedAgain => {
                let line = "interrupted again: killing what still runs";
                Some((Lines::Warnings, paint.warning(line)))
            }
            EventKind::InstanceReturned { .. } | EventKind::RunFinished { .. } => None,
            EventKind::ImagePulling { image, .. }
                if self.pulling.contains_key(&safe_line(image)) =>
            {
                None
            }
            EventKind::ServiceStarting { test, .. }
            | EventKind::ImagePulling { test, .. }
            | EventKind::ServiceReady { test, .. }
            | EventKind::JobDone { test, .. }
            | EventKind::ServiceFailed { test, .. }
            | EventKind::StepStarted { test, .. }
            | EventKind::StepRetrying { test, .. }
            | EventKind::StepFinished { test, .. } => {
                let (level, text) = within_test(event)?;
                Some((level, format!("{}: {text}", self.name(*test))))
            }
        }
    }

    fn name(&self, test: usize) -> String {
        match self.running.get(&test) {
            Some(name) => name.clone(),
            None => format!("test {}", test + 1),
        }
    }

    fn finished(&self, report: &TestReport, paint: Paint) -> (Lines, String) {
        let level = match report.status.is_bad() {
            true => Lines::Failures,
            false => Lines::Events,
        };
        let line = format!(
            "[{}/{}] {} {} in {}",
            self.finished + 1,
            self.tests,
            word(report.status, paint),
            safe_line(&report.name),
            units::duration(report.duration)
        );
        (level, line)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a download far below 2⁵³ bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What happened to a service or a step of a test.
fn within_test(event: &EventKind) -> Option<(Lines, String)> {
    Some(match event {
        EventKind::ServiceStarting { service, .. } => {
            (Lines::Steps, format!("{} is starting", safe_line(service)))
        }
        EventKind::ImagePulling { service, image, .. } => {
            let (service, image) = (safe_line(service), safe_line(image));
            let text = format!("{service}: the image {image} is not here and is being pulled");
            (Lines::Warnings, text)
        }
        EventKind::ServiceReady {
            service,
            took,
            address,
            ..
        } => (Lines::Events, ready(service, *took, address.as_deref())),
        EventKind::JobDone { service, took, .. } => {
            let (service, took) = (safe_line(service), units::duration(*took));
            (Lines::Events, format!("{service} is done after {took}"))
        }
        EventKind::ServiceFailed { failure, .. } => (Lines::Failures, failed(failure)),
        EventKind::StepStarted {
            step, index, of, ..
        } => {
            let step = safe_line(step);
            (Lines::Steps, format!("step {}/{of} {step}", index + 1))
        }
        EventKind::StepRetrying {
            step,
            attempt,
            max_attempts,
            reason,
            ..
        } => {
            let (step, reason) = (safe_line(step), safe_line(&of_step(reason)));
            let text = format!(
                "step {step}: attempt {attempt} of {max_attempts} failed, trying again: {reason}"
            );
            (Lines::Events, text)
        }
        EventKind::StepFinished { step, .. } => step_finished(step),
        EventKind::RunStarted { .. }
        | EventKind::TestWaiting { .. }
        | EventKind::TestStarted { .. }
        | EventKind::TestFinished { .. }
        | EventKind::Warning { .. }
        | EventKind::Interrupted { .. }
        | EventKind::InterruptedAgain
        | EventKind::InstanceReturned { .. }
        | EventKind::RunFinished { .. } => return None,
    })
}

fn ready(service: &str, took: Duration, address: Option<&str>) -> String {
    let service = safe_line(service);
    let took = units::duration(took);
    match address {
        Some(address) => format!("{service} is ready at {} after {took}", safe_line(address)),
        None => format!("{service} is ready after {took}"),
    }
}

fn step_finished(step: &StepReport) -> (Lines, String) {
    let (level, outcome) = match step.status {
        StepStatus::Passed => (Lines::Steps, "passed"),
        StepStatus::Failed => (Lines::Failures, "failed"),
        StepStatus::Skipped => (Lines::Steps, "skipped"),
    };
    let name = safe_line(&step.name);
    let took = units::duration(step.duration);
    let reason = match &step.reason {
        Some(cause) => format!(": {}", safe_line(&of_step(cause))),
        None => String::new(),
    };
    (level, format!("step {name} {outcome} in {took}{reason}"))
}

fn failed(failure: &ServiceFailure) -> String {
    format!(
        "service {} failed: {}",
        safe_line(&failure.service),
        safe_line(&failure.message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_names_some_running_tests_and_counts_the_rest() {
        let mut run = Run::default();
        assert_eq!(run.message(), "");
        for (test, name) in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
            .into_iter()
            .enumerate()
        {
            run.apply(&EventKind::TestStarted {
                test,
                name: name.to_owned(),
                file: "x.clnrm.toml".into(),
            });
        }
        assert_eq!(run.message(), "a, b, c, d, e, f, g, h and 2 more");
        run.unsuccessful = 1;
        assert_eq!(
            run.message(),
            "(1 failed) a, b, c, d, e, f, g, h and 2 more"
        );
    }

    #[test]
    fn a_pull_is_told_of_until_nobody_waits_for_it() {
        let mut run = Run::default();
        let pulling = |test, service: &str, image: &str| EventKind::ImagePulling {
            test,
            service: service.to_owned(),
            image: image.to_owned(),
            downloaded_bytes: 3_000_000,
        };
        let ready = |test, service: &str| EventKind::ServiceReady {
            test,
            service: service.to_owned(),
            took: Duration::ZERO,
            address: None,
        };
        for event in [
            pulling(0, "cache", "redis"),
            pulling(1, "cache", "redis"),
            pulling(1, "db", "postgres"),
            ready(0, "cache"),
            ready(0, "other"),
        ] {
            run.apply(&event);
        }
        assert_eq!(
            run.message(),
            ", pulling postgres (3MB), pulling redis (3MB)"
        );
        run.apply(&ready(1, "cache"));
        assert_eq!(run.message(), ", pulling postgres (3MB)");
        run.apply(&ready(1, "db"));
        assert_eq!(run.message(), "");
    }
}

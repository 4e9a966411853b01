//! The progress of a run, on standard error, while it goes on.
//!
//! Deliberately absent: results. The report at the end says everything that is said here, in the order of the plan.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::report::github;
use crate::report::human::run::word;
use crate::report::style::{Paint, ProgressKind, Style};
use crate::report::text::safe_line;
use crate::report::units;
use crate::runner::event::{RunEvent, ServiceFailure, StepStatus, TestReport, TestStatus};

/// As many running tests as the bar names.
const NAMED_TESTS: usize = 8;
const BAR: &str = "{spinner} {elapsed} [{bar:24}] {pos}/{len} {wide_msg}";
const REDRAW: Duration = Duration::from_millis(120);

/// Consumes the events of one run.
pub struct Progress<'w> {
    err: &'w mut (dyn Write + Send),
    bar: Option<ProgressBar>,
    lines: Lines,
    paint: Paint,
    github_actions: bool,
    run: Run,
}

/// Which lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lines {
    /// Warnings alone.
    Warnings,
    /// Beside a bar: what failed.
    Failures,
    /// What happens to tests and services.
    Events,
    /// Every step too.
    Steps,
}

/// What is known of the run so far.
#[derive(Debug, Default)]
struct Run {
    tests: usize,
    finished: usize,
    unsuccessful: usize,
    running: BTreeMap<usize, String>,
}

impl<'w> Progress<'w> {
    /// Progress of the given style, with lines written to `err`. A bar always draws on the terminal.
    pub fn new(style: Style, verbose: bool, err: &'w mut (dyn Write + Send)) -> Self {
        let bar = (style.progress == ProgressKind::Bar)
            .then(bar)
            // Hidden = standard error is no terminal after all: lines instead of nothing.
            .filter(|bar| !bar.is_hidden());
        let lines = match style.progress {
            ProgressKind::None => Lines::Warnings,
            ProgressKind::Bar | ProgressKind::Plain if verbose => Lines::Steps,
            ProgressKind::Bar if bar.is_some() => Lines::Failures,
            ProgressKind::Bar | ProgressKind::Plain => Lines::Events,
        };
        Self {
            err,
            bar,
            lines,
            paint: style.stderr,
            github_actions: style.github_actions,
            run: Run::default(),
        }
    }

    /// Shows one event.
    pub fn on_event(&mut self, event: &RunEvent) -> io::Result<()> {
        if let Some((level, line)) = self.run.line(event, self.paint)
            && level <= self.lines
        {
            self.print(&line)?;
        }
        if let RunEvent::TestFinished { report, .. } = event
            && self.github_actions
        {
            self.annotate(report)?;
        }
        self.run.apply(event);
        if let Some(bar) = &self.bar {
            bar.set_length(self.run.tests as u64);
            bar.set_position(self.run.finished as u64);
            bar.set_message(self.run.message());
        }
        Ok(())
    }

    /// Removes the bar, before the report is printed.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    /// `ProgressBar::println` would swallow lines where the bar is hidden: they are written beside it.
    fn print(&mut self, line: &str) -> io::Result<()> {
        let err = &mut *self.err;
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(err, "{line}")),
            None => writeln!(err, "{line}"),
        }
    }

    fn annotate(&mut self, report: &TestReport) -> io::Result<()> {
        let err = &mut *self.err;
        match &self.bar {
            Some(bar) => bar.suspend(|| github::annotation(err, report)),
            None => github::annotation(err, report),
        }
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("lines", &self.lines)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template(BAR)
        .expect("the template is a constant and valid")
        .progress_chars("━╸ ");
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr())
        .with_style(style)
        // Also when it is dropped on the way out of an error.
        .with_finish(ProgressFinish::AndClear);
    if !bar.is_hidden() {
        bar.enable_steady_tick(REDRAW);
    }
    bar
}

impl Run {
    fn apply(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunStarted { tests, .. } => self.tests = *tests,
            RunEvent::TestStarted { test, name, .. } => {
                self.running.insert(*test, safe_line(name));
            }
            RunEvent::TestFinished { test, report } => {
                self.running.remove(test);
                self.finished += 1;
                if matches!(report.status, TestStatus::Failed | TestStatus::Error) {
                    self.unsuccessful += 1;
                }
            }
            RunEvent::ServiceStarting { .. }
            | RunEvent::ServiceReady { .. }
            | RunEvent::ServiceFailed { .. }
            | RunEvent::StepStarted { .. }
            | RunEvent::StepRetrying { .. }
            | RunEvent::StepFinished { .. }
            | RunEvent::Warning { .. }
            | RunEvent::Interrupted { .. } => {}
        }
    }

    /// What the bar says beside itself.
    fn message(&self) -> String {
        let mut names: Vec<&str> = self.running.values().map(String::as_str).collect();
        let more = names.len().saturating_sub(NAMED_TESTS);
        names.truncate(NAMED_TESTS);
        let mut message = names.join(", ");
        if more > 0 {
            message.push_str(&format!(" and {more} more"));
        }
        match self.unsuccessful {
            0 => message,
            failed => format!("({failed} failed) {message}"),
        }
    }

    /// The line of an event, and from which level on it is written. Called before [`Run::apply`].
    fn line(&self, event: &RunEvent, paint: Paint) -> Option<(Lines, String)> {
        match event {
            RunEvent::RunStarted { tests, jobs } => {
                let tests = units::count(*tests, "test");
                let line = format!("running {tests}, at most {jobs} at a time");
                Some((Lines::Events, line))
            }
            RunEvent::TestStarted { name, file, .. } => {
                let file = safe_line(&file.to_string_lossy());
                let line = format!("{}: started  ({file})", safe_line(name));
                Some((Lines::Events, line))
            }
            RunEvent::TestFinished { report, .. } => Some(self.finished(report, paint)),
            RunEvent::Warning { message } => {
                let line = format!("{} {}", paint.warning("warning:"), safe_line(message));
                Some((Lines::Warnings, line))
            }
            RunEvent::Interrupted { signal } => {
                let line = format!("interrupted by {signal}: stopping what was started");
                Some((Lines::Warnings, paint.warning(&line)))
            }
            RunEvent::ServiceStarting { test, .. }
            | RunEvent::ServiceReady { test, .. }
            | RunEvent::ServiceFailed { test, .. }
            | RunEvent::StepStarted { test, .. }
            | RunEvent::StepRetrying { test, .. }
            | RunEvent::StepFinished { test, .. } => {
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
        let level = match report.status {
            TestStatus::Failed | TestStatus::Error => Lines::Failures,
            TestStatus::Passed | TestStatus::Skipped => Lines::Events,
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

/// What happened to a service or a step of a test.
fn within_test(event: &RunEvent) -> Option<(Lines, String)> {
    match event {
        RunEvent::ServiceStarting { service, .. } => {
            let text = format!("{} is starting", safe_line(service));
            Some((Lines::Steps, text))
        }
        RunEvent::ServiceReady {
            service,
            took,
            address,
            ..
        } => {
            let at = match address {
                Some(address) => format!(" at {}", safe_line(address)),
                None => String::new(),
            };
            let took = units::duration(*took);
            let text = format!("{} is ready{at} after {took}", safe_line(service));
            Some((Lines::Events, text))
        }
        RunEvent::ServiceFailed { failure, .. } => Some((Lines::Failures, failed(failure))),
        RunEvent::StepStarted {
            step, index, of, ..
        } => {
            let text = format!("step {}/{of} {}", index + 1, safe_line(step));
            Some((Lines::Steps, text))
        }
        RunEvent::StepRetrying {
            step,
            attempt,
            max_attempts,
            reason,
            ..
        } => {
            let text = format!(
                "step {}: attempt {attempt} of {max_attempts} failed, trying again: {}",
                safe_line(step),
                safe_line(reason)
            );
            Some((Lines::Events, text))
        }
        RunEvent::StepFinished { step, .. } => {
            let (level, outcome) = match step.status {
                StepStatus::Passed => (Lines::Steps, "passed"),
                StepStatus::Failed => (Lines::Failures, "failed"),
                StepStatus::Skipped => (Lines::Steps, "skipped"),
            };
            let took = units::duration(step.duration);
            let mut text = format!("step {} {outcome} in {took}", safe_line(&step.name));
            if let Some(reason) = &step.reason {
                text.push_str(&format!(": {}", safe_line(reason)));
            }
            Some((level, text))
        }
        RunEvent::RunStarted { .. }
        | RunEvent::TestStarted { .. }
        | RunEvent::TestFinished { .. }
        | RunEvent::Warning { .. }
        | RunEvent::Interrupted { .. } => None,
    }
}

fn failed(failure: &ServiceFailure) -> String {
    format!(
        "service {} failed: {}",
        safe_line(&failure.service),
        safe_line(&failure.message)
    )
}

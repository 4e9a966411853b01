//! The progress of a run, on standard error, while it goes on.
//!
//! Deliberately absent: results. The report at the end says everything that is said here, in the order of the plan.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::report::checkout::Checkout;
use crate::report::github;
use crate::report::narrow_terminal::NarrowTerminal;
use crate::report::progress_lines::{Lines, Run};
use crate::report::style::{Paint, ProgressKind, Style};
use crate::runner::event::{EventKind, RunEvent};
use crate::runner::result::TestReport;

const BAR: &str = "{spinner} {elapsed} [{bar:24}] {pos}/{len} {wide_msg}";
const REDRAW: Duration = Duration::from_millis(120);
/// Per second, at most.
const REDRAWS: u8 = 20;

/// Consumes the events of one run.
pub struct Progress<'w> {
    err: &'w mut (dyn Write + Send),
    bar: Option<ProgressBar>,
    lines: Lines,
    paint: Paint,
    github_actions: Option<Checkout>,
    run: Run,
}

impl<'w> Progress<'w> {
    /// Progress of the given style, with lines written to `err`. A bar always draws on the terminal.
    pub fn new(style: Style, verbose: bool, err: &'w mut (dyn Write + Send)) -> Self {
        // Hidden = standard error is no terminal after all: lines instead of nothing.
        let has_bar =
            style.progress == ProgressKind::Bar && !ProgressDrawTarget::stderr().is_hidden();
        let bar = has_bar.then(bar);
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

    pub fn on_event(&mut self, event: &RunEvent) -> io::Result<()> {
        let event = &event.kind;
        if let EventKind::Interrupted { .. } = event
            && let Some(bar) = self.bar.take()
        {
            // The terminal has written `^C` beside the bar: what follows are plain lines.
            bar.finish_and_clear();
        }
        if let Some((level, line)) = self.run.line(event, self.paint)
            && level <= self.lines
        {
            self.print(&line)?;
        }
        if let EventKind::TestFinished { report, .. } = event
            && let Some(checkout) = self.github_actions.clone()
        {
            self.annotate(report, &checkout)?;
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

    fn annotate(&mut self, report: &TestReport, checkout: &Checkout) -> io::Result<()> {
        let err = &mut *self.err;
        match &self.bar {
            Some(bar) => bar.suspend(|| github::annotation(err, report, checkout)),
            None => github::annotation(err, report, checkout),
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
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(NarrowTerminal::stderr()), REDRAWS);
    let bar = ProgressBar::with_draw_target(Some(0), target)
        .with_style(style)
        // Also when it is dropped on the way out of an error.
        .with_finish(ProgressFinish::AndClear);
    bar.enable_steady_tick(REDRAW);
    bar
}

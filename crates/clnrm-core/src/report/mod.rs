//! Everything that is printed. Typed reports come in; text, JSON, JUnit XML and TAP go out.
//!
//! Only this module writes to the standard streams, and only it knows colour and emoji: reports go to standard output,
//! progress and diagnostics to standard error. Deliberately absent: decisions, and any number that a report does not hold.

pub mod checkout;
pub mod file_report;
pub mod github;
pub mod human;
pub mod json;
pub mod junit;
pub mod log_report;
pub mod manage;
mod narrow_terminal;
pub mod progress;
mod progress_lines;
mod reason;
pub mod style;
pub mod tap;
mod text;
mod units;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::manage::ManagePass;
use crate::manage::status_report::{RestartReport, StatusReport, StopReport};
use crate::report::file_report::{InitReport, ValidateReport};
use crate::report::human::View;
use crate::report::log_report::{FollowedLine, LogReport};
use crate::report::manage::document::ManageReport;
use crate::report::progress::Progress;
use crate::report::style::Style;
use crate::runner::result::RunReport;

/// Formats of most reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// Formats of the report of `clnrm run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunFormat {
    #[default]
    Human,
    Json,
    Junit,
    /// TAP version 14.
    Tap,
}

/// The two output streams and how to write to them.
///
/// Every method returns the error of the stream. A reader that went away (`clnrm … | head`) shows as
/// [`ErrorKind::BrokenPipe`], which is no failure of clnrm: see [`unless_closed`].
pub struct Printer<'w> {
    out: &'w mut (dyn Write + Send),
    err: &'w mut (dyn Write + Send),
    style: Style,
    verbose: bool,
}

impl<'w> Printer<'w> {
    /// Prints reports to `out` and everything else to `err`.
    pub fn new(
        out: &'w mut (dyn Write + Send),
        err: &'w mut (dyn Write + Send),
        style: Style,
        verbose: bool,
    ) -> Self {
        Self {
            out,
            err,
            style,
            verbose,
        }
    }

    /// The report of `services ai-manage`.
    pub fn manage(&mut self, pass: &ManagePass, format: Format) -> io::Result<()> {
        let (report, view) = (ManageReport::of(pass), self.view());
        self.report(&report, format, |out| {
            human::manage::manage(out, &report, view)
        })
    }

    /// One report of `services ai-manage --watch`: JSON takes one line each, so that a stream of them can be read.
    pub fn manage_again(&mut self, pass: &ManagePass, format: Format) -> io::Result<()> {
        match format {
            Format::Human => {
                self.text(&format!("── {}\n", pass.generated_at))?;
                self.manage(pass, format)?;
                self.text("\n")
            }
            Format::Json => self.buffered(|out| json::write_line(out, &ManageReport::of(pass))),
        }
    }

    /// The report of `run`.
    pub fn run(&mut self, report: &RunReport, format: RunFormat) -> io::Result<()> {
        let view = self.view();
        self.buffered(|out| match format {
            RunFormat::Human => human::run::run(out, report, view),
            RunFormat::Json => json::write_run(out, report),
            RunFormat::Junit => junit::write(out, report),
            RunFormat::Tap => tap::write(out, report),
        })
    }

    /// The report of `services status`.
    pub fn status(
        &mut self,
        report: &StatusReport,
        now: Timestamp,
        format: Format,
    ) -> io::Result<()> {
        let view = self.view();
        self.report(report, format, |out| {
            human::instances::status(out, report, now, view)
        })
    }

    /// The report of `services stop`.
    pub fn stop(&mut self, report: &StopReport, format: Format) -> io::Result<()> {
        let view = self.view();
        self.report(report, format, |out| {
            human::instances::stop(out, report, view)
        })
    }

    /// The report of `services restart`.
    pub fn restart(&mut self, report: &RestartReport, format: Format) -> io::Result<()> {
        self.report(report, format, |out| human::instances::restart(out, report))
    }

    /// The report of `services logs`.
    pub fn logs(&mut self, report: &LogReport, format: Format) -> io::Result<()> {
        let view = self.view();
        self.report(report, format, |out| human::logs::logs(out, report, view))
    }

    /// One more line of `services logs --follow`; `named` puts the instance in front of it.
    pub fn followed_line(
        &mut self,
        line: FollowedLine<'_>,
        named: bool,
        format: Format,
    ) -> io::Result<()> {
        let view = self.view();
        self.buffered(|out| match format {
            Format::Human => human::logs::line(out, line, named, view),
            Format::Json => json::write_line(out, &line),
        })
    }

    /// The report of `validate`.
    pub fn validate(&mut self, report: &ValidateReport, format: Format) -> io::Result<()> {
        let view = self.view();
        self.report(report, format, |out| {
            human::files::validate(out, report, view)
        })
    }

    /// The report of `init`.
    pub fn init(&mut self, report: &InitReport, format: Format) -> io::Result<()> {
        self.report(report, format, |out| human::files::init(out, report))
    }

    /// Text that is its own report: a completion script, a headline of the demonstration.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.buffered(|out| out.write_all(text.as_bytes()))
    }

    /// An error with its causes and at most one hint, on standard error.
    pub fn error(&mut self, error: &dyn Error, hint: Option<&str>) -> io::Result<()> {
        human::failure::error(self.err, error, hint, self.style.stderr)
    }

    /// Something that the user should know and that is no failure, on standard error.
    pub fn warning(&mut self, message: &str) -> io::Result<()> {
        let label = self.style.stderr.warning("warning:");
        writeln!(self.err, "{label} {}", text::safe_line(message))
    }

    /// What goes on, on standard error.
    pub fn note(&mut self, message: &str) -> io::Result<()> {
        writeln!(self.err, "{}", text::safe_line(message))
    }

    /// Shows the events of a run on standard error.
    pub fn progress(&mut self) -> Progress<'_> {
        Progress::new(self.style.clone(), self.verbose, self.err)
    }

    /// Announces failures to GitHub that no event told of.
    pub fn annotations(&mut self, report: &RunReport) -> io::Result<()> {
        let Some(checkout) = &self.style.github_actions else {
            return Ok(());
        };
        (report.tests.iter()).try_for_each(|test| github::annotation(self.err, test, checkout))
    }

    /// Appends the run to GitHub's step summary. A summary that cannot be written is a warning, never a failure.
    pub fn step_summary(&mut self, file: &Path, report: &RunReport) -> io::Result<()> {
        match github::append_step_summary(file, report) {
            Ok(()) => Ok(()),
            Err(error) => self.warning(&format!(
                "GITHUB_STEP_SUMMARY ({}) was not written: {error}",
                file.display()
            )),
        }
    }

    fn view(&self) -> View {
        View {
            paint: self.style.stdout,
            verbose: self.verbose,
        }
    }

    fn report(
        &mut self,
        report: &impl Serialize,
        format: Format,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        self.buffered(|out| match format {
            Format::Human => human(out),
            Format::Json => json::write(out, report),
        })
    }

    /// One write per report instead of one per line.
    fn buffered(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = BufWriter::new(&mut *self.out);
        write(&mut out)?;
        out.flush()
    }
}

impl fmt::Debug for Printer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer")
            .field("style", &self.style)
            .field("verbose", &self.verbose)
            .finish_non_exhaustive()
    }
}

/// Takes "the reader went away" for success, as `clnrm … | head` means it.
pub fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

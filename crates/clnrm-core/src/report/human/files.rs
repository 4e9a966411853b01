//! The reports of `clnrm validate` and `clnrm init`.

use std::io::{self, Write};

use crate::report::file_report::{CheckedFile, InitReport, ValidateReport};
use crate::report::human::{View, paragraph};
use crate::report::text::safe_line;
use crate::report::units;

/// Writes one line per file, everything that is wrong with it, and the count.
pub fn validate(out: &mut dyn Write, report: &ValidateReport, view: View) -> io::Result<()> {
    for file in &report.files {
        checked(out, file, view)?;
    }
    let invalid = report
        .files
        .iter()
        .filter(|file| !file.errors.is_empty())
        .count();
    let files = units::count(report.files.len(), "file");
    writeln!(
        out,
        "{files}: {} valid, {invalid} invalid",
        report.files.len() - invalid
    )
}

fn checked(out: &mut dyn Write, checked: &CheckedFile, view: View) -> io::Result<()> {
    let file = safe_line(&checked.file.to_string_lossy());
    if !checked.errors.is_empty() {
        writeln!(out, "{} {file}", view.paint.bad("ERROR"))?;
        return checked
            .errors
            .iter()
            .try_for_each(|error| paragraph(out, "      ", "", error));
    }
    let name = safe_line(checked.name.as_deref().unwrap_or_default());
    writeln!(
        out,
        "{} {file}  (test {name}: {}, {})",
        view.paint.good("OK   "),
        units::count(checked.services, "service"),
        units::count(checked.steps, "step")
    )?;
    let label = format!("{} ", view.paint.warning("warning:"));
    (checked.warnings.iter()).try_for_each(|warning| paragraph(out, "      ", &label, warning))
}

/// Says what was written and what to do with it.
pub fn init(out: &mut dyn Write, report: &InitReport) -> io::Result<()> {
    let file = safe_line(&report.file.to_string_lossy());
    let verb = if report.replaced { "Replaced" } else { "Wrote" };
    writeln!(out, "{verb} {file}")?;
    writeln!(out, "Run it: clnrm run {file}")
}

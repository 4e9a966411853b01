//! The report of `clnrm services logs`: the lines themselves, without what could act on the terminal.

use std::io::{self, Write};

use crate::report::human::View;
use crate::report::log_report::{FollowedLine, LogReport};
use crate::report::text::safe_line;

/// Writes the lines; with several instances each line names its own.
pub fn logs(out: &mut dyn Write, report: &LogReport, view: View) -> io::Result<()> {
    let several = report.instances.len() > 1;
    for instance in &report.instances {
        for line in &instance.lines {
            let followed = FollowedLine {
                id: &instance.id,
                line,
            };
            self::line(out, followed, several, view)?;
        }
    }
    Ok(())
}

/// Writes one line, behind its instance's id where `named`.
pub fn line(
    out: &mut dyn Write,
    followed: FollowedLine<'_>,
    named: bool,
    view: View,
) -> io::Result<()> {
    let line = safe_line(followed.line);
    if !named {
        return writeln!(out, "{line}");
    }
    let id = view.paint.faint(&format!("{} |", safe_line(followed.id)));
    writeln!(out, "{id} {line}")
}

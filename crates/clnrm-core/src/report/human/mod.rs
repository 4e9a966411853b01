//! Reports for people. Every function renders one typed report and decides nothing.
//!
//! Emoji are decoration: with them removed each line still says what it says. Text from services, files and
//! logs passes through [`crate::report::text`] on its way out.

pub mod failure;
pub mod files;
pub mod instances;
pub mod logs;
pub mod manage;
mod optimization;
mod prediction;
pub mod run;
mod scaling;
mod service;

use std::io::{self, Write};

use crate::report::style::Paint;
use crate::report::text::safe_lines;

/// The rule below titles: 54 heavy dashes.
pub(crate) const RULE: &str = "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━";

/// How a report is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Colour on the stream that it goes to.
    pub paint: Paint,
    /// `--verbose`: what led to the results too.
    pub verbose: bool,
}

/// A section of the `ai-manage` report: blank line, title, rule.
fn section(out: &mut dyn Write, paint: Paint, title: &str) -> io::Result<()> {
    writeln!(out, "\n{}\n{}", paint.heading(title), paint.faint(RULE))
}

/// `label text`: the first line behind `margin` and label, further ones two columns in. The label is ours (it may be
/// coloured, or empty); the text is made safe.
fn paragraph(out: &mut dyn Write, margin: &str, label: &str, text: &str) -> io::Result<()> {
    let mut lines = safe_lines(text);
    let first = format!("{margin}{label}{}", lines.next().unwrap_or_default());
    writeln!(out, "{}", first.trim_end())?;
    lines.try_for_each(|line| writeln!(out, "{}", format!("{margin}  {line}").trim_end()))
}

/// Each line of `text` behind `margin`; nothing for an empty text.
fn block(out: &mut dyn Write, margin: &str, text: &str) -> io::Result<()> {
    for line in safe_lines(text) {
        writeln!(out, "{}", format!("{margin}{line}").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const PLAIN: View = View {
        paint: Paint::plain(),
        verbose: false,
    };

    pub(crate) const VERBOSE: View = View {
        paint: Paint::plain(),
        verbose: true,
    };

    /// What a report function writes.
    pub(crate) fn rendered(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("writes to memory");
        String::from_utf8(out).expect("reports are UTF-8")
    }

    #[test]
    fn the_rule_has_the_length_that_scripts_know() {
        assert_eq!(RULE.chars().filter(|dash| *dash == '━').count(), 54);
        assert_eq!(RULE.chars().count(), 54);
    }
}

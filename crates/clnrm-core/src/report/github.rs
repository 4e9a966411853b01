//! What GitHub shows of a run besides its log: the step summary (Markdown) and annotations.
//!
//! Syntax: <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::report::human::run::summary;
use crate::report::junit::reason;
use crate::report::text::{safe_line, safe_lines};
use crate::report::units;
use crate::runner::event::{RunReport, TestReport, TestStatus};

/// Appends the run to the file that `GITHUB_STEP_SUMMARY` names.
pub fn append_step_summary(file: &Path, report: &RunReport) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(file)?;
    let mut out = BufWriter::new(file);
    step_summary(&mut out, report)?;
    out.flush()
}

fn step_summary(out: &mut dyn Write, report: &RunReport) -> io::Result<()> {
    let outcome = summary(&report.summary);
    let took = units::duration(report.duration);
    writeln!(out, "### clnrm: {outcome} in {took}\n")?;
    writeln!(out, "| Test | Result | Time | Reason |")?;
    writeln!(out, "|---|---|---|---|")?;
    for test in &report.tests {
        let result = match test.status {
            TestStatus::Passed => "✅ passed",
            TestStatus::Failed => "❌ failed",
            TestStatus::Error => "❌ error",
            TestStatus::Skipped => "⏭️ skipped",
            TestStatus::Contaminated => "❌ contaminated",
        };
        let name = cell(&test.name);
        let took = match test.status {
            TestStatus::Skipped => String::new(),
            TestStatus::Passed
            | TestStatus::Failed
            | TestStatus::Error
            | TestStatus::Contaminated => units::duration(test.duration),
        };
        let reason = cell(&reason(test));
        writeln!(out, "| {name} | {result} | {took} | {reason} |")?;
    }
    writeln!(out)?;
    report.tests.iter().try_for_each(|test| outputs(out, test))
}

/// The log and output tails of a test that did not pass.
fn outputs(out: &mut dyn Write, test: &TestReport) -> io::Result<()> {
    for failure in &test.service_failures {
        let title = format!("{}: log of {}", test.name, failure.service);
        folded(out, &title, &failure.log_tail.join("\n"))?;
    }
    for step in &test.steps {
        if let Some(tail) = &step.output_tail {
            folded(
                out,
                &format!("{}: output of {}", test.name, step.name),
                tail,
            )?;
        }
    }
    Ok(())
}

fn folded(out: &mut dyn Write, title: &str, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<details><summary>{}</summary>\n\n<pre>",
        html(&safe_line(title))
    )?;
    for line in safe_lines(text) {
        // An empty line would end the HTML block (CommonMark §4.6).
        let line = if line.is_empty() { " " } else { &line };
        writeln!(out, "{}", html(line))?;
    }
    writeln!(out, "</pre>\n\n</details>\n")
}

fn cell(text: &str) -> String {
    html(&safe_line(text)).replace('|', "\\|")
}

/// Text without markup: HTML and the characters by which Markdown marks text and links.
fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '*' | '_' | '`' | '[' | ']' | '\\' | '~' | '@' => {
                escaped.push_str(&format!("&#{};", u32::from(character)));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// One `::error` line for a test that failed; nothing for others.
pub(super) fn annotation(out: &mut dyn Write, test: &TestReport) -> io::Result<()> {
    if !matches!(
        test.status,
        TestStatus::Failed | TestStatus::Error | TestStatus::Contaminated
    ) {
        return Ok(());
    }
    writeln!(
        out,
        "::error file={},title={}::{}",
        property(&test.file.to_string_lossy()),
        property(&format!("clnrm: {}", test.name)),
        message(&reason(test))
    )
}

fn message(text: &str) -> String {
    let lines: Vec<String> = safe_lines(text).collect();
    lines.join("\n").replace('%', "%25").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

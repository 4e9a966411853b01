//! What GitHub shows of a run besides its log: the step summary (Markdown) and annotations.
//!
//! Syntax: <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::report::checkout::Checkout;
use crate::report::human::run::{flaky, summary};
use crate::report::reason::reason;
use crate::report::text::{safe_line, safe_lines};
use crate::report::units;
use crate::runner::result::{RunReport, TestReport, TestStatus};

/// GitHub throws a step's whole summary away above this.
const LARGEST_SUMMARY_BYTES: u64 = 1 << 20;
/// Room for the sentence that says what was left out.
const LAST_WORDS_BYTES: usize = 200;

/// Appends the run to the file that `GITHUB_STEP_SUMMARY` names, as far as the step may still write.
///
/// # Errors
/// Those of the file, and that there is no room for as much as a heading.
pub fn append_step_summary(file: &Path, report: &RunReport) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    let room = LARGEST_SUMMARY_BYTES.saturating_sub(file.metadata()?.len());
    let mut summary = Summary {
        text: heading(report),
        room: usize::try_from(room).unwrap_or(usize::MAX),
    };
    if summary.text.len() + LAST_WORDS_BYTES > summary.room {
        return Err(io::Error::other("the step's summary has reached 1 MiB"));
    }
    summary.rows(report);
    summary.outputs(report);
    file.write_all(summary.text.as_bytes())
}

fn heading(report: &RunReport) -> String {
    let outcome = summary(&report.summary);
    let took = units::duration(report.duration);
    format!(
        "### clnrm: {outcome} in {took}\n\n| Test | Result | Time | Reason |\n|---|---|---|---|\n"
    )
}

/// A summary that never grows beyond its room.
struct Summary {
    text: String,
    room: usize,
}

impl Summary {
    /// Adds a part that leaves room for the last words; whether it did.
    fn add(&mut self, part: &str) -> bool {
        let fits = self.text.len() + part.len() + LAST_WORDS_BYTES <= self.room;
        if fits {
            self.text.push_str(part);
        }
        fits
    }

    /// One row per test; where there is no room for all, first of those that did not pass.
    fn rows(&mut self, report: &RunReport) {
        let all: usize = report.tests.iter().map(|test| row(test).len()).sum();
        let mut tests: Vec<&TestReport> = report.tests.iter().collect();
        if self.text.len() + all + LAST_WORDS_BYTES > self.room {
            tests.sort_by_key(|test| !test.status.is_bad());
        }
        let shown = (tests.iter())
            .take_while(|test| self.add(&row(test)))
            .count();
        self.text.push('\n');
        self.left_out(tests.len() - shown, "test");
    }

    /// As many logs and outputs of tests that did not pass as fit.
    fn outputs(&mut self, report: &RunReport) {
        let outputs = report.tests.iter().flat_map(outputs);
        let left_out = outputs.filter(|(title, text)| !self.add_folded(title, text));
        let left_out = left_out.count();
        self.left_out(left_out, "output");
    }

    /// A long text is not even written where there is no room for it.
    fn add_folded(&mut self, title: &str, text: &str) -> bool {
        self.text.len() + text.len() < self.room && self.add(&folded(title, text))
    }

    fn left_out(&mut self, number: usize, what: &str) {
        if number > 0 {
            let what = units::count(number, what);
            self.text
                .push_str(&format!("{what} left out: GitHub shows 1 MiB at most.\n\n"));
        }
    }
}

fn row(test: &TestReport) -> String {
    let result = match test.status {
        TestStatus::Passed if test.is_flaky() => "⚠️ passed, flaky",
        TestStatus::Passed => "✅ passed",
        TestStatus::Failed => "❌ failed",
        TestStatus::Error => "❌ error",
        TestStatus::Skipped => "⏭️ skipped",
        TestStatus::Contaminated => "❌ contaminated",
    };
    let took = match test.status {
        TestStatus::Skipped => String::new(),
        TestStatus::Passed | TestStatus::Failed | TestStatus::Error | TestStatus::Contaminated => {
            units::duration(test.duration)
        }
    };
    let why = flaky_sentence(test).unwrap_or_else(|| reason(test));
    format!(
        "| {} | {result} | {took} | {} |\n",
        cell(&test.name),
        cell(&why)
    )
}

/// What a test that passed only when repeated has to say.
fn flaky_sentence(test: &TestReport) -> Option<String> {
    let (step, earlier_failure) = test.flaky_steps().next().filter(|_| test.is_flaky())?;
    Some(format!(
        "step {} {}",
        step.name,
        flaky(step, earlier_failure)
    ))
}

/// The log and output tails of a test that did not pass, with their titles.
fn outputs(test: &TestReport) -> impl Iterator<Item = (String, Cow<'_, str>)> {
    let logs = test.service_failures.iter().map(|failure| {
        let title = format!("{}: log of {}", test.name, failure.service);
        (title, Cow::Owned(failure.log_tail.join("\n")))
    });
    let outputs = test.steps.iter().filter_map(|step| {
        let title = format!("{}: output of {}", test.name, step.name);
        Some((title, Cow::Borrowed(step.output_tail.as_deref()?)))
    });
    logs.chain(outputs).filter(|(_, text)| !text.is_empty())
}

fn folded(title: &str, text: &str) -> String {
    let title = html(&safe_line(title));
    let mut folded = format!("<details><summary>{title}</summary>\n\n<pre>\n");
    for line in safe_lines(text) {
        // An empty line would end the HTML block (CommonMark §4.6).
        let line = if line.is_empty() { " " } else { &line };
        folded.push_str(&html(line));
        folded.push('\n');
    }
    folded.push_str("</pre>\n\n</details>\n\n");
    folded
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

/// One `::error` line for a test that failed, a `::warning` for one that passed only when repeated, nothing for others.
/// GitHub takes paths from the folder that it checked the repository out to.
pub(super) fn annotation(
    out: &mut dyn Write,
    test: &TestReport,
    checkout: &Checkout,
) -> io::Result<()> {
    let (level, text) = match flaky_sentence(test) {
        Some(text) => ("warning", text),
        None if test.status.is_bad() => ("error", reason(test)),
        None => return Ok(()),
    };
    let file = match test.file.as_os_str().is_empty() {
        true => String::new(),
        false => format!(
            "file={},",
            property(&checkout.path_of(&test.file).to_string_lossy())
        ),
    };
    let title = property(&format!("clnrm: {}", test.name));
    writeln!(out, "::{level} {file}title={title}::{}", message(&text))
}

fn message(text: &str) -> String {
    let lines: Vec<String> = safe_lines(text).collect();
    lines.join("\n").replace('%', "%25").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

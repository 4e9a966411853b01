//! `clnrm run --format junit`: JUnit XML in the dialect that Jenkins reads.
//!
//! One `testsuite` per file and one `testcase` per test, so that its counts are those of every other format. `failure` = a
//! step or an assertion, `error` = a service or clnrm itself; its text is what the verbose human report says.
//! Schema: <https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd>.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::report::human::View;
use crate::report::human::run::{flaky, test_details};
use crate::report::reason::reason;
use crate::report::style::Paint;
use crate::report::text::xml_characters;
use crate::runner::result::{RunReport, TestReport, TestStatus};

/// Where an error belongs that is no file's; readers of JUnit refuse an empty name.
const NO_FILE: &str = "clnrm";

pub fn write(out: &mut dyn Write, report: &RunReport) -> io::Result<()> {
    let everything: Vec<&TestReport> = report.tests.iter().collect();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="clnrm" {} time="{}" timestamp="{}">"#,
        counts(&everything),
        seconds(report.duration),
        report.started_at
    )?;
    for (file, tests) in by_file(&report.tests) {
        suite(out, file, &tests)?;
    }
    writeln!(out, "</testsuites>")
}

/// The tests of each file, in the order in which the files first occur.
fn by_file(tests: &[TestReport]) -> Vec<(&Path, Vec<&TestReport>)> {
    let mut files: Vec<(&Path, Vec<&TestReport>)> = Vec::new();
    for test in tests {
        match files.iter_mut().find(|(file, _)| *file == test.file) {
            Some((_, tests)) => tests.push(test),
            None => files.push((&test.file, vec![test])),
        }
    }
    files
}

fn counts(tests: &[&TestReport]) -> String {
    let number = |status| tests.iter().filter(|test| test.status == status).count();
    format!(
        r#"tests="{}" failures="{}" errors="{}" skipped="{}""#,
        tests.len(),
        number(TestStatus::Failed) + number(TestStatus::Contaminated),
        number(TestStatus::Error),
        number(TestStatus::Skipped)
    )
}

fn suite(out: &mut dyn Write, file: &Path, tests: &[&TestReport]) -> io::Result<()> {
    let time: Duration = tests.iter().map(|test| test.duration).sum();
    writeln!(
        out,
        r#"  <testsuite name="{}" {} time="{}">"#,
        match file.as_os_str().is_empty() {
            true => NO_FILE.to_owned(),
            false => attribute(&file.to_string_lossy()),
        },
        counts(tests),
        seconds(time)
    )?;
    for test in tests {
        case(out, test)?;
    }
    writeln!(out, "  </testsuite>")
}

fn case(out: &mut dyn Write, test: &TestReport) -> io::Result<()> {
    let (class, file) = match test.file.as_os_str().is_empty() {
        true => (NO_FILE.to_owned(), String::new()),
        false => (
            attribute(&class_name(&test.file)),
            format!(r#" file="{}""#, attribute(&test.file.to_string_lossy())),
        ),
    };
    write!(
        out,
        r#"    <testcase name="{}" classname="{class}"{file} time="{}""#,
        attribute(&test.name),
        seconds(test.duration)
    )?;
    let reason = attribute(&reason(test));
    match test.status {
        TestStatus::Passed if !test.is_flaky() => return writeln!(out, "/>"),
        TestStatus::Passed => flaky_steps(out, test)?,
        TestStatus::Skipped => writeln!(out, ">\n      <skipped message=\"{reason}\"/>")?,
        TestStatus::Failed | TestStatus::Contaminated => {
            unsuccessful(out, "failure", &reason, test)?;
        }
        TestStatus::Error => unsuccessful(out, "error", &reason, test)?,
    }
    writeln!(out, "    </testcase>")
}

/// What Surefire writes of a test that passed when repeated; Jenkins and GitLab count it as passed.
fn flaky_steps(out: &mut dyn Write, test: &TestReport) -> io::Result<()> {
    writeln!(out, ">")?;
    test.flaky_steps().try_for_each(|(step, earlier_failure)| {
        let text = format!("step {} {}", step.name, flaky(step, earlier_failure));
        let message = attribute(&text);
        writeln!(
            out,
            "      <flakyFailure message=\"{message}\" type=\"flaky\"/>"
        )
    })
}

fn unsuccessful(
    out: &mut dyn Write,
    element: &str,
    reason: &str,
    test: &TestReport,
) -> io::Result<()> {
    let details = text(&details(test)?);
    writeln!(
        out,
        ">\n      <{element} message=\"{reason}\" type=\"{element}\">{details}</{element}>"
    )
}

/// Services, steps and outputs as the verbose human report shows them.
fn details(test: &TestReport) -> io::Result<String> {
    let view = View {
        paint: Paint::plain(),
        verbose: true,
    };
    let mut details = Vec::new();
    test_details(&mut details, test, "", view)?;
    Ok(String::from_utf8_lossy(&details).into_owned())
}

/// `tests/api.clnrm.toml` → `tests.api`: dots are what Jenkins takes packages apart by.
fn class_name(file: &Path) -> String {
    let path = file.to_string_lossy();
    let stem = path
        .strip_suffix(".clnrm.toml")
        .or_else(|| path.strip_suffix(".toml"))
        .unwrap_or(&path);
    stem.trim_start_matches(['.', '/']).replace('/', ".")
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

fn text(raw: &str) -> String {
    xml_characters(raw)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn attribute(raw: &str) -> String {
    // A raw line break in an attribute is read back as a space.
    text(raw)
        .replace('"', "&quot;")
        .replace('\n', "&#10;")
        .replace('\t', "&#9;")
}

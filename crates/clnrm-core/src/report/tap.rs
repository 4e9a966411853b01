//! `clnrm run --format tap`: TAP version 14, one test point per test, its steps as a subtest.
//!
//! Specification: <https://testanything.org/tap-version-14-specification.html>.

use std::io::{self, Write};

use serde_json::Value;

use crate::report::human::run::flaky;
use crate::report::reason::{of_step, reason};
use crate::report::text::{safe_line, safe_lines};
use crate::report::units;
use crate::runner::result::{RunReport, StepReport, StepStatus, TestReport, TestStatus};

pub fn write(out: &mut dyn Write, report: &RunReport) -> io::Result<()> {
    writeln!(out, "TAP version 14")?;
    match report.tests.len() {
        0 => writeln!(out, "1..0 # SKIP no tests")?,
        number => writeln!(out, "1..{number}")?,
    }
    for (index, test) in report.tests.iter().enumerate() {
        steps(out, test)?;
        self::test(out, index + 1, test)?;
    }
    match &report.interrupted_by {
        Some(signal) => writeln!(out, "Bail out! interrupted by {signal}"),
        None => Ok(()),
    }
}

fn test(out: &mut dyn Write, number: usize, test: &TestReport) -> io::Result<()> {
    let name = escaped(&test.name);
    let why = escaped(&reason(test));
    match test.status {
        TestStatus::Passed if test.is_flaky() => {
            writeln!(out, "ok {number} - {name}")?;
            writeln!(out, "# flaky: a step of {name} passed only when repeated")
        }
        TestStatus::Passed => writeln!(out, "ok {number} - {name}"),
        TestStatus::Skipped => writeln!(out, "ok {number} - {name} # SKIP {why}"),
        TestStatus::Failed | TestStatus::Error | TestStatus::Contaminated => {
            writeln!(out, "not ok {number} - {name}")?;
            diagnostics(out, test)
        }
    }
}

fn steps(out: &mut dyn Write, test: &TestReport) -> io::Result<()> {
    if test.steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "# Subtest: {}", escaped(&test.name))?;
    writeln!(out, "    1..{}", test.steps.len())?;
    for (index, step) in test.steps.iter().enumerate() {
        self::step(out, index + 1, step)?;
    }
    Ok(())
}

fn step(out: &mut dyn Write, number: usize, step: &StepReport) -> io::Result<()> {
    let name = escaped(&step.name);
    let reason = step.reason.as_ref().map(of_step).unwrap_or_default();
    match step.status {
        StepStatus::Passed => {
            writeln!(out, "    ok {number} - {name}")?;
            match &step.earlier_failure {
                Some(earlier) => writeln!(out, "    # {name} {}", escaped(&flaky(step, earlier))),
                None => Ok(()),
            }
        }
        StepStatus::Skipped => {
            writeln!(out, "    ok {number} - {name} # SKIP {}", escaped(&reason))
        }
        StepStatus::Failed => {
            writeln!(out, "    not ok {number} - {name}")?;
            writeln!(out, "      ---")?;
            scalar(out, "      message", &reason)?;
            scalar(out, "      duration", &units::duration(step.duration))?;
            let tail = step.output_tail.as_deref().unwrap_or_default();
            list(out, "      output", safe_lines(tail))?;
            writeln!(out, "      ...")
        }
    }
}

fn diagnostics(out: &mut dyn Write, test: &TestReport) -> io::Result<()> {
    let severity = match test.status {
        TestStatus::Error => "error",
        TestStatus::Contaminated => "contaminated",
        TestStatus::Passed | TestStatus::Failed | TestStatus::Skipped => "fail",
    };
    writeln!(out, "  ---")?;
    scalar(out, "  message", &reason(test))?;
    scalar(out, "  severity", severity)?;
    if !test.file.as_os_str().is_empty() {
        scalar(out, "  file", &test.file.to_string_lossy())?;
    }
    scalar(out, "  duration", &units::duration(test.duration))?;
    if !test.service_failures.is_empty() {
        writeln!(out, "  services:")?;
    }
    for failure in &test.service_failures {
        scalar(out, "    - service", &failure.service)?;
        scalar(out, "      message", &failure.message)?;
        let tail = failure.log_tail.iter().map(|line| safe_line(line));
        list(out, "      log", tail)?;
    }
    writeln!(out, "  ...")
}

/// `key: "value"`. A JSON string is a YAML scalar (YAML 1.2 §1.3).
fn scalar(out: &mut dyn Write, key: &str, value: &str) -> io::Result<()> {
    let lines: Vec<String> = safe_lines(value).collect();
    writeln!(out, "{key}: {}", Value::from(lines.join("\n")))
}

fn list(out: &mut dyn Write, key: &str, lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "{key}:")?;
    let indentation = key.len() - key.trim_start().len();
    for line in lines {
        writeln!(out, "{:indentation$}  - {}", "", Value::from(line))?;
    }
    Ok(())
}

/// A description: `#` would begin a directive.
fn escaped(text: &str) -> String {
    safe_line(text).replace('\\', "\\\\").replace('#', "\\#")
}

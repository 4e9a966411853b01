//! The report at the end of `clnrm run`: tests in the order of the plan, then what became of the run.

use std::io::{self, Write};

use crate::lifecycle::stopped::LeakReport;
use crate::report::human::{View, block, failure, paragraph};
use crate::report::reason::{of_step, of_test};
use crate::report::style::Paint;
use crate::report::text::safe_line;
use crate::report::units;
use crate::runner::cause::StepCause;
use crate::runner::result::{
    InstanceOrigin, Outcome, RunReport, RunSummary, ServiceUse, StepReport, StepStatus, TestReport,
    TestStatus,
};

const MARGIN: &str = "      ";

/// Writes the whole report.
pub fn run(out: &mut dyn Write, report: &RunReport, view: View) -> io::Result<()> {
    for test in &report.tests {
        self::test(out, test, view)?;
    }
    if !report.tests.is_empty() {
        writeln!(out)?;
    }
    let outcome = summary(&report.summary);
    let painted = if report.summary.failed + report.summary.errors + report.summary.contaminated > 0
    {
        view.paint.bad(&outcome)
    } else {
        view.paint.heading(&outcome)
    };
    writeln!(out, "{painted} in {}", units::duration(report.duration))?;
    if let Some(signal) = &report.interrupted_by {
        writeln!(out, "interrupted by {signal}")?;
    }
    kept(out, report)?;
    leaks(out, &report.leaks, view.paint)
}

/// `3 tests: 2 passed, 1 failed`; what did not occur is left out.
pub(crate) fn summary(summary: &RunSummary) -> String {
    let RunSummary {
        passed,
        failed,
        errors,
        skipped,
        contaminated,
        flaky,
    } = *summary;
    let total = passed + failed + errors + skipped + contaminated;
    if total == 0 {
        return "0 tests".to_owned();
    }
    let parts: Vec<String> = [
        (passed, format!("{passed} passed{}", flaky_note(flaky))),
        (failed, format!("{failed} failed")),
        (errors, units::count(errors, "error")),
        (contaminated, format!("{contaminated} contaminated")),
        (skipped, format!("{skipped} skipped")),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(_, text)| text)
    .collect();
    format!("{}: {}", units::count(total, "test"), parts.join(", "))
}

fn flaky_note(flaky: usize) -> String {
    match flaky {
        0 => String::new(),
        number => format!(" ({number} flaky)"),
    }
}

/// `passed at attempt 2, flaky: exit code 1, expected 0`.
pub(crate) fn flaky(step: &StepReport, earlier_failure: &StepCause) -> String {
    format!(
        "passed at attempt {}, flaky: {}",
        step.attempts,
        of_step(earlier_failure)
    )
}

/// The word for a status, five columns wide.
pub(crate) fn word(status: TestStatus, paint: Paint) -> String {
    match status {
        TestStatus::Passed => paint.good("PASS "),
        TestStatus::Failed => paint.bad("FAIL "),
        TestStatus::Error => paint.bad("ERROR"),
        TestStatus::Skipped => paint.warning("SKIP "),
        TestStatus::Contaminated => paint.bad("DIRTY"),
    }
}

fn test(out: &mut dyn Write, test: &TestReport, view: View) -> io::Result<()> {
    let name = safe_line(&test.name);
    let file = safe_line(&test.file.to_string_lossy());
    let word = word(test.status, view.paint);
    let file = view.paint.faint(&format!("({file})"));
    match test.status {
        TestStatus::Skipped => writeln!(out, "{word} {name}  {file}")?,
        TestStatus::Passed | TestStatus::Failed | TestStatus::Error | TestStatus::Contaminated => {
            writeln!(
                out,
                "{word} {name}  {file}  {}",
                units::duration(test.duration)
            )?;
        }
    }
    test_details(out, test, MARGIN, view)
}

/// Writes what lies under a test's own line: its reason, services and steps.
pub(crate) fn test_details(
    out: &mut dyn Write,
    test: &TestReport,
    margin: &str,
    view: View,
) -> io::Result<()> {
    if let Some(cause) = &test.reason {
        paragraph(out, margin, "", &of_test(cause))?;
    }
    for suspect in &test.suspects {
        let run = match &suspect.run_id {
            Some(run) => format!(" of run {run}"),
            None => String::new(),
        };
        writeln!(
            out,
            "{margin}  suspect: `{}`{run} had {} from {}",
            safe_line(&suspect.test),
            safe_line(&suspect.instance_id),
            suspect.leased_at
        )?;
    }
    for failure in &test.service_failures {
        failure::service(out, failure, margin, view.paint)?;
    }
    conditions(out, test, margin, view.paint)?;
    if view.verbose {
        services(out, test, margin)?;
    }
    test.steps
        .iter()
        .try_for_each(|step| self::step(out, step, margin, view))
}

/// Where the reason does not say it: a test may pass although a service of it is not well.
fn conditions(
    out: &mut dyn Write,
    test: &TestReport,
    margin: &str,
    paint: Paint,
) -> io::Result<()> {
    if test.reason.is_some() {
        return Ok(());
    }
    for service in &test.services {
        if let Some(condition) = &service.condition {
            let line = format!("service {} is {condition}", safe_line(&service.service));
            writeln!(out, "{margin}{}", paint.warning(&line))?;
        }
    }
    Ok(())
}

fn services(out: &mut dyn Write, test: &TestReport, margin: &str) -> io::Result<()> {
    for service in &test.services {
        let at = match &service.address {
            Some(address) => format!(" at {}", safe_line(address)),
            None => String::new(),
        };
        writeln!(
            out,
            "{margin}{} {} ({}) {}{at}{}{}",
            if service.job { "job" } else { "service" },
            safe_line(&service.service),
            safe_line(&service.instance_id),
            how_it_came(service),
            how_it_ended(service),
            what_became_of_it(service),
        )?;
    }
    Ok(())
}

/// A job always ends, and its line says so.
fn how_it_ended(service: &ServiceUse) -> String {
    match &service.ended {
        Some(how) if !service.job => format!("; ended with {}", safe_line(how)),
        Some(_) | None => String::new(),
    }
}

fn how_it_came(service: &ServiceUse) -> String {
    if service.job {
        return format!("done in {} ms", service.ready_ms);
    }
    match (service.origin, service.warm, service.verified_ms) {
        (InstanceOrigin::Reused, _, Some(verified)) => {
            format!(
                "reused and verified in {:.1} ms",
                verified + service.lease_ms
            )
        }
        (InstanceOrigin::Reused, _, None) => format!("reused in {:.1} ms", service.lease_ms),
        (InstanceOrigin::Fresh, true, _) => format!("fresh, warm in {:.1} ms", service.lease_ms),
        (InstanceOrigin::Fresh, false, _) => format!("fresh, ready in {} ms", service.ready_ms),
    }
}

fn what_became_of_it(service: &ServiceUse) -> String {
    let Some(afterwards) = &service.afterwards else {
        return String::new();
    };
    let outcome = match afterwards.outcome {
        Outcome::Pooled => return String::new(),
        Outcome::Stopped => "stopped afterwards",
        Outcome::Quarantined => "quarantined and replaced",
    };
    match &afterwards.reason {
        Some(reason) => format!("; {outcome}: {}", safe_line(reason)),
        None => format!("; {outcome}"),
    }
}

fn step(out: &mut dyn Write, step: &StepReport, margin: &str, view: View) -> io::Result<()> {
    let name = safe_line(&step.name);
    let took = units::duration(step.duration);
    let reason = step.reason.as_ref().map(of_step).unwrap_or_default();
    if let Some(earlier_failure) = &step.earlier_failure {
        let text = format!("step {name} {}", flaky(step, earlier_failure));
        return paragraph(out, margin, "", &text);
    }
    match step.status {
        StepStatus::Passed if view.verbose => {
            writeln!(out, "{margin}step {name} passed in {took}")
        }
        StepStatus::Skipped if view.verbose => {
            paragraph(out, margin, "", &format!("step {name} skipped: {reason}"))
        }
        StepStatus::Passed | StepStatus::Skipped => Ok(()),
        StepStatus::Failed => {
            let headline = format!("step {name} failed in {took}{}: {reason}", attempts(step));
            paragraph(out, margin, "", headline.trim_end_matches(": "))?;
            let tail = step.output_tail.as_deref().unwrap_or_default();
            block(out, &format!("{margin}  | "), tail)
        }
    }
}

fn attempts(step: &StepReport) -> String {
    if step.attempts > 1 {
        format!(" after {} attempts", step.attempts)
    } else {
        String::new()
    }
}

fn kept(out: &mut dyn Write, report: &RunReport) -> io::Result<()> {
    let ended_at = report.started_at + report.duration;
    let groups = [
        ("still running:", &report.kept),
        ("still running, from earlier runs:", &report.kept_earlier),
    ];
    for (heading, services) in groups {
        if !services.is_empty() {
            writeln!(out, "{heading}")?;
        }
        for service in services {
            let name = safe_line(&service.service);
            let at = match &service.address {
                Some(address) => format!(" at {}", safe_line(address)),
                None => String::new(),
            };
            let warm = match service.warm_until {
                Some(until) => format!("  (warm for {})", units::age(until.since(ended_at))),
                None => String::new(),
            };
            writeln!(out, "  {name}{at}{warm}")?;
        }
    }
    if groups.iter().all(|(_, services)| services.is_empty()) {
        return Ok(());
    }
    writeln!(out, "  stop them with: clnrm services stop --all")
}

/// `9 processes, 3 containers`.
pub(crate) fn checked(leaks: &LeakReport) -> String {
    let processes = match leaks.processes_checked {
        1 => "1 process".to_owned(),
        number => format!("{number} processes"),
    };
    match (leaks.processes_checked, leaks.containers_checked) {
        (_, 0) => processes,
        (0, 1) => "1 container".to_owned(),
        (0, number) => format!("{number} containers"),
        (_, 1) => format!("{processes}, 1 container"),
        (_, number) => format!("{processes}, {number} containers"),
    }
}

/// What the sweep at the end looked at and found.
pub(super) fn leaks(out: &mut dyn Write, leaks: &LeakReport, paint: Paint) -> io::Result<()> {
    let line = format!("{} leaked ({} checked)", leaks.leaked.len(), checked(leaks));
    if let Some(why) = &leaks.unchecked {
        let line = format!("containers could not be checked: {}", safe_line(why));
        writeln!(out, "{}", paint.warning(&line))?;
    }
    if leaks.leaked.is_empty() {
        return writeln!(out, "{line}");
    }
    writeln!(out, "{}", paint.bad(&format!("{line}, ended now:")))?;
    for process in &leaks.leaked {
        writeln!(out, "  {}", safe_line(process))?;
    }
    Ok(())
}

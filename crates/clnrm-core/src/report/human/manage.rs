//! The `ai-manage` report. Wording, order, indentation and emoji of its lines are those of the specification's
//! examples; what we add follows on those lines or on lines of its own below them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::report::human::service::{score, title};
use crate::report::human::{RULE, View, optimization, prediction, scaling, section};
use crate::report::manage::document::{ManageReport, ServiceReport, ServiceState};
use crate::report::manage::metric::words;
use crate::report::text::safe_line;
use crate::report::units;
use crate::services::service_manager::{Metric, ServiceMetrics};

/// `ai-manage` takes a sample before it reports: a running service whose newest one is older than this could
/// not be sampled, and the report says how old its numbers are.
const FRESH: Duration = Duration::from_secs(30);

pub fn manage(out: &mut dyn Write, report: &ManageReport, view: View) -> io::Result<()> {
    let paint = view.paint;
    writeln!(out, "{}", paint.heading("🤖 AI Service Management"))?;
    writeln!(out, "{}", paint.faint(RULE))?;
    writeln!(out, "\n📊 Collecting service metrics...")?;
    if report.services.is_empty() {
        return no_history(out);
    }
    for service in &report.services {
        collected(out, report.generated_at, service, view)?;
    }
    alerts(out, report, view)?;
    prediction::section_of(out, report, view)?;
    scaling::section_of(out, report, view)?;
    optimization::pools(out, report, view)?;
    optimization::recommendations(out, report, view)?;
    feature_hint(out, report)
}

fn no_history(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  No service of this project has been measured yet.")?;
    writeln!(
        out,
        "\n💡 Run a test that starts services, then ask again (their history stays when they stop):"
    )?;
    writeln!(out, "     clnrm run tests/")?;
    writeln!(
        out,
        "     clnrm services ai-manage --predict-load --auto-scale --optimize-resources"
    )?;
    writeln!(
        out,
        "   No test file yet? `clnrm init` writes one that runs as it stands."
    )
}

/// Says which parts there are when none was asked for.
fn feature_hint(out: &mut dyn Write, report: &ManageReport) -> io::Result<()> {
    let asked = report.recommendations.is_some()
        || report.services.iter().any(|service| {
            service.prediction.is_some() || service.scaling.is_some() || service.pool.is_some()
        });
    if asked {
        return Ok(());
    }
    writeln!(
        out,
        "\n💡 Ask for more with --predict-load, --auto-scale or --optimize-resources (together, if you like)."
    )
}

fn collected(
    out: &mut dyn Write,
    now: Timestamp,
    service: &ServiceReport,
    view: View,
) -> io::Result<()> {
    let title = title(service);
    let Some(current) = &service.current else {
        let reason = match service.state {
            ServiceState::Running => "not measured yet",
            ServiceState::Stopped => "never measured, and stopped",
        };
        return writeln!(out, "  ✗ {title} - no metrics: {reason}");
    };
    let mut absence = Absence::of(service);
    let shown = [Metric::CpuPercent, Metric::MemoryMb, Metric::RequestRate]
        .map(|metric| absence.explained(metric, current.get(metric)));
    let notes = notes(now, service, current);
    writeln!(out, "  ✓ {title} - {}{notes}", shown.join(", "))?;
    if view.verbose {
        details(out, service, current, &mut absence)?;
    }
    Ok(())
}

/// What the reader must know to read the numbers of the line rightly.
fn notes(now: Timestamp, service: &ServiceReport, current: &ServiceMetrics) -> String {
    let age = now.since(current.sampled_at);
    let ahead = current.sampled_at.since(now);
    let distance = if ahead > Duration::ZERO {
        format!("{} ahead of this clock", units::age(ahead))
    } else {
        format!("{} ago", units::age(age))
    };
    let last_sample = format!(
        "last sample {}, {distance}",
        units::moment(current.sampled_at)
    );
    let mut notes = Vec::new();
    match service.state {
        ServiceState::Stopped => notes.push(format!("stopped; {last_sample}")),
        ServiceState::Running if age > FRESH || ahead > FRESH => notes.push(last_sample),
        ServiceState::Running => {}
    }
    if service.instances > 1 {
        notes.push(format!(
            "{} instances; CPU and memory are per instance",
            service.instances
        ));
    }
    if notes.is_empty() {
        String::new()
    } else {
        format!("  ({})", notes.join("; "))
    }
}

/// `--verbose`: the rest of the sample, its health and where the numbers are from.
fn details(
    out: &mut dyn Write,
    service: &ServiceReport,
    current: &ServiceMetrics,
    absence: &mut Absence<'_>,
) -> io::Result<()> {
    for line in [
        [Metric::ResponseTimeMs, Metric::ErrorRate],
        [Metric::ActiveConnections, Metric::NetworkMbPerS],
    ] {
        let shown = line.map(|metric| absence.value(metric, current.get(metric)));
        writeln!(out, "     {}", shown.join(", "))?;
    }
    writeln!(out, "     Health now: {}", score(&service.health.current))?;
    let mut sources: Vec<String> = service
        .sources
        .measured()
        .map(|(metric, source)| format!("{} from {source}", metric.name()))
        .collect();
    if !sources.is_empty() {
        sources.sort_unstable();
        writeln!(out, "     Sources: {}", safe_line(&sources.join(", ")))?;
    }
    Ok(())
}

fn alerts(out: &mut dyn Write, report: &ManageReport, view: View) -> io::Result<()> {
    let mut alerts = report
        .services
        .iter()
        .flat_map(|service| service.alerts.iter().map(move |alert| (service, alert)))
        .peekable();
    if alerts.peek().is_none() {
        return Ok(());
    }
    section(out, view.paint, "🚨 Alerts:")?;
    for (service, alert) in alerts {
        let line = format!("{} - {}", title(service), safe_line(alert));
        writeln!(out, "  {}", view.paint.warning(&line))?;
    }
    Ok(())
}

/// Prints `n/a` with its reason.
struct Absence<'a> {
    service: &'a ServiceReport,
    said: BTreeSet<String>,
}

impl<'a> Absence<'a> {
    fn of(service: &'a ServiceReport) -> Self {
        Self {
            service,
            said: BTreeSet::new(),
        }
    }

    fn reason(&self, metric: Metric) -> Option<String> {
        let mut absent = self.service.sources.absent();
        let (_, reason) = absent.find(|(of, _)| *of == metric)?;
        Some(reason.to_string())
    }

    /// With its label, and always with the reason.
    fn explained(&mut self, metric: Metric, value: Option<f64>) -> String {
        let words = words(metric);
        let value = value.map_or_else(
            || {
                let reason = self.reason(metric);
                let reason = reason.unwrap_or_else(|| "the reason was not recorded".to_owned());
                let shown = format!("n/a ({})", safe_line(&reason));
                self.said.insert(reason);
                shown
            },
            |value| words.value(value),
        );
        format!("{}: {value}", words.label)
    }

    /// With its label, and with the reason where there is one that was not said before.
    fn value(&mut self, metric: Metric, value: Option<f64>) -> String {
        match (value, self.reason(metric)) {
            (None, None) => format!("{}: n/a", words(metric).label),
            (None, Some(reason)) if self.said.contains(&reason) => {
                format!("{}: n/a", words(metric).label)
            }
            _ => self.explained(metric, value),
        }
    }
}

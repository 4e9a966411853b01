//! The `ai-manage` report. Wording, order, indentation and emoji of its lines are those of the specification's
//! examples; what we add follows on those lines or on lines of its own below them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::manage::manage_report::{
    CurrentMetrics, HealthValue, ManageReport, ServiceReport, ServiceState,
};
use crate::report::human::{RULE, View, optimization, prediction, scaling, section};
use crate::report::text::safe_line;
use crate::report::units;

/// `ai-manage` takes a sample before it reports: a running service whose newest one is older than this could
/// not be sampled, and the report says how old its numbers are.
const FRESH: Duration = Duration::from_secs(30);

/// Writes the whole report.
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

/// The service's name, with its file where two services share the name.
pub(super) fn title(service: &ServiceReport) -> String {
    let name = safe_line(&service.name);
    match &service.file {
        Some(file) => format!("{name} ({})", safe_line(file)),
        None => name,
    }
}

/// A score with what it was made of.
pub(super) fn score(health: &HealthValue) -> String {
    let Some(score) = health.score else {
        return "n/a  (nothing was measured)".to_owned();
    };
    if health.used.is_empty() {
        return format!("{score:.1}/100");
    }
    format!("{score:.1}/100  (from {})", health.used.join(", "))
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
    let cpu = absence.explained("cpu_percent", current.cpu_percent, units::cpu);
    let memory = absence.explained("memory_mb", current.memory_mb, units::memory);
    let rate = absence.explained("request_rate", current.request_rate, units::rate);
    let notes = notes(now, service, current);
    writeln!(
        out,
        "  ✓ {title} - CPU: {cpu}, Memory: {memory}, RPS: {rate}{notes}"
    )?;
    if view.verbose {
        details(out, service, current, &mut absence)?;
    }
    Ok(())
}

/// What the reader must know to read the numbers of the line rightly.
fn notes(now: Timestamp, service: &ServiceReport, current: &CurrentMetrics) -> String {
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
    current: &CurrentMetrics,
    absence: &mut Absence<'_>,
) -> io::Result<()> {
    let milliseconds = |value: f64| format!("{value:.1} ms");
    let response = absence.value("response_time_ms", current.response_time_ms, milliseconds);
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let errors = absence.value("error_rate", current.error_rate, percent);
    let whole = |value: f64| format!("{value:.0}");
    let connections = absence.value("active_connections", current.active_connections, whole);
    let throughput = |value: f64| format!("{value:.2} MB/s");
    let network = absence.value("network_mb_per_s", current.network_mb_per_s, throughput);
    writeln!(out, "     Response time: {response}, Errors: {errors}")?;
    writeln!(out, "     Connections: {connections}, Network: {network}")?;
    writeln!(out, "     Health now: {}", score(&service.health.current))?;
    if !service.sources.is_empty() {
        let sources: Vec<String> = service
            .sources
            .iter()
            .map(|(metric, source)| format!("{metric} from {source}"))
            .collect();
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
    said: BTreeSet<&'a str>,
}

impl<'a> Absence<'a> {
    fn of(service: &'a ServiceReport) -> Self {
        Self {
            service,
            said: BTreeSet::new(),
        }
    }

    /// Always with the reason.
    fn explained(
        &mut self,
        metric: &str,
        value: Option<f64>,
        unit: impl Fn(f64) -> String,
    ) -> String {
        value.map(unit).unwrap_or_else(|| {
            let reason = self.service.absent.get(metric);
            let reason = reason.map_or("the reason was not recorded", String::as_str);
            self.said.insert(reason);
            format!("n/a ({})", safe_line(reason))
        })
    }

    /// With the reason, where there is one that was not said before.
    fn value(&mut self, metric: &str, value: Option<f64>, unit: impl Fn(f64) -> String) -> String {
        match (value, self.service.absent.get(metric)) {
            (None, Some(reason)) if !self.said.contains(reason.as_str()) => {
                self.explained(metric, value, unit)
            }
            _ => value.map_or_else(|| "n/a".to_owned(), unit),
        }
    }
}

//! The load prediction section of the `ai-manage` report.

use std::io::{self, Write};

use crate::manage::manage_report::{
    ForecastBasis, ForecastReport, HealthBand, ManageReport, PredictedValue, Prediction,
    ServiceReport, SkillReport,
};
use crate::report::human::manage::{score, title};
use crate::report::human::{View, section};
use crate::report::text::safe_line;
use crate::report::units;
use crate::services::service_manager::forecast::ModelName;

/// Writes the section; nothing without `--predict-load`.
pub(super) fn section_of(out: &mut dyn Write, report: &ManageReport, view: View) -> io::Result<()> {
    let mut predicted = report
        .services
        .iter()
        .filter_map(|service| Some((service, service.prediction.as_ref()?)))
        .peekable();
    if predicted.peek().is_none() {
        return Ok(());
    }
    let heading = format!(
        "🔮 Load Prediction ({}min horizon):",
        report.horizon_minutes
    );
    section(out, view.paint, &heading)?;
    for (service, prediction) in predicted {
        writeln!(out, "  📦 {}", title(service))?;
        match prediction {
            Prediction::NotEnoughData { not_enough_data } => writeln!(
                out,
                "     Not enough data: {} of the {} samples that a prediction takes",
                not_enough_data.have, not_enough_data.need
            )?,
            Prediction::Forecast(forecast) => {
                values(out, service, forecast)?;
                if view.verbose {
                    tournament(out, forecast)?;
                }
                short_history(out, forecast, report.horizon_minutes)?;
            }
        }
        health(out, service, view)?;
    }
    Ok(())
}

fn values(
    out: &mut dyn Write,
    service: &ServiceReport,
    forecast: &ForecastReport,
) -> io::Result<()> {
    let current = service.current.as_ref();
    let lines = [
        Line {
            label: "CPU",
            now: current.and_then(|current| current.cpu_percent),
            predicted: forecast.cpu_percent.as_ref(),
            unit: units::cpu,
            bound: units::rate,
        },
        Line {
            label: "Memory",
            now: current.and_then(|current| current.memory_mb),
            predicted: forecast.memory_mb.as_ref(),
            unit: units::memory,
            bound: |megabytes| format!("{megabytes:.0}"),
        },
        Line {
            label: "RPS",
            now: current.and_then(|current| current.request_rate),
            predicted: forecast.request_rate.as_ref(),
            unit: units::rate,
            bound: units::rate,
        },
    ];
    for line in lines {
        writeln!(out, "     {}: {}", line.label, line.text())?;
    }
    Ok(())
}

/// `--verbose`: how all models did, metric by metric.
fn tournament(out: &mut dyn Write, forecast: &ForecastReport) -> io::Result<()> {
    let metrics = [
        ("CPU", &forecast.cpu_percent),
        ("Memory", &forecast.memory_mb),
        ("RPS", &forecast.request_rate),
        ("Response time", &forecast.response_time_ms),
        ("Errors", &forecast.error_rate),
    ];
    let judged = metrics.iter().filter_map(|(label, predicted)| {
        let predicted = predicted.as_ref()?;
        (!predicted.models.is_empty()).then_some((label, predicted))
    });
    let mut judged = judged.peekable();
    if judged.peek().is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "     Error of each model, that of repeating the last value being 1:"
    )?;
    for (label, predicted) in judged {
        let models: Vec<String> = predicted
            .models
            .iter()
            .map(|compared| {
                let error = compared
                    .relative_error
                    .map_or_else(|| "n/a".to_owned(), |error| format!("{error:.2}"));
                format!("{} {error}", safe_line(&compared.model))
            })
            .collect();
        let origins = predicted.skill.map_or_else(String::new, |skill| {
            format!("  ({} origins)", skill.origins)
        });
        writeln!(out, "       {label:<13} {}{origins}", models.join(", "))?;
    }
    Ok(())
}

/// A history shorter than four horizons holds little that could repeat (see `docs/algorithms.md`, history).
fn short_history(
    out: &mut dyn Write,
    forecast: &ForecastReport,
    horizon_minutes: u64,
) -> io::Result<()> {
    let seconds = forecast.history_seconds;
    if seconds >= horizon_minutes.saturating_mul(4 * 60) {
        return Ok(());
    }
    let history = humantime::format_duration(std::time::Duration::from_secs(seconds));
    writeln!(
        out,
        "     Only {history} of history for a horizon of {horizon_minutes}min"
    )
}

/// One metric, now and at the horizon.
struct Line<'a> {
    label: &'static str,
    now: Option<f64>,
    predicted: Option<&'a PredictedValue>,
    /// With its unit.
    unit: fn(f64) -> String,
    /// Without: the unit stands on the same line already.
    bound: fn(f64) -> String,
}

impl Line<'_> {
    fn text(&self) -> String {
        let now = self.now.map_or_else(|| "n/a".to_owned(), self.unit);
        match (self.now, self.predicted) {
            (_, Some(predicted)) => {
                let value = (self.unit)(predicted.value);
                format!("{now} → {value}  ({})", self.basis(predicted))
            }
            (Some(_), None) => format!("{now} → n/a  (too few measurements to predict it)"),
            (None, None) => now,
        }
    }

    /// Interval, model and how the model has done; parts that are not known are left out.
    fn basis(&self, predicted: &PredictedValue) -> String {
        let mut parts = Vec::new();
        if let (Some(lower), Some(upper)) = (predicted.lower, predicted.upper) {
            parts.push(format!(
                "90%: {}–{}",
                (self.bound)(lower),
                (self.bound)(upper)
            ));
        }
        parts.push(model(predicted));
        parts.push(match (predicted.muted, predicted.skill, predicted.basis) {
            (true, skill, _) => muted_text(skill),
            (false, Some(skill), _) => skill_text(skill),
            (false, None, Some(ForecastBasis::Constant)) => "constant so far".to_owned(),
            (false, None, _) => "not yet judged: too few samples".to_owned(),
        });
        match predicted.left_out_values {
            0 => {}
            1 => parts.push("1 wild value left out".to_owned()),
            several => parts.push(format!("{several} wild values left out")),
        }
        parts.join(", ")
    }
}

/// The last value is that of a whole step: it need not be the newest sample, which stands on the same line.
fn model(predicted: &PredictedValue) -> String {
    let model = safe_line(&predicted.model);
    match predicted.step_seconds {
        Some(seconds) if model == ModelName::LastValue.as_str() => {
            format!("{model} (mean of {seconds:.0} s)")
        }
        _ => model,
    }
}

fn muted_text(skill: Option<SkillReport>) -> String {
    let Some(skill) = skill else {
        return "forecast muted: the last value never erred".to_owned();
    };
    let origins = skill.origins;
    match -skill.better_than_last_value_percent.round() {
        worse if worse >= 1.0 => {
            format!("forecast muted: {worse:.0} % worse than last value over {origins} origins")
        }
        _ => format!("forecast muted: no better than last value over {origins} origins"),
    }
}

fn skill_text(skill: SkillReport) -> String {
    let percent = skill.better_than_last_value_percent.round();
    if percent >= 1.0 {
        format!("{percent:.0}% better than last value")
    } else if percent <= -1.0 {
        format!("{:.0}% worse than last value", -percent)
    } else {
        "no better than last value".to_owned()
    }
}

fn health(out: &mut dyn Write, service: &ServiceReport, view: View) -> io::Result<()> {
    writeln!(out, "     Health Score: {}", score(&service.health.current))?;
    let Some(predicted) = &service.health.predicted else {
        return writeln!(out, "     Predicted Health: ❓ Unknown  (no prediction)");
    };
    let band = match predicted.status {
        HealthBand::Healthy => view.paint.good("✅ Healthy"),
        HealthBand::Degraded => view.paint.warning("⚠️ Degraded"),
        HealthBand::Unhealthy => view.paint.bad("❌ Unhealthy"),
        HealthBand::Unknown => "❓ Unknown".to_owned(),
    };
    match predicted.score {
        Some(score) => writeln!(out, "     Predicted Health: {band}  ({score:.1}/100)"),
        None => writeln!(out, "     Predicted Health: {band}"),
    }
}

//! The load prediction section of the `ai-manage` report.

use std::io::{self, Write};

use crate::report::human::service::{score, title};
use crate::report::human::{View, section};
use crate::report::manage::document::{ManageReport, ServiceReport};
use crate::report::manage::forecast::{ForecastReport, PredictedValue, Prediction, SkillReport};
use crate::report::manage::metric::words;
use crate::services::service_manager::forecast::{Basis, ModelName};
use crate::services::service_manager::{HealthStatus, LoadPrediction, Metric, ServiceMetrics};

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
    for metric in [Metric::CpuPercent, Metric::MemoryMb, Metric::RequestRate] {
        let line = Line {
            metric,
            now: service
                .current
                .as_ref()
                .and_then(|current: &ServiceMetrics| current.get(metric)),
            predicted: forecast.metrics.get(&metric),
        };
        writeln!(out, "     {}: {}", words(metric).label, line.text())?;
    }
    Ok(())
}

/// `--verbose`: how all models did, metric by metric.
fn tournament(out: &mut dyn Write, forecast: &ForecastReport) -> io::Result<()> {
    let judged = LoadPrediction::METRICS.iter().filter_map(|metric| {
        let predicted = forecast.metrics.get(metric)?;
        (!predicted.models.is_empty()).then_some((words(*metric).label, predicted))
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
                let error = match compared.relative_error {
                    error if error.is_finite() => format!("{error:.2}"),
                    _ => "n/a".to_owned(),
                };
                format!("{} {error}", compared.model)
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
    if !forecast.is_short {
        return Ok(());
    }
    let history =
        humantime::format_duration(std::time::Duration::from_secs(forecast.history_seconds));
    writeln!(
        out,
        "     Only {history} of history for a horizon of {horizon_minutes}min"
    )
}

/// One metric, now and at the horizon.
struct Line<'a> {
    metric: Metric,
    now: Option<f64>,
    predicted: Option<&'a PredictedValue>,
}

impl Line<'_> {
    fn text(&self) -> String {
        let words = words(self.metric);
        let now = self.now.map(|now| words.value(now));
        let now = now.unwrap_or_else(|| "n/a".to_owned());
        match (self.now, self.predicted) {
            (_, Some(predicted)) => {
                let value = words.value(predicted.value);
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
            let words = words(self.metric);
            parts.push(format!(
                "90%: {}–{}",
                words.bound(lower),
                words.bound(upper)
            ));
        }
        parts.push(model(predicted));
        parts.push(match (predicted.muted, predicted.skill, predicted.basis) {
            (true, skill, _) => muted_text(skill),
            (false, Some(skill), _) => skill_text(skill),
            (false, None, Some(Basis::Constant)) => "constant so far".to_owned(),
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
    match (predicted.model, predicted.step_seconds) {
        (model @ ModelName::LastValue, Some(seconds)) => {
            format!("{model} (mean of {seconds:.0} s)")
        }
        (model, _) => model.to_string(),
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
        HealthStatus::Healthy => view.paint.good("✅ Healthy"),
        HealthStatus::Degraded => view.paint.warning("⚠️ Degraded"),
        HealthStatus::Unhealthy => view.paint.bad("❌ Unhealthy"),
        HealthStatus::Unknown => "❓ Unknown".to_owned(),
    };
    match predicted.score {
        Some(score) => writeln!(out, "     Predicted Health: {band}  ({score:.1}/100)"),
        None => writeln!(out, "     Predicted Health: {band}"),
    }
}

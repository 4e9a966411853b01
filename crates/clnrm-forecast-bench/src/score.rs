//! Scores of forecasts, relative to the last value on the same origins.
//!
//! - scale of an origin: mean |change| in its history, at least a tenth of that of the whole trace
//! - relative error: mean |error| / scale ÷ the same of the last value; quantile loss: 2·pinball at 10, 50 and 90 %
//!   ÷ that of the last value with the empirical quantiles of the history's changes over the same distance
//! - over traces: geometric means, over core traces whose last value errs by at least 0.02 scales at every step

use std::collections::BTreeMap;

use thiserror::Error;

use crate::plan::Planned;
use crate::row::Row;
use crate::traces::{Trace, Traces};

/// A trace is almost constant if its last value errs by less than this many scales.
const FLAT: f64 = 0.02;

/// A forecast cannot be scored.
#[derive(Debug, Error)]
#[error("`{trace}` has no sample {step} steps after the origin {origin}")]
pub struct NotMeasured {
    trace: String,
    origin: usize,
    step: u32,
}

/// The losses of one method on one trace at one step, summed over origins, and those of the last value there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losses {
    pub count: f64,
    /// |error| in scales.
    pub error: f64,
    /// The same of the last value.
    pub last_value_error: f64,
    /// Quantile loss in scales.
    pub quantile_loss: f64,
    /// The same of the last value with empirical quantiles.
    pub last_value_quantile_loss: f64,
    /// Origins whose value lay in the 90 % interval.
    pub covered: f64,
    pub with_quantiles: f64,
}

impl Losses {
    /// Below 1 is better than the last value.
    pub fn relative_error(&self) -> f64 {
        self.error / self.last_value_error
    }

    /// Below 1 is better than the last value with empirical quantiles; `None` = no quantiles.
    pub fn relative_quantile_loss(&self) -> Option<f64> {
        (self.with_quantiles > 0.0).then(|| self.quantile_loss / self.last_value_quantile_loss)
    }
}

/// Everything that is known of some methods.
#[derive(Debug, Default)]
pub struct Scores {
    /// By method, step and core trace.
    pub losses: BTreeMap<(String, u32), BTreeMap<String, Losses>>,
    /// CPU time of each forecast, by method.
    pub cpu_ms: BTreeMap<String, Vec<f64>>,
}

/// Scores `rows`, whose histories were `window` samples long.
pub fn of(traces: &Traces, rows: &[Row], window: usize) -> Result<Scores, NotMeasured> {
    let mut scores = Scores::default();
    let mut baselines: BTreeMap<(&Planned, u32), Baseline> = BTreeMap::new();
    for row in rows {
        let Some(trace) = traces.get(&row.planned.trace).filter(|trace| trace.core) else {
            continue;
        };
        let baseline = match baselines.get(&(&row.planned, row.step)) {
            Some(known) => *known,
            None => {
                let made = Baseline::of(trace, &row.planned, row.step, window)?;
                baselines.insert((&row.planned, row.step), made);
                made
            }
        };
        if let Some(ms) = row.cpu_ms.filter(|_| row.step == 1) {
            scores
                .cpu_ms
                .entry(row.method.clone())
                .or_default()
                .push(ms);
        }
        let of_step = scores
            .losses
            .entry((row.method.clone(), row.step))
            .or_default();
        let losses = of_step.entry(row.planned.trace.clone()).or_default();
        baseline.add(row, losses);
    }
    leave_out_flat(&mut scores);
    Ok(scores)
}

fn leave_out_flat(scores: &mut Scores) {
    let mut flat: Vec<String> = Vec::new();
    for of_step in scores.losses.values() {
        for (trace, losses) in of_step {
            if losses.last_value_error / losses.count < FLAT {
                flat.push(trace.clone());
            }
        }
    }
    for of_step in scores.losses.values_mut() {
        of_step.retain(|trace, _| !flat.contains(trace));
    }
}

/// What the last value does at one origin.
#[derive(Debug, Clone, Copy)]
struct Baseline {
    truth: f64,
    scale: f64,
    error: f64,
    quantile_loss: f64,
}

impl Baseline {
    fn of(trace: &Trace, planned: &Planned, step: u32, window: usize) -> Result<Self, NotMeasured> {
        let unmeasured = || NotMeasured {
            trace: planned.trace.clone(),
            origin: planned.origin,
            step,
        };
        let values = &trace.values;
        let history = values.get(planned.origin.saturating_sub(window)..planned.origin);
        let history = history.ok_or_else(unmeasured)?;
        let last = *history.last().ok_or_else(unmeasured)?;
        let place = planned.origin - 1 + step as usize;
        let truth = *values.get(place).ok_or_else(unmeasured)?;
        let scale = mean_change(history)
            .max(0.1 * mean_change(values))
            .max(1e-12);
        let pairs = history.iter().zip(history.iter().skip(step as usize));
        let mut changes: Vec<f64> = pairs.map(|(from, to)| to - from).collect();
        changes.sort_unstable_by(f64::total_cmp);
        let negative = history.iter().any(|value| *value < 0.0);
        let bounded = |value: f64| if negative { value } else { value.max(0.0) };
        let quantiles =
            [0.1, 0.5, 0.9].map(|level| bounded(last + linear_quantile(&changes, level)));
        Ok(Self {
            truth,
            scale,
            error: (truth - last).abs() / scale,
            quantile_loss: quantile_loss(truth, quantiles) / scale,
        })
    }

    fn add(self, row: &Row, losses: &mut Losses) {
        losses.count += 1.0;
        losses.error += (self.truth - row.point).abs() / self.scale;
        losses.last_value_error += self.error;
        if let Some([q05, q10, q50, q90, q95]) = row.quantiles {
            losses.with_quantiles += 1.0;
            losses.quantile_loss += quantile_loss(self.truth, [q10, q50, q90]) / self.scale;
            losses.last_value_quantile_loss += self.quantile_loss;
            let covered = self.truth >= q05 - 1e-9 && self.truth <= q95 + 1e-9;
            losses.covered += f64::from(u8::from(covered));
        }
    }
}

/// Mean over 10, 50 and 90 % of twice the pinball loss.
fn quantile_loss(truth: f64, quantiles: [f64; 3]) -> f64 {
    let losses = quantiles
        .iter()
        .zip([0.1, 0.5, 0.9])
        .map(|(quantile, level)| {
            let above = truth - quantile;
            2.0 * (level * above).max((level - 1.0) * above)
        });
    losses.sum::<f64>() / 3.0
}

fn mean_change(values: &[f64]) -> f64 {
    let pairs = values.iter().zip(values.iter().skip(1));
    let sum: f64 = pairs.map(|(from, to)| (to - from).abs()).sum();
    sum / values.len().saturating_sub(1).max(1) as f64
}

/// Between neighbours in proportion, the extremes at 0 and 1.
fn linear_quantile(sorted: &[f64], level: f64) -> f64 {
    let place = level * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or_default();
    at(place.floor()) + place.fract() * (at(place.ceil()) - at(place.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_scores_one_and_the_truth_zero() {
        let values: Vec<f64> = (0..300).map(|n| f64::from(n * n % 17)).collect();
        let traces = Traces::from([(
            "a".to_owned(),
            Trace {
                values: values.clone(),
                core: true,
            },
        )]);
        let row = |origin: usize, method: &str, point: f64| Row {
            planned: Planned {
                trace: "a".to_owned(),
                origin,
            },
            method: method.to_owned(),
            step: 3,
            point,
            quantiles: Some([point; 5]),
            cpu_ms: None,
        };
        let mut rows = Vec::new();
        for origin in 200..250 {
            rows.push(row(origin, "last", values[origin - 1]));
            rows.push(row(origin, "oracle", values[origin + 2]));
        }
        let scores = of(&traces, &rows, 1_000).unwrap();
        let losses = |method: &str| scores.losses[&(method.to_owned(), 3)]["a"];
        assert_eq!(losses("last").relative_error(), 1.0);
        assert_eq!(losses("oracle").relative_error(), 0.0);
        assert_eq!(
            (losses("oracle").covered, losses("oracle").count),
            (50.0, 50.0)
        );
        let late = [row(298, "last", 0.0)];
        assert!(of(&traces, &late, 1_000).is_err());
    }
}

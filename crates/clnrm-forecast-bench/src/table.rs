//! Scores as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::plan::STEPS;
use crate::score::{Losses, Scores};

/// One line for each method: relative error, quantile loss and coverage at each step, and their means.
pub fn summary(scores: &Scores) -> String {
    let mut text = String::from(
        "method            error h=1   h=3   h=6  h=12  mean | q.loss h=1   h=3   h=6  h=12  mean | \
         cover h=1   h=3   h=6  h=12 | worse >1.10 worst | cpu p50   p99 ms\n",
    );
    for method in methods(scores) {
        let at = |step: u32| scores.losses.get(&(method.clone(), step));
        let error = STEPS.map(|step| at(step).map_or(f64::NAN, error_of));
        let loss = STEPS.map(|step| at(step).map_or(f64::NAN, loss_of));
        let cover = STEPS.map(|step| at(step).map_or(f64::NAN, cover_of));
        let of_traces: Vec<f64> = by_trace(scores, &method).into_values().collect();
        let worse = |limit: f64| of_traces.iter().filter(|error| **error > limit).count();
        let worst = of_traces.iter().copied().fold(f64::NAN, f64::max);
        let mut cpu = scores.cpu_ms.get(&method).cloned().unwrap_or_default();
        cpu.sort_unstable_by(f64::total_cmp);
        let cpu_at = |share: f64| {
            let place = share * cpu.len().saturating_sub(1) as f64;
            cpu.get(place.round() as usize).copied().unwrap_or(f64::NAN)
        };
        let _ = write!(text, "{method:18}     ");
        for value in error {
            let _ = write!(text, " {value:.3}");
        }
        let _ = write!(text, " {:.3} |      ", geometric_mean(&error));
        for value in loss {
            let _ = write!(text, " {value:.3}");
        }
        let _ = write!(text, " {:.3} |     ", geometric_mean(&loss));
        for value in cover {
            let _ = write!(text, " {value:.3}");
        }
        let _ = writeln!(
            text,
            " | {:2}/{:2} {:4} {worst:6.3} | {:7.3} {:7.3}",
            worse(1.0),
            of_traces.len(),
            worse(1.10),
            cpu_at(0.5),
            cpu_at(0.99)
        );
    }
    text
}

/// The relative error of each method on each trace, geometric mean over the steps.
pub fn per_trace(scores: &Scores) -> String {
    let methods = methods(scores);
    let columns: Vec<_> = methods
        .iter()
        .map(|method| by_trace(scores, method))
        .collect();
    let mut text = format!("{:45} {}\n", "trace", methods.join(" "));
    for trace in columns.first().into_iter().flat_map(BTreeMap::keys) {
        let _ = write!(text, "{trace:45}");
        for column in &columns {
            let _ = write!(
                text,
                " {:.3}",
                column.get(trace).copied().unwrap_or(f64::NAN)
            );
        }
        text.push('\n');
    }
    text
}

fn methods(scores: &Scores) -> Vec<String> {
    let mut methods: Vec<String> = scores.losses.keys().map(|key| key.0.clone()).collect();
    methods.dedup();
    methods
}

fn by_trace(scores: &Scores, method: &str) -> BTreeMap<String, f64> {
    let mut errors: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for ((of, _), traces) in &scores.losses {
        if of == method {
            for (trace, losses) in traces {
                errors
                    .entry(trace.clone())
                    .or_default()
                    .push(losses.relative_error());
            }
        }
    }
    let mean = |(trace, errors): (String, Vec<f64>)| (trace, geometric_mean(&errors));
    errors.into_iter().map(mean).collect()
}

type OfTraces = BTreeMap<String, Losses>;

fn error_of(traces: &OfTraces) -> f64 {
    geometric_mean(
        &traces
            .values()
            .map(Losses::relative_error)
            .collect::<Vec<_>>(),
    )
}

fn loss_of(traces: &OfTraces) -> f64 {
    let losses = traces.values().filter_map(Losses::relative_quantile_loss);
    geometric_mean(&losses.collect::<Vec<_>>())
}

fn cover_of(traces: &OfTraces) -> f64 {
    let shares: Vec<f64> = traces
        .values()
        .filter(|losses| losses.with_quantiles > 0.0)
        .map(|losses| losses.covered / losses.with_quantiles)
        .collect();
    shares.iter().sum::<f64>() / shares.len() as f64
}

fn geometric_mean(values: &[f64]) -> f64 {
    let logs: f64 = values.iter().map(|value| value.max(1e-12).ln()).sum();
    (logs / values.len() as f64).exp()
}

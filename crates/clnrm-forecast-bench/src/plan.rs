//! Which trace is forecast from where.

use std::path::Path;

use crate::traces::{Traces, TracesError, column_of, text_of};

/// Samples before the first origin.
const FIRST: usize = 200;
/// The steps that are scored.
pub const STEPS: [u32; 4] = [1, 3, 6, 12];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planned {
    pub trace: String,
    /// The place of the first sample that the forecaster must not see.
    pub origin: usize,
}

/// Reads `trace,origin` lines.
pub fn read(path: &Path) -> Result<Vec<Planned>, TracesError> {
    let text = text_of(path)?;
    let trace = column_of(path, &text, "trace")?;
    let origin = column_of(path, &text, "origin")?;
    let rows = text.lines().zip(1..).skip(1);
    rows.filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| {
            let cell = |column| line.split(',').nth(column).unwrap_or_default().trim();
            let origin = cell(origin).parse().map_err(|_| TracesError::NotANumber {
                path: path.to_owned(),
                line: number,
                cell: cell(origin).to_owned(),
            })?;
            Ok(Planned {
                trace: cell(trace).to_owned(),
                origin,
            })
        })
        .collect()
}

/// `count` origins of each trace, evenly spaced.
pub fn make(traces: &Traces, count: usize) -> Vec<Planned> {
    let farthest = STEPS
        .map(|step| step as usize)
        .into_iter()
        .max()
        .unwrap_or(0);
    let mut planned = Vec::new();
    for (name, trace) in traces {
        let Some(last) = trace
            .values
            .len()
            .checked_sub(farthest)
            .filter(|last| *last >= FIRST)
        else {
            continue;
        };
        let spacing = (last - FIRST) as f64 / count.saturating_sub(1).max(1) as f64;
        let mut origins: Vec<usize> = (0..count)
            .map(|place| (FIRST as f64 + spacing * place as f64).round_ties_even() as usize)
            .collect();
        origins.dedup();
        let of_trace = |origin| Planned {
            trace: name.clone(),
            origin,
        };
        planned.extend(origins.into_iter().map(of_trace));
    }
    planned
}

/// The plan as a table.
pub fn to_csv(plan: &[Planned]) -> String {
    let mut text = String::from("trace,origin\n");
    for planned in plan {
        text.push_str(&format!("{},{}\n", planned.trace, planned.origin));
    }
    text
}

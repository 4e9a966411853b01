//! Forecasts as a table that any program can write and read.

use std::path::Path;

use clnrm_decide::StepForecast;

use crate::plan::Planned;
use crate::traces::{TracesError, column_of, text_of};

pub const HEADER: &str = "trace,origin,method,h,point,q05,q10,q50,q90,q95,cpu_ms\n";

/// One forecast for one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was forecast from where.
    pub planned: Planned,
    pub method: String,
    pub step: u32,
    pub point: f64,
    /// 5, 10, 50, 90, 95 %; `None` = the method has none.
    pub quantiles: Option<[f64; 5]>,
    /// CPU time of the whole forecast, all steps together.
    pub cpu_ms: Option<f64>,
}

/// Appends the forecasts of one origin.
pub fn append(
    text: &mut String,
    planned: &Planned,
    method: &str,
    forecasts: &[StepForecast],
    cpu_ms: Option<f64>,
) {
    let cpu_ms = cpu_ms.map(|ms| format!("{ms:.4}")).unwrap_or_default();
    for made in forecasts {
        let [q05, q10, q50, q90, q95] = made.quantiles;
        text.push_str(&format!(
            "{},{},{method},{},{},{q05},{q10},{q50},{q90},{q95},{cpu_ms}\n",
            planned.trace, planned.origin, made.step, made.point
        ));
    }
}

/// Reads forecasts of any program.
pub fn read(path: &Path) -> Result<Vec<Row>, TracesError> {
    let text = text_of(path)?;
    let mut columns = [0; 11];
    let names = [
        "trace", "origin", "method", "h", "point", "q05", "q10", "q50", "q90", "q95", "cpu_ms",
    ];
    for (column, name) in columns.iter_mut().zip(names) {
        *column = column_of(path, &text, name)?;
    }
    let rows = text.lines().zip(1..).skip(1);
    rows.filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let cells = columns.map(|column| cells.get(column).copied().unwrap_or_default());
            row(cells).map_err(|cell| TracesError::NotANumber {
                path: path.to_owned(),
                line: number,
                cell: cell.to_owned(),
            })
        })
        .collect()
}

fn row(cells: [&str; 11]) -> Result<Row, &str> {
    let [trace, origin, method, step, point, quantiles @ .., cpu_ms] = cells;
    let number = |cell: &str| cell.parse::<f64>().ok().filter(|value| value.is_finite());
    let given = quantiles.map(number);
    let quantiles = match given {
        [Some(a), Some(b), Some(c), Some(d), Some(e)] => Some([a, b, c, d, e]),
        _ => None,
    };
    Ok(Row {
        planned: Planned {
            trace: trace.to_owned(),
            origin: origin.parse().map_err(|_| origin)?,
        },
        method: method.to_owned(),
        step: step.parse().map_err(|_| step)?,
        point: number(point).ok_or(point)?,
        quantiles,
        cpu_ms: number(cpu_ms),
    })
}

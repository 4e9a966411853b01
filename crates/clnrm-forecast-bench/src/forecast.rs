//! Makes the planned forecasts.

use clnrm_decide::forecast::{NotAWindow, Range, StepOutOfReach, WINDOW_VALUES};
use clnrm_decide::{NotEnoughData, Steps, Window};
use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

use crate::method::Method;
use crate::plan::{Planned, STEPS};
use crate::row;
use crate::traces::{Trace, Traces};

/// A planned forecast cannot be made.
#[derive(Debug, Error)]
pub enum ForecastError {
    /// The plan names a trace that is not there.
    #[error("there is no trace `{trace}`")]
    UnknownTrace { trace: String },
    /// The plan's origin lies beyond the trace.
    #[error("`{trace}` has {samples} samples, fewer than the origin {origin}")]
    BeyondTrace {
        trace: String,
        samples: usize,
        origin: usize,
    },
    /// The history is too short.
    #[error("`{trace}` cannot be forecast from {origin}")]
    TooShort {
        trace: String,
        origin: usize,
        source: NotEnoughData,
    },
    /// A sample is not a number.
    #[error(transparent)]
    NotAWindow(#[from] NotAWindow),
    /// The scored steps are not what the engine forecasts.
    #[error(transparent)]
    Step(#[from] StepOutOfReach),
}

/// All forecasts of `plan`, as a table.
pub fn run(
    traces: &Traces,
    plan: &[Planned],
    method: Method,
    length: usize,
) -> Result<String, ForecastError> {
    let steps = Steps::new(&STEPS)?;
    let name = method.to_string();
    let mut text = String::from(row::HEADER);
    for planned in plan {
        let trace = traces
            .get(&planned.trace)
            .ok_or_else(|| ForecastError::UnknownTrace {
                trace: planned.trace.clone(),
            })?;
        let window = window(trace, planned, length)?;
        let before = thread_cpu_ms();
        let made = method.forecast(&window, &steps);
        let cpu_ms = thread_cpu_ms() - before;
        let forecasts = made.map_err(|source| ForecastError::TooShort {
            trace: planned.trace.clone(),
            origin: planned.origin,
            source,
        })?;
        row::append(&mut text, planned, &name, &forecasts, Some(cpu_ms));
    }
    Ok(text)
}

/// The newest samples before the origin. Where none of them is negative, the metric cannot be.
pub fn window(trace: &Trace, planned: &Planned, length: usize) -> Result<Window, ForecastError> {
    let first = planned.origin.saturating_sub(length.min(WINDOW_VALUES));
    let history = trace.values.get(first..planned.origin);
    let history = history.ok_or_else(|| ForecastError::BeyondTrace {
        trace: planned.trace.clone(),
        samples: trace.values.len(),
        origin: planned.origin,
    })?;
    let range = if history.iter().all(|value| *value >= 0.0) {
        Range::FROM_ZERO
    } else {
        Range::UNBOUNDED
    };
    Ok(Window::new(history.to_vec(), range)?)
}

/// CPU time that this thread has used.
fn thread_cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

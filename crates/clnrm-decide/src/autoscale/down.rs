//! Whether load has been low for long enough to do with one instance fewer.
//!
//! Deliberately absent: a forecast that removes anything. It may only hold what is there.

use super::bounds::Bounds;
use super::config::TOLERANCE;
use super::decision::Draft;
use super::inputs::ScalingInputs;
use super::reason::{Crossing, HoldReason, Limit, Reason};
use super::up::{predicted, thresholds};
use crate::{Metric, ServiceMetrics};

/// One instance fewer and why; or why not.
pub(super) fn consider(
    inputs: &ScalingInputs,
    bounds: &Bounds,
    newest: &ServiceMetrics,
    draft: &mut Draft,
) -> Result<(u32, Reason), HoldReason> {
    low_now(inputs, newest)?;
    let fewer = room_below(inputs, bounds, draft)?;
    cooled_down(inputs, fewer, draft)?;
    let peaks = low_throughout(inputs, newest)?;
    fits(inputs, newest, fewer)?;
    draft.limits_applied.push(Limit::OneAtATime);
    let reason = Reason::LowUtilization {
        crossings: peaks,
        window: inputs.config.evidence_window(),
    };
    Ok((fewer, reason))
}

/// The metrics that must be low, with their thresholds.
fn low_thresholds(inputs: &ScalingInputs) -> [(Metric, f64); 2] {
    [
        (Metric::CpuPercent, inputs.config.cpu_down_percent),
        (Metric::MemoryMb, inputs.config.memory_down_mb),
    ]
}

fn low_now(inputs: &ScalingInputs, newest: &ServiceMetrics) -> Result<(), HoldReason> {
    let mut absent = None;
    let mut near = None;
    for (metric, threshold) in low_thresholds(inputs) {
        match newest.get(metric) {
            None => absent = absent.or(Some(metric)),
            Some(value) if value >= threshold * (1.0 + TOLERANCE) => {
                return Err(HoldReason::WithinThresholds);
            }
            Some(value) if value > threshold * (1.0 - TOLERANCE) => {
                near = near.or(Some(measured(metric, value, threshold)));
            }
            Some(_) => {}
        }
    }
    if let Some(crossing) = near {
        return Err(HoldReason::NearThreshold { crossing });
    }
    if let Some(metric) = absent {
        return Err(HoldReason::NotMeasured { metric });
    }
    Ok(())
}

/// One instance fewer, if the minimum and the leases leave room for it.
fn room_below(
    inputs: &ScalingInputs,
    bounds: &Bounds,
    draft: &mut Draft,
) -> Result<u32, HoldReason> {
    // The last instance is never removed: without one, nothing would measure that load is back.
    let min = bounds.min.max(1);
    if inputs.fleet.instances <= min {
        return Err(HoldReason::AtMinimum { min });
    }
    let fewer = inputs.fleet.instances.saturating_sub(1);
    if inputs.fleet.leased > fewer {
        let leased = inputs.fleet.leased;
        draft.limits_applied.push(Limit::Leased { leased });
        return Err(HoldReason::AllLeased { leased });
    }
    Ok(fewer)
}

fn cooled_down(inputs: &ScalingInputs, desired: u32, draft: &mut Draft) -> Result<(), HoldReason> {
    let Some(elapsed) = inputs.cooling(|_| true) else {
        return Ok(());
    };
    let cooldown = inputs.config.cooldown;
    draft.limits_applied.push(Limit::CoolDown {
        remaining: cooldown.saturating_sub(elapsed),
    });
    Err(HoldReason::CoolDown {
        elapsed,
        cooldown,
        desired,
    })
}

/// CPU and memory in every sample of a window without long gaps, and in the forecast. Returns the measured peaks.
fn low_throughout(
    inputs: &ScalingInputs,
    newest: &ServiceMetrics,
) -> Result<Vec<Crossing>, HoldReason> {
    let window = inputs.config.evidence_window();
    if inputs.evidence.covered < window {
        return Err(HoldReason::WindowNotCovered {
            covered: inputs.evidence.covered,
            window,
        });
    }
    let mut peaks = Vec::with_capacity(2);
    for (metric, threshold) in low_thresholds(inputs) {
        let peak = inputs.evidence.peak(metric);
        let peak = peak.ok_or(HoldReason::NotMeasured { metric })?.per_instance;
        let crossing = measured(metric, peak, threshold);
        if peak >= threshold {
            return Err(HoldReason::RecentlyBusy { crossing });
        }
        peaks.push(crossing);
        if let Some(value) = predicted(inputs, metric, newest.instances)
            && value >= threshold
        {
            return Err(HoldReason::ForecastHolds {
                crossing: forecast(metric, value, threshold),
            });
        }
    }
    Ok(peaks)
}

/// The load of the window, and the forecast load, spread over `fewer` instances, stay below every up threshold.
fn fits(inputs: &ScalingInputs, newest: &ServiceMetrics, fewer: u32) -> Result<(), HoldReason> {
    for (metric, threshold) in thresholds(inputs) {
        if is_unknown(inputs, metric) {
            continue;
        }
        let spread = |total: f64| total / f64::from(fewer);
        let peak = inputs.evidence.peak(metric);
        let peak = spread(peak.ok_or(HoldReason::NotMeasured { metric })?.total);
        if peak >= threshold {
            return Err(HoldReason::WouldNotFit {
                crossing: measured(metric, peak, threshold),
            });
        }
        if let Some(value) = predicted(inputs, metric, newest.instances) {
            let value = spread(value * f64::from(newest.instances.max(1)));
            if value >= threshold {
                return Err(HoldReason::WouldNotFit {
                    crossing: forecast(metric, value, threshold),
                });
            }
        }
    }
    Ok(())
}

/// Whether this service has never shown the metric (no source for it), so that its absence says nothing about load.
/// One that was measured before and is absent now holds everything: a lost metric is not zero load.
fn is_unknown(inputs: &ScalingInputs, metric: Metric) -> bool {
    !inputs.forecasts.contains_key(&metric) && !inputs.evidence.peaks.contains_key(&metric)
}

fn measured(metric: Metric, value: f64, threshold: f64) -> Crossing {
    Crossing {
        metric,
        value,
        threshold,
        is_predicted: false,
    }
}

fn forecast(metric: Metric, value: f64, threshold: f64) -> Crossing {
    Crossing {
        is_predicted: true,
        ..measured(metric, value, threshold)
    }
}

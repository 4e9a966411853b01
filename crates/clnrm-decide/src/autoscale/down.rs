//! Whether load has been low for long enough to do with one instance fewer.
//!
//! Deliberately absent: a forecast that removes anything. It may only hold what is there.

use super::bounds::Bounds;
use super::evidence::{Evidence, per_instance, window};
use super::up::{predicted, thresholds};
use super::{Crossing, Draft, HoldReason, Limit, Reason, ScalingInputs, TOLERANCE};
use crate::{Metric, ServiceMetrics};

/// One instance fewer and why; or why not.
pub(super) fn consider(
    inputs: &ScalingInputs<'_>,
    bounds: &Bounds,
    evidence: &Evidence<'_>,
    draft: &mut Draft,
) -> Result<(u32, Reason), HoldReason> {
    low_now(inputs, evidence)?;
    let fewer = room_below(inputs, bounds, draft)?;
    cooled_down(inputs, fewer, draft)?;
    let peaks = low_throughout(inputs, evidence)?;
    fits(inputs, evidence, fewer)?;
    draft.limits_applied.push(Limit::OneAtATime);
    let reason = Reason::LowUtilization {
        crossings: peaks,
        window: window(inputs.config),
    };
    Ok((fewer, reason))
}

/// The metrics that must be low, with their thresholds.
fn low_thresholds(inputs: &ScalingInputs<'_>) -> [(Metric, f64); 2] {
    [
        (Metric::CpuPercent, inputs.config.cpu_down_percent),
        (Metric::MemoryMb, inputs.config.memory_down_mb),
    ]
}

fn low_now(inputs: &ScalingInputs<'_>, evidence: &Evidence<'_>) -> Result<(), HoldReason> {
    let mut absent = None;
    let mut near = None;
    for (metric, threshold) in low_thresholds(inputs) {
        match evidence.newest.get(metric) {
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
    inputs: &ScalingInputs<'_>,
    bounds: &Bounds,
    draft: &mut Draft,
) -> Result<u32, HoldReason> {
    // The last instance is never removed: without one, nothing would measure that load is back.
    let min = bounds.min.max(1);
    if inputs.instances <= min {
        return Err(HoldReason::AtMinimum { min });
    }
    let fewer = inputs.instances.saturating_sub(1);
    if inputs.leased > fewer {
        let leased = inputs.leased;
        draft.limits_applied.push(Limit::Leased { leased });
        return Err(HoldReason::AllLeased { leased });
    }
    Ok(fewer)
}

fn cooled_down(
    inputs: &ScalingInputs<'_>,
    desired: u32,
    draft: &mut Draft,
) -> Result<(), HoldReason> {
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
    inputs: &ScalingInputs<'_>,
    evidence: &Evidence<'_>,
) -> Result<Vec<Crossing>, HoldReason> {
    let window = window(inputs.config);
    if evidence.covered < window {
        return Err(HoldReason::WindowNotCovered {
            covered: evidence.covered,
            window,
        });
    }
    let mut peaks = Vec::with_capacity(2);
    for (metric, threshold) in low_thresholds(inputs) {
        let peak = evidence
            .peak(|sample| sample.get(metric))
            .ok_or(HoldReason::NotMeasured { metric })?;
        let crossing = measured(metric, peak, threshold);
        if peak >= threshold {
            return Err(HoldReason::RecentlyBusy { crossing });
        }
        peaks.push(crossing);
        if let Some(value) = predicted(inputs, metric, evidence.newest.instances)
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
fn fits(inputs: &ScalingInputs<'_>, evidence: &Evidence<'_>, fewer: u32) -> Result<(), HoldReason> {
    for (metric, threshold) in thresholds(inputs) {
        let spread = |sample: &ServiceMetrics, value: f64| {
            value * f64::from(sample.instances.max(1)) / f64::from(fewer)
        };
        if is_unknown(inputs, evidence, metric) {
            continue;
        }
        let peak = evidence
            .peak(|sample| Some(spread(sample, per_instance(sample, metric)?)))
            .ok_or(HoldReason::NotMeasured { metric })?;
        if peak >= threshold {
            return Err(HoldReason::WouldNotFit {
                crossing: measured(metric, peak, threshold),
            });
        }
        if let Some(value) = predicted(inputs, metric, evidence.newest.instances) {
            let value = spread(evidence.newest, value);
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
fn is_unknown(inputs: &ScalingInputs<'_>, evidence: &Evidence<'_>, metric: Metric) -> bool {
    let in_history = inputs.prediction.is_some_and(|prediction| {
        prediction.get(metric).is_some() || prediction.not_enough_data.contains_key(&metric)
    });
    let mut window = evidence.window.iter();
    !in_history && window.all(|sample| sample.get(metric).is_none())
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

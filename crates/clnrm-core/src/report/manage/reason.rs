//! Why a service is scaled or not, as sentences.

use std::time::Duration;

use super::metric::words;
use crate::services::service_manager::autoscale::{Crossing, HoldReason, Limit, Proposal, Reason};
use crate::services::service_manager::{InstanceCap, Metric};

pub(super) fn reason(reason: &Reason) -> String {
    match reason {
        Reason::HighUtilization { crossings } => {
            format!(
                "High resource utilization detected ({})",
                list(crossings, '>')
            )
        }
        Reason::LowUtilization { crossings, window } => format!(
            "Low resource utilization detected ({} over {})",
            list(crossings, '<'),
            seconds(*window)
        ),
        Reason::BelowMinimum { min } => format!("Fewer than the minimum of {min} instance(s)"),
        Reason::AboveMaximum { max } => format!("More than the maximum of {max} instance(s)"),
        Reason::Hold { why } => format!("Holding: {}", hold(why)),
    }
}

fn hold(why: &HoldReason) -> String {
    match why {
        HoldReason::NoSamples => "nothing has been measured".to_owned(),
        HoldReason::StaleSamples { age, window } => format!(
            "the newest sample is {} old, older than the window of {}",
            seconds(*age),
            seconds(*window)
        ),
        HoldReason::NotAllMeasured {
            measured,
            instances,
        } => format!("the newest sample covers {measured} of {instances} instances"),
        HoldReason::Starting { remaining } => format!(
            "the newest instance is still starting ({} left of its measured start time)",
            seconds(*remaining)
        ),
        HoldReason::NoMetrics => "neither CPU, memory nor request rate was measured".to_owned(),
        HoldReason::WithinThresholds => "all measured load is within the thresholds".to_owned(),
        HoldReason::NearThreshold { crossing } => {
            let threshold = words(crossing.metric).as_written(crossing.threshold);
            format!("{} is within 10 % of {threshold}", subject(crossing))
        }
        HoldReason::CoolDown {
            elapsed,
            cooldown,
            desired,
        } => format!(
            "{} of the {} cool-down remain (then {desired} instances)",
            seconds(cooldown.saturating_sub(*elapsed)),
            seconds(*cooldown)
        ),
        HoldReason::AtMaximum { max, desired } => {
            format!("{desired} instances are wanted, {max} are allowed")
        }
        HoldReason::MemoryDoesNotDivide { before_mb, now_mb } => format!(
            "memory does not divide over instances ({before_mb:.0}MB each before the last one was added, {now_mb:.0}MB now)"
        ),
        HoldReason::AtMinimum { min } => format!(
            "nothing measured asks for more, and the minimum of {min} instance(s) is running"
        ),
        HoldReason::NotMeasured { metric } => format!(
            "load seems low, but {} was not measured throughout",
            per_instance(*metric)
        ),
        HoldReason::WindowNotCovered { covered, window } => format!(
            "load is low, but only {} s of the last {} were measured",
            covered.as_secs(),
            seconds(*window)
        ),
        HoldReason::RecentlyBusy { crossing } => {
            format!("load is low now, but {} lately", compared(crossing, '≥'))
        }
        HoldReason::ForecastHolds { crossing } => {
            format!("load is low, but {}", compared(crossing, '≥'))
        }
        HoldReason::WouldNotFit { crossing } => {
            format!("with one instance fewer {}", compared(crossing, '≥'))
        }
        HoldReason::AllLeased { leased } => {
            format!("load is low, but {leased} instance(s) are leased")
        }
    }
}

/// `CPU 85.2% of 70% asks for 2`
pub(super) fn proposal(proposal: &Proposal) -> String {
    let crossing = proposal.crossing();
    let threshold = words(crossing.metric).as_written(crossing.threshold);
    format!(
        "{} of {threshold} asks for {}",
        subject(&crossing),
        proposal.desired
    )
}

pub(super) fn limit(limit: &Limit) -> String {
    match limit {
        Limit::MinInstances { min } => format!("minimum {min}"),
        Limit::MaxInstances { max } => format!("maximum {max}"),
        Limit::InstanceCap {
            cap: InstanceCap::FixedPort { port },
        } => format!("one instance, because port {port} is fixed"),
        Limit::CoolDown { remaining } => format!("cool-down, {} left", seconds(*remaining)),
        Limit::MemoryOneStep => {
            "memory adds one instance until that is shown to lower it".to_owned()
        }
        Limit::MemoryDoesNotDivide => "memory does not divide over instances".to_owned(),
        Limit::OneAtATime => "one instance at a time".to_owned(),
        Limit::Leased { leased } => format!("{leased} leased"),
    }
}

fn list(crossings: &[Crossing], sign: char) -> String {
    let compared = crossings.iter().map(|crossing| compared(crossing, sign));
    compared.collect::<Vec<_>>().join(", ")
}

/// `CPU 85.2% > 70%`
fn compared(crossing: &Crossing, sign: char) -> String {
    let threshold = words(crossing.metric).as_written(crossing.threshold);
    format!("{} {sign} {threshold}", subject(crossing))
}

/// `CPU 85.2%`, `predicted CPU 85.2% (90% quantile)`
fn subject(crossing: &Crossing) -> String {
    let name = per_instance(crossing.metric);
    let value = words(crossing.metric).value(crossing.value);
    match crossing.is_predicted {
        true => format!("predicted {name} {value} (90% quantile)"),
        false => format!("{name} {value}"),
    }
}

/// What thresholds are compared with.
fn per_instance(metric: Metric) -> String {
    let noun = words(metric).noun;
    match metric {
        Metric::RequestRate => format!("{noun} per instance"),
        _ => noun.to_owned(),
    }
}

/// `42 s`, rounded up, so that what remains is never shown as nothing.
fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64().ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(metric: Metric, value: f64, threshold: f64, is_predicted: bool) -> Crossing {
        Crossing {
            metric,
            value,
            threshold,
            is_predicted,
        }
    }

    #[test]
    fn what_is_done_has_one_sentence() {
        let cpu = crossing(Metric::CpuPercent, 85.2, 70.0, false);
        let predicted = crossing(Metric::MemoryMb, 600.4, 512.0, true);
        let low = crossing(Metric::CpuPercent, 5.0, 30.0, false);
        let high = Reason::HighUtilization {
            crossings: vec![cpu, predicted],
        };
        let low = Reason::LowUtilization {
            crossings: vec![low],
            window: Duration::from_secs(60),
        };
        for (why, sentence) in [
            (
                high,
                "High resource utilization detected (CPU 85.2% > 70%, predicted memory 600MB (90% quantile) > 512MB)",
            ),
            (
                low,
                "Low resource utilization detected (CPU 5.0% < 30% over 60 s)",
            ),
            (
                Reason::BelowMinimum { min: 2 },
                "Fewer than the minimum of 2 instance(s)",
            ),
            (
                Reason::AboveMaximum { max: 3 },
                "More than the maximum of 3 instance(s)",
            ),
        ] {
            assert_eq!(reason(&why), sentence);
        }
    }

    #[test]
    fn every_hold_has_its_words() {
        let seconds = Duration::from_secs;
        let requests = crossing(Metric::RequestRate, 120.0, 100.0, false);
        let cpu = crossing(Metric::CpuPercent, 66.66, 70.0, true);
        let held = [
            HoldReason::NoSamples,
            HoldReason::StaleSamples {
                age: seconds(90),
                window: seconds(60),
            },
            HoldReason::NotAllMeasured {
                measured: 1,
                instances: 3,
            },
            HoldReason::Starting {
                remaining: Duration::from_millis(2_100),
            },
            HoldReason::NoMetrics,
            HoldReason::WithinThresholds,
            HoldReason::NearThreshold { crossing: cpu },
            HoldReason::CoolDown {
                elapsed: seconds(12),
                cooldown: seconds(60),
                desired: 3,
            },
            HoldReason::AtMaximum {
                max: 10,
                desired: 12,
            },
            HoldReason::MemoryDoesNotDivide {
                before_mb: 2_000.0,
                now_mb: 1_900.0,
            },
            HoldReason::AtMinimum { min: 1 },
            HoldReason::NotMeasured {
                metric: Metric::RequestRate,
            },
            HoldReason::WindowNotCovered {
                covered: seconds(30),
                window: seconds(60),
            },
            HoldReason::RecentlyBusy { crossing: cpu },
            HoldReason::ForecastHolds { crossing: cpu },
            HoldReason::WouldNotFit { crossing: requests },
            HoldReason::AllLeased { leased: 2 },
        ];
        let sentences = held.map(|why| hold(&why)).join("\n");
        insta::assert_snapshot!(sentences, @r#"
    nothing has been measured
    the newest sample is 90 s old, older than the window of 60 s
    the newest sample covers 1 of 3 instances
    the newest instance is still starting (3 s left of its measured start time)
    neither CPU, memory nor request rate was measured
    all measured load is within the thresholds
    predicted CPU 66.7% (90% quantile) is within 10 % of 70%
    48 s of the 60 s cool-down remain (then 3 instances)
    12 instances are wanted, 10 are allowed
    memory does not divide over instances (2000MB each before the last one was added, 1900MB now)
    nothing measured asks for more, and the minimum of 1 instance(s) is running
    load seems low, but RPS per instance was not measured throughout
    load is low, but only 30 s of the last 60 s were measured
    load is low now, but predicted CPU 66.7% (90% quantile) ≥ 70% lately
    load is low, but predicted CPU 66.7% (90% quantile) ≥ 70%
    with one instance fewer RPS per instance 120.0 ≥ 100
    load is low, but 2 instance(s) are leased
    "#);
    }

    #[test]
    fn limits_and_proposals_are_short() {
        let asked = Proposal {
            metric: Metric::RequestRate,
            current: 250.0,
            predicted: None,
            threshold: 100.0,
            desired: 3,
        };
        assert_eq!(proposal(&asked), "RPS per instance 250.0 of 100 asks for 3");
        let cap = InstanceCap::FixedPort { port: 6379 };
        for (applied, words) in [
            (Limit::MaxInstances { max: 10 }, "maximum 10"),
            (
                Limit::InstanceCap { cap },
                "one instance, because port 6379 is fixed",
            ),
            (
                Limit::CoolDown {
                    remaining: Duration::from_millis(41_200),
                },
                "cool-down, 42 s left",
            ),
        ] {
            assert_eq!(limit(&applied), words);
        }
    }
}

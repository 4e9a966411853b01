//! Why a scaling decision is what it is, as values and as one sentence for people.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fleet::InstanceCap;
use crate::Metric;

/// The one reason that settled a decision. Displays as one sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// At least one metric is above its threshold.
    HighUtilization {
        /// Every metric that is.
        crossings: Vec<Crossing>,
    },
    /// CPU and memory were low throughout the window.
    LowUtilization {
        /// Their peaks in the window.
        crossings: Vec<Crossing>,
        /// The window.
        window: Duration,
    },
    /// There are fewer instances than allowed.
    BelowMinimum {
        /// The fewest allowed.
        min: u32,
    },
    /// There are more instances than allowed.
    AboveMaximum {
        /// The most allowed.
        max: u32,
    },
    /// Nothing is done.
    Hold {
        /// Why.
        why: HoldReason,
    },
}

/// Why nothing is done. Every value is per instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum HoldReason {
    /// Nothing has been measured.
    NoSamples,
    /// The newest sample is too old.
    StaleSamples {
        /// Its age.
        age: Duration,
        /// How old it may be.
        window: Duration,
    },
    /// The newest sample does not cover every instance: some are still starting.
    NotAllMeasured {
        /// Instances that it covers.
        measured: u32,
        /// Instances that there are.
        instances: u32,
    },
    /// The newest instance is younger than the time that it takes to start.
    Starting {
        /// The rest of that time.
        remaining: Duration,
    },
    /// Neither CPU nor memory nor request rate was measured.
    NoMetrics,
    /// Nothing calls for a change.
    WithinThresholds,
    /// A value is so close to its threshold that a change would soon be taken back.
    NearThreshold {
        /// The value.
        crossing: Crossing,
    },
    /// More is wanted, but the last increase is too recent.
    CoolDown {
        /// What has passed.
        elapsed: Duration,
        /// The whole cool-down.
        cooldown: Duration,
        /// How many instances are wanted.
        desired: u32,
    },
    /// More is wanted, but the most allowed are running.
    AtMaximum {
        /// The most allowed.
        max: u32,
        /// How many are wanted.
        desired: u32,
    },
    /// Only memory is high, and another instance did not lower it.
    MemoryDoesNotDivide {
        /// Memory per instance before the last instance was added for it, in MB.
        before_mb: f64,
        /// Memory per instance now, in MB.
        now_mb: f64,
    },
    /// Load is low, but the fewest allowed are running.
    AtMinimum {
        /// The fewest allowed.
        min: u32,
    },
    /// Load is low now, but a metric that would have to be low was not measured throughout.
    NotMeasured {
        /// The metric.
        metric: Metric,
    },
    /// Load is low now, but a part of the window was not measured.
    WindowNotCovered {
        /// What was measured, counted back from now.
        covered: Duration,
        /// The window.
        window: Duration,
    },
    /// Load is low now, but was not throughout the window.
    RecentlyBusy {
        /// The peak.
        crossing: Crossing,
    },
    /// Load is low, but a forecast says that it will not stay so.
    ForecastHolds {
        /// The forecast.
        crossing: Crossing,
    },
    /// Load is low, but one instance fewer would be too few.
    WouldNotFit {
        /// The load spread over one instance fewer.
        crossing: Crossing,
    },
    /// Load is low, but every instance is leased.
    AllLeased {
        /// Leased instances.
        leased: u32,
    },
}

/// A value held against a threshold. Units are those of the metric, per instance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// The metric.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// The threshold.
    pub threshold: f64,
    /// Whether the value is the 90 % quantile of a forecast.
    pub is_predicted: bool,
}

/// What one metric asks for. Values are per instance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The metric.
    pub metric: Metric,
    /// The newest sample's value.
    pub current: f64,
    /// The forecast's 90 % quantile, if it has earned its say.
    pub predicted: Option<f64>,
    /// The up threshold.
    pub threshold: f64,
    /// How many instances it asks for.
    pub desired: u32,
}

/// `CPU 85.2% of 70% asks for 2`
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks for {}", self.crossing(), self.desired)
    }
}

impl Proposal {
    /// The larger of current and predicted, against the threshold.
    pub(super) fn crossing(&self) -> Crossing {
        let predicted = self.predicted.filter(|predicted| *predicted > self.current);
        Crossing {
            metric: self.metric,
            value: predicted.unwrap_or(self.current),
            threshold: self.threshold,
            is_predicted: predicted.is_some(),
        }
    }
}

/// A limit that changed or withheld what the metrics proposed, in the order of application.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "limit", rename_all = "snake_case")]
pub enum Limit {
    /// The configured minimum.
    MinInstances {
        /// The fewest allowed.
        min: u32,
    },
    /// The configured maximum.
    MaxInstances {
        /// The most allowed.
        max: u32,
    },
    /// Something about the service allows fewer than configured.
    InstanceCap {
        /// What it is.
        cap: InstanceCap,
    },
    /// A recent action.
    CoolDown {
        /// What is left of it.
        remaining: Duration,
    },
    /// Memory adds one instance, and no more until that is shown to lower memory per instance.
    MemoryOneStep,
    /// Memory does not divide over instances; it is no longer a trigger for this service.
    MemoryDoesNotDivide,
    /// Instances are removed one at a time.
    OneAtATime,
    /// Leased instances are never removed.
    Leased {
        /// How many there are.
        leased: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HighUtilization { crossings } => {
                f.write_str("High resource utilization detected (")?;
                list(f, crossings, '>')?;
                f.write_str(")")
            }
            Self::LowUtilization { crossings, window } => {
                f.write_str("Low resource utilization detected (")?;
                list(f, crossings, '<')?;
                write!(f, " over {})", Seconds(*window))
            }
            Self::BelowMinimum { min } => write!(f, "Fewer than the minimum of {min} instance(s)"),
            Self::AboveMaximum { max } => write!(f, "More than the maximum of {max} instance(s)"),
            Self::Hold { why } => why.fmt(f),
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holding: ")?;
        match self {
            Self::NoSamples => f.write_str("nothing has been measured"),
            Self::StaleSamples { age, window } => write!(
                f,
                "the newest sample is {} old, older than the window of {}",
                Seconds(*age),
                Seconds(*window)
            ),
            Self::NotAllMeasured {
                measured,
                instances,
            } => write!(
                f,
                "the newest sample covers {measured} of {instances} instances"
            ),
            Self::Starting { remaining } => write!(
                f,
                "the newest instance is still starting ({} left of its measured start time)",
                Seconds(*remaining)
            ),
            Self::NoMetrics => f.write_str("neither CPU, memory nor request rate was measured"),
            Self::WithinThresholds => f.write_str("all measured load is within the thresholds"),
            Self::NearThreshold { crossing } => write!(
                f,
                "{} is within 10 % of {}",
                Subject(crossing),
                Amount(crossing.metric, crossing.threshold)
            ),
            Self::CoolDown {
                elapsed,
                cooldown,
                desired,
            } => write!(
                f,
                "{} of the {} cool-down remain (then {desired} instances)",
                Seconds(cooldown.saturating_sub(*elapsed)),
                Seconds(*cooldown)
            ),
            Self::AtMaximum { max, desired } => {
                write!(f, "{desired} instances are wanted, {max} are allowed")
            }
            Self::MemoryDoesNotDivide { before_mb, now_mb } => write!(
                f,
                "memory does not divide over instances ({before_mb:.0}MB each before the last one was added, {now_mb:.0}MB now)"
            ),
            Self::AtMinimum { min } => {
                write!(
                    f,
                    "nothing measured asks for more, and the minimum of {min} instance(s) is running"
                )
            }
            Self::NotMeasured { metric } => write!(
                f,
                "load seems low, but {} was not measured throughout",
                name(*metric)
            ),
            Self::WindowNotCovered { covered, window } => write!(
                f,
                "load is low, but only {} of the last {} were measured",
                Seconds(*covered),
                Seconds(*window)
            ),
            Self::RecentlyBusy { crossing } => {
                write!(f, "load is low now, but {} lately", Compared(crossing, '≥'))
            }
            Self::ForecastHolds { crossing } => {
                write!(f, "load is low, but {}", Compared(crossing, '≥'))
            }
            Self::WouldNotFit { crossing } => {
                write!(f, "with one instance fewer {}", Compared(crossing, '≥'))
            }
            Self::AllLeased { leased } => {
                write!(f, "load is low, but {leased} instance(s) are leased")
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinInstances { min } => write!(f, "minimum {min}"),
            Self::MaxInstances { max } => write!(f, "maximum {max}"),
            Self::InstanceCap {
                cap: InstanceCap::FixedPort { port },
            } => write!(f, "one instance, because port {port} is fixed"),
            Self::CoolDown { remaining } => write!(f, "cool-down, {} left", Seconds(*remaining)),
            Self::MemoryOneStep => {
                f.write_str("memory adds one instance until that is shown to lower it")
            }
            Self::MemoryDoesNotDivide => f.write_str("memory does not divide over instances"),
            Self::OneAtATime => f.write_str("one instance at a time"),
            Self::Leased { leased } => write!(f, "{leased} leased"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, crossings: &[Crossing], sign: char) -> fmt::Result {
    for (crossing, n) in crossings.iter().zip(0..) {
        let comma = if n == 0 { "" } else { ", " };
        write!(f, "{comma}{}", Compared(crossing, sign))?;
    }
    Ok(())
}

const fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::CpuPercent => "CPU",
        Metric::MemoryMb => "memory",
        Metric::MemoryTotalMb => "total memory",
        Metric::NetworkMbPerS => "network",
        Metric::ActiveConnections => "connections",
        Metric::RequestRate => "RPS per instance",
        Metric::ResponseTimeMs => "response time",
        Metric::ErrorRate => "error rate",
    }
}

/// `CPU 85.2% > 70%`
struct Compared<'a>(&'a Crossing, char);

impl fmt::Display for Compared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Crossing {
            metric, threshold, ..
        } = *self.0;
        write!(
            f,
            "{} {} {}",
            Subject(self.0),
            self.1,
            Amount(metric, threshold)
        )
    }
}

/// `CPU 85.2%`, `predicted CPU 85.2% (90% quantile)`
struct Subject<'a>(&'a Crossing);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Crossing {
            metric,
            value,
            is_predicted,
            ..
        } = *self.0;
        let predicted = if is_predicted { "predicted " } else { "" };
        write!(f, "{predicted}{} ", name(metric))?;
        match metric {
            Metric::CpuPercent => write!(f, "{value:.1}%"),
            Metric::MemoryMb => write!(f, "{value:.0}MB"),
            _ => write!(f, "{value:.1}"),
        }?;
        f.write_str(if is_predicted { " (90% quantile)" } else { "" })
    }
}

/// `CPU 85.2% of 70%`
impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = Amount(self.metric, self.threshold);
        write!(f, "{} of {amount}", Subject(self))
    }
}

/// A threshold, as it was written: `70%`, `512MB`, `100`.
struct Amount(Metric, f64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Metric::CpuPercent => write!(f, "{}%", self.1),
            Metric::MemoryMb => write!(f, "{}MB", self.1),
            _ => write!(f, "{}", self.1),
        }
    }
}

/// `42 s`, rounded up, so that what remains is never shown as nothing.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} s", self.0.as_secs_f64().ceil())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(metric: Metric, value: f64, threshold: f64) -> Crossing {
        Crossing {
            metric,
            value,
            threshold,
            is_predicted: false,
        }
    }

    #[test]
    fn sentences_begin_as_the_specification_words_them() {
        let high = Reason::HighUtilization {
            crossings: vec![
                crossing(Metric::CpuPercent, 85.2, 70.0),
                Crossing {
                    is_predicted: true,
                    ..crossing(Metric::RequestRate, 130.04, 100.0)
                },
            ],
        };
        assert_eq!(
            high.to_string(),
            "High resource utilization detected (CPU 85.2% > 70%, predicted RPS per instance 130.0 (90% quantile) > 100)"
        );
        let low = Reason::LowUtilization {
            crossings: vec![
                crossing(Metric::CpuPercent, 3.1, 30.0),
                crossing(Metric::MemoryMb, 40.2, 128.0),
            ],
            window: Duration::from_secs(60),
        };
        assert_eq!(
            low.to_string(),
            "Low resource utilization detected (CPU 3.1% < 30%, memory 40MB < 128MB over 60 s)"
        );
    }

    #[test]
    fn a_cool_down_says_what_remains() {
        let why = HoldReason::CoolDown {
            elapsed: Duration::from_millis(18_500),
            cooldown: Duration::from_secs(60),
            desired: 3,
        };
        assert_eq!(
            why.to_string(),
            "Holding: 42 s of the 60 s cool-down remain (then 3 instances)"
        );
    }
}

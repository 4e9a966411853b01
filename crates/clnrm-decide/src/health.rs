//! How well a service is, from 0 to 100.
//!
//! Deliberately absent: probabilities. The score is the specification's weighted sum and nothing more.

use serde::{Deserialize, Serialize};

use super::metrics::{Metric, ServiceMetrics};

/// Scores above this are [`HealthStatus::Healthy`], below [`DEGRADED_FROM`] [`HealthStatus::Unhealthy`] (specification).
const HEALTHY_ABOVE: f64 = 70.0;
const DEGRADED_FROM: f64 = 40.0;
/// At this many response targets and beyond, the response component is 0.
const TARGETS_TO_ZERO: f64 = 10.0;

/// What a service's numbers are held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HealthLimits {
    /// Memory of one instance in MB (10⁶ bytes).
    pub memory_limit_mb: f64,
    /// Response time up to which health is not reduced, in milliseconds.
    pub response_target_ms: f64,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            memory_limit_mb: 1024.0,
            response_target_ms: 100.0,
        }
    }
}

/// The band of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Above 70.
    Healthy,
    /// 40 to 70.
    Degraded,
    /// Below 40.
    Unhealthy,
    Unknown,
}

impl HealthStatus {
    fn of(score: f64) -> Self {
        if score > HEALTHY_ABOVE {
            Self::Healthy
        } else if score >= DEGRADED_FROM {
            Self::Degraded
        } else {
            Self::Unhealthy
        }
    }
}

/// The health of a service at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// 0 to 100; `None` = nothing was measured.
    pub score: Option<f64>,
    /// The band of the score.
    pub status: HealthStatus,
    /// The metrics that the score was made of. The weights of the others were shared out among these.
    pub used: Vec<Metric>,
}

/// What lowers health beside the numbers of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// Processes were killed for lack of memory: what is left of it then says nothing about what is needed.
    pub is_short_of_memory: bool,
    /// Instances that are paused, are being restarted or fail their own check.
    pub not_serving: u32,
    pub instances: u32,
}

impl Trouble {
    /// The share of instances that serve.
    fn serving(&self) -> f64 {
        if self.not_serving == 0 {
            return 1.0;
        }
        let serving = self.instances.saturating_sub(self.not_serving);
        f64::from(serving) / f64::from(self.instances.max(1))
    }
}

impl Health {
    /// The health that one sample shows, measured or expected.
    pub fn of(sample: &ServiceMetrics, limits: &HealthLimits) -> Self {
        Self::troubled(sample, limits, &Trouble::default())
    }

    /// The same of instances of which some are in trouble: those that do not serve count with 0.
    pub fn troubled(sample: &ServiceMetrics, limits: &HealthLimits, trouble: &Trouble) -> Self {
        let (mut sum, mut weights, mut used) = (0.0, 0.0, Vec::with_capacity(4));
        for (metric, weight) in [
            (Metric::CpuPercent, 0.3),
            (Metric::MemoryMb, 0.3),
            (Metric::ErrorRate, 0.2),
            (Metric::ResponseTimeMs, 0.2),
        ] {
            let is_exhausted = metric == Metric::MemoryMb && trouble.is_short_of_memory;
            let part = sample
                .get(metric)
                .map(|value| component(metric, value, limits));
            if let Some(part) = part.map(|part| if is_exhausted { 0.0 } else { part }) {
                sum += weight * part;
                weights += weight;
                used.push(metric);
            }
        }
        let score = (!used.is_empty()).then(|| sum / weights * trouble.serving());
        Self {
            score,
            status: score.map_or(HealthStatus::Unknown, HealthStatus::of),
            used,
        }
    }
}

/// One metric's part of the score, 0 to 100.
fn component(metric: Metric, value: f64, limits: &HealthLimits) -> f64 {
    let bad = match metric {
        Metric::CpuPercent => value / 100.0,
        Metric::MemoryMb => value / limits.memory_limit_mb,
        Metric::ResponseTimeMs => {
            (value / limits.response_target_ms - 1.0) / (TARGETS_TO_ZERO - 1.0)
        }
        _ => value,
    };
    100.0 * (1.0 - bad.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(
        cpu_percent: Option<f64>,
        memory_mb: Option<f64>,
        error_rate: Option<f64>,
        response_time_ms: Option<f64>,
    ) -> ServiceMetrics {
        ServiceMetrics {
            cpu_percent,
            memory_mb,
            error_rate,
            response_time_ms,
            ..ServiceMetrics::default()
        }
    }

    fn score(sample: ServiceMetrics) -> f64 {
        let score = Health::of(&sample, &HealthLimits::default()).score;
        (score.unwrap() * 1e6).round() / 1e6
    }

    #[test]
    fn the_score_is_the_weighted_sum() {
        let all = sample(Some(50.0), Some(256.0), Some(0.1), Some(325.0));
        assert_eq!(
            score(all),
            0.3 * 50.0 + 0.3 * 75.0 + 0.2 * 90.0 + 0.2 * 75.0
        );
        assert_eq!(
            score(sample(Some(0.0), Some(0.0), Some(0.0), Some(100.0))),
            100.0
        );
        assert_eq!(
            score(sample(Some(400.0), Some(9e9), Some(1.0), Some(1_000.0))),
            0.0
        );
    }

    #[test]
    fn absent_fields_drop_out_and_the_report_can_say_so() {
        let health = Health::of(
            &sample(Some(50.0), None, Some(0.0), None),
            &HealthLimits::default(),
        );
        let score = health.score.unwrap();
        assert!((score - (0.3 * 50.0 + 0.2 * 100.0) / 0.5).abs() < 1e-9);
        assert_eq!(health.used, [Metric::CpuPercent, Metric::ErrorRate]);
        let unknown = Health::of(&ServiceMetrics::default(), &HealthLimits::default());
        assert_eq!(
            (unknown.score, unknown.status),
            (None, HealthStatus::Unknown)
        );
    }

    #[test]
    fn trouble_lowers_what_the_numbers_say() {
        let sample = sample(Some(0.0), Some(1.0), None, None);
        let score = |is_short_of_memory, not_serving| {
            let trouble = Trouble {
                is_short_of_memory,
                not_serving,
                instances: 2,
            };
            let health = Health::troubled(&sample, &HealthLimits::default(), &trouble);
            (health.score.unwrap().round(), health.status)
        };
        assert_eq!(score(false, 0), (100.0, HealthStatus::Healthy));
        assert_eq!(score(true, 0), (50.0, HealthStatus::Degraded));
        assert_eq!(score(false, 1), (50.0, HealthStatus::Degraded));
        assert_eq!(score(false, 2), (0.0, HealthStatus::Unhealthy));
    }

    #[test]
    fn bands_meet_as_specified() {
        for (score, status) in [
            (70.01, HealthStatus::Healthy),
            (70.0, HealthStatus::Degraded),
            (40.0, HealthStatus::Degraded),
            (39.99, HealthStatus::Unhealthy),
        ] {
            assert_eq!(HealthStatus::of(score), status, "{score}");
        }
    }
}

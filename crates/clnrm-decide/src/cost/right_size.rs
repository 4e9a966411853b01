//! The allotment that the measured use asks for.

use serde::{Deserialize, Serialize};

use super::allotment::{Allotment, measured};
use crate::statistics::{mean, percentile};
use crate::{Metric, MetricsHistory};

/// Room above what was seen (as VPA and KRR: +15 %).
const HEADROOM: f64 = 1.15;
/// Less is never recommended: a service that idled shows nothing of what it needs when it works. Of CPU, in cores, it is
/// the least that VPA recommends; of memory, in MB, about what the smallest servers take when they start.
pub const LEAST_CPUS: f64 = 0.025;
/// See [`LEAST_CPUS`].
pub const LEAST_MEMORY_MB: f64 = 16.0;

/// The allotment that the measured use asks for, per instance. Resources without an allotment are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RightSize {
    /// Allotted and recommended CPU, in cores.
    pub cpus: Option<CpuSize>,
    /// Allotted and recommended memory, in MB (10⁶ bytes).
    pub memory_mb: Option<MemorySize>,
}

/// CPU now and recommended, in cores: the largest of the 95th percentile of use × 1.15, the 99th and a floor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CpuSize {
    pub allotted: f64,
    /// The 95th percentile of use.
    pub percentile_95: f64,
    /// The 99th percentile of use.
    pub percentile_99: f64,
    /// The most that any tier of the history remembers.
    pub peak: f64,
    /// The recommended allotment, never above the present one.
    pub recommended: f64,
    /// The share of samples with more use than that, 0 to 1: they would be throttled.
    pub throttled_share: f64,
}

/// Memory now and recommended, in MB (10⁶ bytes): the peak × 1.15, or a floor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemorySize {
    pub allotted: f64,
    /// The most that any tier of the history remembers.
    pub peak: f64,
    /// The recommended allotment, never above the present one.
    pub recommended: f64,
}

/// How much of its CPU a service used, as shares of the allotment.
pub(super) struct CpuUse {
    percentile_95: f64,
    percentile_99: f64,
    shares: Vec<f64>,
}

impl CpuUse {
    /// `None` where too little was measured.
    pub(super) fn of(history: &MetricsHistory) -> Option<Self> {
        let mut shares = measured(history, Metric::CpuPercent)?;
        shares.iter_mut().for_each(|share| *share /= 100.0);
        Some(Self {
            percentile_95: percentile(&mut shares, 95)?,
            percentile_99: percentile(&mut shares, 99)?,
            shares,
        })
    }

    /// What it needs, with room for more. A load that comes in bursts is above its 95th percentile for seconds at a time.
    pub(super) fn needed(&self) -> f64 {
        (self.percentile_95 * HEADROOM).max(self.percentile_99)
    }

    fn size(&self, allotted: f64, peak_percent: f64) -> CpuSize {
        let recommended = (self.needed() * allotted).max(LEAST_CPUS).min(allotted);
        let throttled = |share: &&f64| **share * allotted > recommended;
        CpuSize {
            allotted,
            percentile_95: self.percentile_95 * allotted,
            percentile_99: self.percentile_99 * allotted,
            peak: peak_percent / 100.0 * allotted,
            recommended,
            throttled_share: self.shares.iter().filter(throttled).count() as f64
                / self.shares.len() as f64,
        }
    }
}

impl RightSize {
    /// `None` where too little was measured.
    pub(super) fn of(
        history: &MetricsHistory,
        allotment: &Allotment,
        cpu: &CpuUse,
    ) -> Option<Self> {
        // Every tier is asked, so that a peak older than the raw samples still counts.
        let cpu_peak = history.peak(Metric::CpuPercent)?;
        let memory_peak = history.peak(Metric::MemoryMb)?;
        Some(Self {
            cpus: allotment.cpus.map(|allotted| cpu.size(allotted, cpu_peak)),
            memory_mb: allotment.memory_mb.map(|allotted| MemorySize {
                allotted,
                peak: memory_peak,
                recommended: (memory_peak * HEADROOM).max(LEAST_MEMORY_MB).min(allotted),
            }),
        })
    }

    /// Allotted and recommended CPU and memory.
    pub(super) fn pairs(&self) -> [Option<(f64, f64)>; 2] {
        [
            self.cpus.map(|size| (size.allotted, size.recommended)),
            self.memory_mb.map(|size| (size.allotted, size.recommended)),
        ]
    }

    /// The share of the allotment that becomes free; of two resources the mean, because cores and bytes do not add up.
    pub(super) fn freed_share(&self) -> Option<f64> {
        let shares: Vec<f64> = self
            .pairs()
            .into_iter()
            .flatten()
            .filter(|(allotted, _)| *allotted > 0.0)
            .map(|(allotted, recommended)| (allotted - recommended) / allotted)
            .collect();
        mean(&shares)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{history, kinds};
    use super::*;
    use crate::CostKind;
    use crate::cost::recommend;

    fn bursts(every: i64) -> MetricsHistory {
        history(600, |second, sample| {
            sample.cpu_percent = Some(if second % every == 0 { 95.0 } else { 0.5 });
            sample.memory_mb = Some(40.0);
        })
    }

    #[test]
    fn bursts_are_not_throttled_away() {
        let allotment = Allotment {
            cpus: Some(2.0),
            ..Allotment::default()
        };
        let size = |history: &MetricsHistory| {
            let found = recommend("a", history, &allotment, 1, None);
            found.first().unwrap().right_size.unwrap().cpus.unwrap()
        };
        let often = size(&bursts(25));
        assert_eq!((often.recommended, often.peak), (1.9, 1.9));
        assert_eq!(often.throttled_share, 0.0);
        let seldom = size(&bursts(300));
        assert_eq!((seldom.recommended, seldom.peak), (0.025, 1.9));
        assert_eq!(seldom.throttled_share, 2.0 / 600.0);
        // Without an allotment the rule of thumb would take off what the bursts need.
        let rule = |history| kinds(&recommend("a", &history, &Allotment::default(), 1, None));
        assert_eq!(rule(bursts(25)), []);
        assert_eq!(rule(bursts(300)), [CostKind::Downsize]);
    }

    #[test]
    fn nothing_is_ever_recommended_below_the_floor() {
        let nothing = history(600, |_, sample| {
            sample.cpu_percent = Some(0.0);
            sample.memory_mb = Some(0.5);
        });
        let allotment = |cpus, memory_mb| Allotment {
            cpus: Some(cpus),
            memory_mb: Some(memory_mb),
            ..Allotment::default()
        };
        let found = recommend("a", &nothing, &allotment(2.0, 512.0), 1, None);
        let right_size = found.first().unwrap().right_size.unwrap();
        assert_eq!(right_size.cpus.unwrap().recommended, LEAST_CPUS);
        assert_eq!(right_size.memory_mb.unwrap().recommended, LEAST_MEMORY_MB);
        assert_eq!(
            recommend("a", &nothing, &allotment(0.02, 8.0), 1, None),
            [],
            "less than the floor is left alone"
        );
    }
}

//! What was measured of one service over time, at three resolutions.
//!
//! Deliberately absent: interpolation. A field that was not measured leaves a gap, and the gap survives in every tier.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::metrics::{Metric, ServiceMetrics};
use super::rollup::{Rollup, Summary, Tier};
use crate::Timestamp;

/// Most entries that one tier keeps (fixed by the specification).
pub const TIER_CAPACITY: usize = 1000;

/// A history that covers this many horizons is long enough to forecast from.
pub(crate) const HORIZONS_COVERED: u32 = 4;

/// The samples of one service: raw, per minute and per quarter of an hour, each at most [`TIER_CAPACITY`], oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsHistory {
    raw: VecDeque<ServiceMetrics>,
    minute: VecDeque<Rollup>,
    quarter_hour: VecDeque<Rollup>,
    /// What is known of more, that was not read.
    pub unread: Unread,
}

/// What is looked at besides the raw samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The rollups of [`Tier::Minute`].
    pub minute: bool,
    /// The rollups of [`Tier::QuarterHour`].
    pub quarter_hour: bool,
    /// [`MetricsHistory::peak`].
    pub peaks: bool,
}

impl Wanted {
    pub const ALL: Self = Self {
        minute: true,
        quarter_hour: true,
        peaks: true,
    };
}

/// What is known of rollups that were left in the store: what they span, and the peaks of CPU and memory, the two that
/// allotments rest on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unread {
    minute: Duration,
    quarter_hour: Duration,
    peaks: BTreeMap<Metric, f64>,
}

impl Unread {
    /// A tier has entries from `first` to `last`, each named by its start.
    pub fn note_span(&mut self, tier: Tier, first: Timestamp, last: Timestamp) {
        let span = certain_span(tier, first, last);
        match tier {
            Tier::Raw => {}
            Tier::Minute => self.minute = span,
            Tier::QuarterHour => self.quarter_hour = span,
        }
    }

    /// The largest values are at least those of a rollup.
    pub fn note_peaks(&mut self, rollup: &Rollup) {
        for metric in [Metric::CpuPercent, Metric::MemoryMb] {
            if let Some(Summary { max, .. }) = rollup.get(metric) {
                let held = self.peaks.entry(metric).or_insert(max);
                *held = held.max(max);
            }
        }
    }

    fn span(&self, tier: Tier) -> Duration {
        match tier {
            Tier::Raw => Duration::ZERO,
            Tier::Minute => self.minute,
            Tier::QuarterHour => self.quarter_hour,
        }
    }
}

/// The time that entries from `first` to `last` certainly cover.
///
/// Of the first and last rollup only an unknown part was measured, so they do not count: otherwise two
/// samples on either side of a full minute would seem to span two minutes.
fn certain_span(tier: Tier, first: Timestamp, last: Timestamp) -> Duration {
    let whole = last.since(first);
    whole.saturating_sub(tier.width().unwrap_or_default())
}

impl MetricsHistory {
    pub fn new() -> Self {
        Self::default()
    }

    /// A history as it was stored. Input may be unsorted; the newest [`TIER_CAPACITY`] of each tier are kept.
    pub fn from_parts(
        raw: Vec<ServiceMetrics>,
        minute: Vec<Rollup>,
        quarter_hour: Vec<Rollup>,
    ) -> Self {
        Self {
            raw: newest_sorted(raw, |sample| sample.sampled_at),
            minute: newest_sorted(minute, |rollup| rollup.start),
            quarter_hour: newest_sorted(quarter_hour, |rollup| rollup.start),
            unread: Unread::default(),
        }
    }

    /// Adds the rollups of a tier that had none. Input may be unsorted; the newest [`TIER_CAPACITY`] are kept.
    pub fn add_rollups(&mut self, tier: Tier, rollups: Vec<Rollup>) {
        let ring = newest_sorted(rollups, |rollup| rollup.start);
        match tier {
            Tier::Raw => {}
            Tier::Minute => self.minute = ring,
            Tier::QuarterHour => self.quarter_hour = ring,
        }
    }

    pub fn latest(&self) -> Option<&ServiceMetrics> {
        self.raw.back()
    }

    /// How many raw samples there are.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is no raw sample.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The raw samples, oldest first.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &ServiceMetrics> + ExactSizeIterator {
        self.raw.iter()
    }

    /// The raw samples that are at most `window` old at `now`, oldest first, and the one before them.
    ///
    /// The one before shows that the window is covered from its beginning.
    pub fn recent(&self, window: Duration, now: Timestamp) -> Vec<ServiceMetrics> {
        let begin = now - window;
        let first = self.raw.partition_point(|held| held.sampled_at < begin);
        self.raw
            .iter()
            .skip(first.saturating_sub(1))
            .copied()
            .collect()
    }

    /// The rollups of a tier, oldest first; none for [`Tier::Raw`].
    pub fn rollups(&self, tier: Tier) -> impl DoubleEndedIterator<Item = &Rollup> {
        match tier {
            Tier::Raw => None,
            Tier::Minute => Some(&self.minute),
            Tier::QuarterHour => Some(&self.quarter_hour),
        }
        .into_iter()
        .flatten()
    }

    /// One metric over time, oldest first; where it was not measured there is no point.
    ///
    /// A rollup stands for its mean, at the middle of its span.
    pub fn series(&self, metric: Metric, tier: Tier) -> Vec<(Timestamp, f64)> {
        match tier.width() {
            None => self
                .raw
                .iter()
                .filter_map(|sample| Some((sample.sampled_at, sample.get(metric)?)))
                .collect(),
            Some(width) => self
                .rollups(tier)
                .filter_map(|rollup| Some((rollup.start + width / 2, rollup.get(metric)?.mean)))
                .collect(),
        }
    }

    /// As [`MetricsHistory::series`], with all that was seen of each entry; a raw sample is all of itself.
    pub fn summaries(&self, metric: Metric, tier: Tier) -> Vec<(Timestamp, Summary)> {
        match tier.width() {
            None => {
                let points = self.series(metric, tier).into_iter();
                points.map(|(at, value)| (at, Summary::of(value))).collect()
            }
            Some(width) => self
                .rollups(tier)
                .filter_map(|rollup| Some((rollup.start + width / 2, rollup.get(metric)?)))
                .collect(),
        }
    }

    /// The largest value of a metric that any tier remembers.
    pub fn peak(&self, metric: Metric) -> Option<f64> {
        let raw = self.raw.iter().filter_map(|sample| sample.get(metric));
        let rolled = self.minute.iter().chain(&self.quarter_hour);
        raw.chain(rolled.filter_map(|rollup| Some(rollup.get(metric)?.max)))
            .chain(self.unread.peaks.get(&metric).copied())
            .reduce(f64::max)
    }

    /// The tier to forecast from: the finest whose span covers four horizons, else the one with the longest span.
    pub fn tier_for_horizon(&self, horizon: Duration) -> Tier {
        let enough = horizon.saturating_mul(HORIZONS_COVERED);
        let mut longest = Tier::Raw;
        for tier in Tier::ALL {
            if self.span(tier) >= enough {
                return tier;
            }
            if self.span(tier) > self.span(longest) {
                longest = tier;
            }
        }
        longest
    }

    /// The longest time that a tier certainly covers.
    pub fn longest_span(&self) -> Duration {
        let spans = Tier::ALL.map(|tier| self.span(tier));
        spans.into_iter().max().unwrap_or_default()
    }

    /// The time that a tier certainly covers.
    fn span(&self, tier: Tier) -> Duration {
        let ends = match tier {
            Tier::Raw => self
                .raw
                .front()
                .zip(self.raw.back())
                .map(|(first, last)| (first.sampled_at, last.sampled_at)),
            Tier::Minute | Tier::QuarterHour => {
                let mut starts = self.rollups(tier).map(|rollup| rollup.start);
                starts
                    .next()
                    .map(|first| (first, starts.next_back().unwrap_or(first)))
            }
        };
        let read = ends.map_or(Duration::ZERO, |(first, last)| {
            certain_span(tier, first, last)
        });
        read.max(self.unread.span(tier))
    }
}

fn newest_sorted<T>(mut entries: Vec<T>, time: impl Fn(&T) -> Timestamp) -> VecDeque<T> {
    entries.sort_by_key(time);
    let surplus = entries.len().saturating_sub(TIER_CAPACITY);
    let mut ring = VecDeque::from(entries);
    ring.drain(..surplus);
    ring
}

#[cfg(test)]
mod tests;

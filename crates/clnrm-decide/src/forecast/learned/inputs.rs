//! What the network sees of a window: numbers without a unit, relative to the newest value and in units of the mean change.

use crate::forecast::experts::{Experts, Knot};
use crate::forecast::track::{Track, quantiles, quantiles_at};

/// Forecasts that are mixed at each knot.
pub const EXPERTS: usize = 9;
/// Neighbouring past values that are seen as they are.
const LAGS: usize = 24;
/// The newest errors that count as recent.
const RECENT: usize = 64;
const WINDOW_LEVELS: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Numbers that all knots share, and numbers of each knot.
pub const SHARED: usize = LAGS + 7 + WINDOW_LEVELS.len() + 9;
/// Numbers of each knot: four forecasts, two sets of quantiles, how well four models did recently and overall.
pub const OF_KNOT: usize = 4 + 5 + 5 + 8;
/// Below this share of the mean change an error is nothing.
const NOTHING: f32 = 1e-3;
/// Inputs beyond this say no more than this.
const LARGEST: f32 = 8.0;
/// Values beyond this are compressed to the largest input anyway, and their squares might overflow.
const BEYOND: f32 = 1e4;
/// The newest values whose median is a forecast.
const RECENT_MEDIAN: usize = 50;

/// What the network sees from one origin.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub shared: Vec<f32>,
    pub knots: Vec<KnotInputs>,
}

/// What the network sees of one knot. Forecasts and quantiles are relative to the newest value.
#[derive(Debug, Clone)]
pub struct KnotInputs {
    /// As the first layer takes them.
    pub features: Vec<f32>,
    pub experts: [f32; EXPERTS],
    /// The quantiles of the regression's errors.
    pub errors: [f32; 5],
    /// The quantiles of past changes over the same distance.
    pub changes: [f32; 5],
}

/// What is known of a window up to `end`, and holds for origins from there on.
#[derive(Debug)]
pub(super) struct Snapshot {
    window: [f32; 5],
    shape: [f32; 7],
    knots: Vec<KnotSnapshot>,
}

#[derive(Debug)]
struct KnotSnapshot {
    /// Quantiles of the regression's errors and of past changes.
    errors: [f32; 5],
    changes: [f32; 5],
    /// What does not depend on the origin, as the first layer takes it.
    features: Vec<f32>,
}

impl Snapshot {
    /// What the first `end` values show.
    pub(super) fn at(experts: &Experts, end: usize) -> Self {
        let all = &experts.scaled.values;
        let values = all.get(..end).unwrap_or_default();
        Self {
            window: quantiles_at(sample(values, end < all.len()), WINDOW_LEVELS),
            shape: shape_of(values, experts.has_period),
            knots: experts
                .knots
                .iter()
                .map(|knot| knot_at(knot, values, end < all.len()))
                .collect(),
        }
    }

    /// What the network sees from `origin`, the place of the newest value that is known there.
    pub(super) fn inputs(&self, experts: &Experts, origin: usize) -> Inputs {
        let values = experts.scaled.values.get(..=origin).unwrap_or_default();
        let newest = values.last().copied().unwrap_or_default();
        let mut shared = Vec::with_capacity(SHARED);
        let before = values.iter().rev().skip(1);
        shared.extend(before.take(LAGS).map(|value| compressed(value - newest)));
        shared.resize(LAGS, 0.0);
        let levels = experts.levels.0.get(origin).copied().unwrap_or([newest; 8]);
        shared.extend(
            levels
                .iter()
                .skip(1)
                .map(|level| compressed(level - newest)),
        );
        shared.extend(self.window.map(|value| compressed(value - newest)));
        shared.extend(self.shape);
        shared.push(compressed(newest - experts.scaled.floor()));
        let recent = values.iter().rev().take(RECENT_MEDIAN).copied();
        let [middle] = quantiles_at(recent, [0.5]);
        shared.push(compressed(middle - newest));
        let [_, _, window_median, ..] = self.window;
        let [_, _, _, _, fast, _, slow, _] = levels;
        let common = [fast, slow, window_median, middle].map(|value| value - newest);
        let knots = self.knots.iter().zip(&experts.knots);
        let knots = knots.map(|(seen, knot)| seen.inputs(knot, (origin, newest), common));
        Inputs {
            shared,
            knots: knots.collect(),
        }
    }
}

impl KnotSnapshot {
    fn inputs(&self, knot: &Knot, (origin, newest): (usize, f32), common: [f32; 4]) -> KnotInputs {
        let tracks = [
            &knot.smoothed,
            &knot.damped,
            knot.regressed(),
            &knot.repeated,
        ];
        let own = tracks.map(|track| track.from(origin).map_or(0.0, |forecast| forecast - newest));
        let mut features = Vec::with_capacity(OF_KNOT);
        features.extend(own.map(compressed));
        features.extend(&self.features);
        let [fast, slow, window, middle] = common;
        let [smoothed, damped, regressed, repeated] = own;
        KnotInputs {
            features,
            experts: [
                0.0, fast, slow, window, middle, smoothed, damped, regressed, repeated,
            ],
            errors: self.errors,
            changes: self.changes,
        }
    }
}

fn knot_at(knot: &Knot, values: &[f32], past: bool) -> KnotSnapshot {
    let naive: Vec<f32> = changes(values, knot.step);
    let sums = Sizes::of(naive.iter().rev().copied());
    let skill = |track: &Track| {
        let sizes = Sizes::of(track.newest_errors(values, knot.step));
        [RECENT, usize::MAX].map(|count| sizes.log_ratio(&sums, count))
    };
    let mut regressed = skill(knot.regressed());
    if past && !knot.first_errors.is_empty() {
        // The fit has seen these errors, the one before it has not.
        let [recent, _] = &mut regressed;
        let first = Sizes::of(knot.first_errors.iter().rev().copied());
        *recent = first.log_ratio(&sums, knot.first_errors.len());
    }
    let errors = knot.regressed().errors(values, knot.step);
    let (errors, changes) = (
        quantiles(sample(&errors, past)),
        quantiles(sample(&naive, past)),
    );
    let skills = [
        skill(&knot.smoothed),
        skill(&knot.damped),
        regressed,
        skill(&knot.repeated),
    ];
    let skills = skills.into_iter().flatten();
    let spreads = errors.into_iter().chain(changes).map(compressed);
    KnotSnapshot {
        errors,
        changes,
        features: spreads
            .chain(skills.map(|skill| skill.clamp(-LARGEST, LARGEST)))
            .collect(),
    }
}

/// For a look back, every third value of a long window is enough to know its quantiles.
fn sample(values: &[f32], past: bool) -> impl Iterator<Item = f32> {
    let apart = if past && values.len() > 300 { 3 } else { 1 };
    values.iter().step_by(apart).copied()
}

fn changes(values: &[f32], distance: usize) -> Vec<f32> {
    let later = values.iter().skip(distance);
    later.zip(values).map(|(to, from)| to - from).collect()
}

/// The sizes of some errors, summed up from the newest on: place n holds the sum of the newest n.
struct Sizes(Vec<f32>);

impl Sizes {
    fn of(newest_first: impl ExactSizeIterator<Item = f32>) -> Self {
        let mut sums = Vec::with_capacity(newest_first.len() + 1);
        let mut sum = -0.0;
        sums.push(sum);
        for error in newest_first {
            sum += error.abs();
            sums.push(sum);
        }
        Self(sums)
    }

    /// ln of the newest errors' mean size ÷ that of the last value.
    fn log_ratio(&self, naive: &Self, count: usize) -> f32 {
        let count = count.min(self.0.len() - 1).min(naive.0.len() - 1);
        if count == 0 {
            return 0.0;
        }
        let sum = |sizes: &Self| sizes.0.get(count).copied().unwrap_or_default();
        let nothing = NOTHING * count as f32;
        ((sum(self) + nothing) / (sum(naive) + nothing)).ln()
    }
}

fn shape_of(values: &[f32], has_period: bool) -> [f32; 7] {
    let sizes: Vec<f32> = changes(values, 1)
        .iter()
        .map(|change| change.abs())
        .collect();
    let mean = |count: usize| {
        let count = count.min(sizes.len()).max(1);
        sizes.iter().rev().take(count).sum::<f32>() / count as f32
    };
    let (short, long) = (mean(20), mean(100));
    let count = values.len().max(1) as f32;
    let still = sizes.iter().filter(|size| **size < 1e-6).count() as f32 / count;
    let average = values.iter().sum::<f32>() / count;
    let squares: f32 = values
        .iter()
        .map(|value| (value - average) * (value - average))
        .sum();
    let [median] = quantiles_at(sizes.iter().copied(), [0.5]);
    let ln = |value: f32| (value + NOTHING).ln();
    [
        f32::from(u8::from(has_period)),
        count.ln() / 7.0,
        ln(short),
        ln(long),
        still,
        ln(median),
        ln((squares / count).sqrt()),
    ]
}

/// Like a logarithm for large values, like the value itself for small ones: the inverse hyperbolic sine.
fn compressed(value: f32) -> f32 {
    let size = value.abs().min(BEYOND);
    let logarithm = (size + (size * size + 1.0).sqrt()).ln();
    logarithm.min(LARGEST).copysign(value)
}

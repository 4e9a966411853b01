//! Windows cut from traces, as the network sees them, with what came after them.

use std::thread;

use clnrm_decide::Window;
use clnrm_decide::forecast::learned::{INPUTS, Lesson};
use clnrm_decide::forecast::{Range, WINDOW_VALUES};
use clnrm_forecast_bench::plan::STEPS;
use clnrm_forecast_bench::traces::{Trace, Traces};
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{RngExt, SeedableRng};

use crate::folds::source_of;

/// One window and what came.
#[derive(Debug, Clone)]
pub struct Example {
    /// The place of the material.
    pub material: usize,
    pub inputs: Vec<f32>,
    /// For each step: experts, quantiles of errors, quantiles of changes, what came.
    pub knots: Vec<ExampleKnot>,
}

/// One step of an example.
#[derive(Debug, Clone, Copy)]
pub struct ExampleKnot {
    pub experts: [f32; clnrm_decide::forecast::learned::EXPERTS],
    /// Quantiles of the regression's errors.
    pub errors: [f32; 5],
    /// Quantiles of changes.
    pub changes: [f32; 5],
    pub target: f32,
}

#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub per_trace: usize,
    /// Share of windows that are shorter than they could be.
    pub short: f64,
    pub seed: u64,
}

const FARTHEST: usize = 12;
/// Fewest samples before a place.
const FIRST: usize = 100;
const SHORTEST: f64 = 24.0;

/// What windows are cut from: a trace, or something made of traces of one source.
#[derive(Debug, Clone)]
pub struct Material {
    /// Where it comes from.
    pub source: String,
    /// Oldest first.
    pub values: Vec<f64>,
    /// How much it counts beside a trace.
    pub weight: f32,
}

/// How much what was made of traces counts beside them.
const MADE: f32 = 0.5;
/// So many neighbours are averaged to the same load at a coarser step.
const COARSER: [usize; 3] = [2, 3, 6];
/// Fewest samples of something coarser.
const FEWEST_COARSE: usize = 400;

/// The traces; each at coarser steps; and sums of two of the same source, so that a source that is left out stays out.
pub fn materials(traces: &Traces, made: bool) -> Vec<Material> {
    let material = |(name, trace): (&String, &Trace)| Material {
        source: source_of(name),
        values: trace.values.clone(),
        weight: 1.0,
    };
    let originals: Vec<Material> = traces.iter().map(material).collect();
    let mut all = originals.clone();
    if made {
        for original in &originals {
            all.extend(COARSER.iter().filter_map(|by| coarser(original, *by)));
        }
        for (place, one) in originals.iter().enumerate() {
            let mut later = originals.iter().skip(place + 1);
            let other = later.find(|other| other.source == one.source);
            all.extend(other.map(|other| sum(one, other)));
        }
    }
    all
}

fn coarser(original: &Material, by: usize) -> Option<Material> {
    let mean = |group: &[f64]| group.iter().sum::<f64>() / by as f64;
    let values: Vec<f64> = original.values.chunks_exact(by).map(mean).collect();
    (values.len() >= FEWEST_COARSE).then(|| Material {
        source: original.source.clone(),
        values,
        weight: MADE,
    })
}

/// Two loads on one machine: each in units of its own mean size.
fn sum(one: &Material, other: &Material) -> Material {
    let unit = |values: &[f64]| {
        let sizes: f64 = values.iter().map(|value| value.abs()).sum();
        (sizes / values.len().max(1) as f64).max(f64::MIN_POSITIVE)
    };
    let (first, second) = (unit(&one.values), unit(&other.values));
    let pairs = one.values.iter().zip(&other.values);
    Material {
        source: one.source.clone(),
        values: pairs.map(|(a, b)| a / first + b / second).collect(),
        weight: MADE,
    }
}

/// Cuts windows at random places of each material, in two threads.
pub fn cut(materials: &[Material], cut: Cut) -> Vec<Example> {
    let values = materials.iter().map(|material| material.values.as_slice());
    let all: Vec<(usize, &[f64])> = values.enumerate().collect();
    let (even, odd): (Vec<_>, Vec<_>) = all.into_iter().partition(|(place, _)| place % 2 == 0);
    let of = |some: &[(usize, &[f64])]| -> Vec<Example> {
        some.iter()
            .flat_map(|(place, values)| of_trace(*place, values, cut))
            .collect()
    };
    let mut examples = thread::scope(|scope| {
        let half = scope.spawn(|| of(&even));
        let mut other = of(&odd);
        other.extend(half.join().unwrap_or_default());
        other
    });
    examples.sort_by_key(|example| example.material);
    examples
}

fn of_trace(trace: usize, values: &[f64], cut: Cut) -> Vec<Example> {
    let mut rng =
        SmallRng::seed_from_u64(cut.seed.wrapping_mul(1_000_003).wrapping_add(trace as u64));
    let Some(places) = values
        .len()
        .checked_sub(FIRST + FARTHEST)
        .filter(|places| *places > 1)
    else {
        return Vec::new();
    };
    let count = cut.per_trace.min(places / 2);
    let mut origins = index::sample(&mut rng, places, count).into_vec();
    origins.sort_unstable();
    let mut examples = Vec::with_capacity(count);
    for origin in origins {
        let origin = origin + FIRST;
        let mut length = WINDOW_VALUES.min(origin);
        if rng.random::<f64>() < cut.short {
            // Even in the logarithm, so that short windows are not rare.
            let span = (length as f64 / SHORTEST).ln();
            length = (SHORTEST * (span * rng.random::<f64>()).exp()) as usize;
        }
        let (Some(history), Some(came)) = (
            values.get(origin - length..origin),
            values.get(origin..origin + FARTHEST),
        ) else {
            continue;
        };
        examples.extend(example(trace, history, came));
    }
    examples
}

/// `None` = the window is constant.
pub fn example(material: usize, history: &[f64], came: &[f64]) -> Option<Example> {
    let lesson = lesson(history)?;
    let targets = STEPS
        .iter()
        .map(|step| came.get(*step as usize - 1).copied().unwrap_or_default());
    let knots = lesson
        .inputs
        .knots
        .iter()
        .zip(targets)
        .map(|(knot, target)| ExampleKnot {
            experts: knot.experts,
            errors: knot.errors,
            changes: knot.changes,
            target: lesson.target(target),
        });
    let knots = knots.collect();
    let features = lesson.inputs.knots.iter().flat_map(|knot| &knot.features);
    let inputs: Vec<f32> = lesson
        .inputs
        .shared
        .iter()
        .chain(features)
        .copied()
        .collect();
    (inputs.len() == INPUTS).then_some(Example {
        material,
        inputs,
        knots,
    })
}

fn lesson(history: &[f64]) -> Option<Lesson> {
    let range = if history.iter().all(|value| *value >= 0.0) {
        Range::FROM_ZERO
    } else {
        Range::UNBOUNDED
    };
    Lesson::of(&Window::new(history.to_vec(), range).ok()?)
}

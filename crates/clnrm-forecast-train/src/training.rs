//! From examples to a network.

use std::collections::BTreeMap;

use clnrm_decide::forecast::learned::{EXPERTS, INPUTS, Network, OF_HEAD, OUTPUTS, SIZES};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::adam::Adam;
use crate::gradient::{Layers, back, loss, pass, zeros};
use crate::lessons::{Example, Material};

/// How a network is trained.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub epochs: usize,
    /// Seed of first weights, order and dropout.
    pub seed: u64,
}

/// Examples of one step of the optimiser.
const BATCH: usize = 512;
/// Share of hidden units that are left out of a pass.
const DROPOUT: f32 = 0.2;
/// What the mixing weights begin with: last value, two levels, the window's and the newest values' median, SES, damped
/// Holt, regression, season.
const FIRST_WEIGHTS: [f32; EXPERTS] = [0.5, 0.0, -0.5, -1.0, -1.0, 0.5, 0.0, 1.5, 0.0];
/// Added to a trace's mean size of changes, in units, before its examples are weighted by the inverse.
const SMALLEST_CHANGE: f32 = 0.05;

/// Trains one network. Every trace counts the same, at every step in units of its own last value's error.
pub fn train(materials: &[Material], examples: &[&Example], plan: Plan) -> Network {
    let mut rng = SmallRng::seed_from_u64(plan.seed);
    let scaling = Scaling::of(examples);
    let inputs: Vec<Vec<f32>> = examples
        .iter()
        .map(|example| scaling.apply(&example.inputs))
        .collect();
    let importance = importance(materials, examples);
    let mut layers = first_layers(&mut rng);
    let batches = examples.len().div_ceil(BATCH);
    let mut adam = Adam::new(plan.epochs * batches);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for _ in 0..plan.epochs {
        order.shuffle(&mut rng);
        for batch in order.chunks(BATCH) {
            let mut gradient = zeros();
            for &place in batch {
                let (Some(example), Some(entered), Some(importance)) = (
                    examples.get(place),
                    inputs.get(place),
                    importance.get(place),
                ) else {
                    continue;
                };
                let forward = pass(&layers, entered, Some((&mut rng, DROPOUT)));
                let scale = examples.len() as f32 / batch.len() as f32;
                let slope = slope_of(example, &forward.outputs, importance, scale);
                back(&layers, entered, &forward, &slope, &mut gradient);
            }
            adam.step(&mut layers, &gradient);
        }
    }
    scaling.fold_into(layers)
}

fn slope_of(
    example: &Example,
    outputs: &[f32; OUTPUTS],
    importance: &[f32; 4],
    scale: f32,
) -> [f32; OUTPUTS] {
    let mut slope = [0.0; OUTPUTS];
    let heads = outputs.as_chunks::<OF_HEAD>().0.iter();
    let slopes = slope.as_chunks_mut::<OF_HEAD>().0.iter_mut();
    for (((head, slope), knot), importance) in heads.zip(slopes).zip(&example.knots).zip(importance)
    {
        loss(head, knot, slope, importance * scale);
    }
    slope
}

/// 1 ÷ (mean size of the trace's changes over the step), the same sum for every trace, sum 1 in all.
fn importance(materials: &[Material], examples: &[&Example]) -> Vec<[f32; 4]> {
    let mut sums: BTreeMap<usize, ([f32; 4], f32)> = BTreeMap::new();
    for example in examples {
        let (sizes, count) = sums.entry(example.material).or_default();
        *count += 1.0;
        for (size, knot) in sizes.iter_mut().zip(&example.knots) {
            *size += knot.target.abs();
        }
    }
    let mut all: Vec<[f32; 4]> = Vec::with_capacity(examples.len());
    let mut total = 0.0;
    for example in examples {
        let (sizes, count) = sums.get(&example.material).copied().unwrap_or_default();
        let weight = materials
            .get(example.material)
            .map_or(1.0, |material| material.weight);
        let each = sizes.map(|size| weight / (size / count + SMALLEST_CHANGE) / count);
        total += each.iter().sum::<f32>() / 4.0;
        all.push(each);
    }
    for each in &mut all {
        *each = each.map(|importance| importance / total);
    }
    all
}

fn first_layers(rng: &mut SmallRng) -> Layers {
    let mut layers = zeros();
    for (layer, (from, _)) in layers.iter_mut().zip(SIZES).take(2) {
        // The usual choice for a layer without knowledge: even within ± 1/√inputs.
        let reach = 1.0 / (from as f32).sqrt();
        layer.fill_with(|| reach * (2.0 * rng.random::<f32>() - 1.0));
    }
    let [.., last] = &mut layers;
    let heads = last.len().saturating_sub(OUTPUTS);
    if let Some(biases) = last.get_mut(heads..) {
        for head in biases.as_chunks_mut::<OF_HEAD>().0 {
            head.iter_mut()
                .zip(FIRST_WEIGHTS)
                .for_each(|(bias, first)| *bias = first);
        }
    }
    layers
}

/// Mean and spread of the inputs.
struct Scaling {
    mean: Vec<f32>,
    spread: Vec<f32>,
}

impl Scaling {
    fn of(examples: &[&Example]) -> Self {
        let count = examples.len().max(1) as f64;
        let mut sums = vec![(0.0_f64, 0.0_f64); INPUTS];
        for example in examples {
            for ((sum, squares), value) in sums.iter_mut().zip(&example.inputs) {
                *sum += f64::from(*value);
                *squares += f64::from(*value) * f64::from(*value);
            }
        }
        let mean = sums.iter().map(|(sum, _)| (sum / count) as f32).collect();
        let spread = |(sum, squares): &(f64, f64)| {
            let variance = squares / count - (sum / count) * (sum / count);
            variance.max(0.0).sqrt() as f32 + 1e-2
        };
        Self {
            mean,
            spread: sums.iter().map(spread).collect(),
        }
    }

    fn apply(&self, inputs: &[f32]) -> Vec<f32> {
        let scales = self.mean.iter().zip(&self.spread);
        inputs
            .iter()
            .zip(scales)
            .map(|(input, (mean, spread))| (input - mean) / spread)
            .collect()
    }

    /// The same network for inputs as they are.
    fn fold_into(&self, mut layers: Layers) -> Network {
        let [first, ..] = &mut layers;
        let (_, units) = SIZES.first().copied().unwrap_or_default();
        let biases_at = first.len().saturating_sub(units);
        let (rows, biases) = first.split_at_mut(biases_at);
        for (row, (mean, spread)) in rows
            .chunks_exact_mut(units.max(1))
            .zip(self.mean.iter().zip(&self.spread))
        {
            for (weight, bias) in row.iter_mut().zip(biases.iter_mut()) {
                *weight /= spread;
                *bias -= *weight * mean;
            }
        }
        Network { layers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::{Cut, cut};

    #[test]
    fn the_same_seed_gives_the_same_weights_and_another_seed_others() {
        let wave = |n: u32| 5.0 + f64::from(n % 7) + f64::from(n * n % 13) / 13.0;
        let material = Material {
            source: "made".to_owned(),
            values: (0..400).map(wave).collect(),
            weight: 1.0,
        };
        let materials = [material];
        let lessons = Cut {
            per_trace: 30,
            short: 0.5,
            seed: 3,
        };
        let weights = |seed| {
            let examples = cut(&materials, lessons);
            let all: Vec<&Example> = examples.iter().collect();
            train(&materials, &all, Plan { epochs: 2, seed }).write()
        };
        assert_eq!(weights(1), weights(1));
        assert_ne!(weights(1), weights(2));
    }

    #[test]
    fn training_lowers_the_loss_and_the_network_answers_as_it_was_trained() {
        let material = Material {
            source: "made".to_owned(),
            values: (0..500).map(|n| f64::from(n * n % 17)).collect(),
            weight: 1.0,
        };
        let materials = [material];
        let lessons = Cut {
            per_trace: 60,
            short: 0.0,
            seed: 1,
        };
        let examples = cut(&materials, lessons);
        let all: Vec<&Example> = examples.iter().collect();
        let loss_after = |epochs| {
            let network = train(&materials, &all, Plan { epochs, seed: 5 });
            let losses = all.iter().map(|example| {
                let outputs = pass(&network.layers, &example.inputs, None).outputs;
                let heads = outputs.as_chunks::<OF_HEAD>().0.iter().zip(&example.knots);
                heads
                    .map(|(head, knot)| loss(head, knot, &mut [0.0; OF_HEAD], 1.0))
                    .sum::<f32>()
            });
            losses.sum::<f32>()
        };
        let (untrained, trained) = (loss_after(0), loss_after(40));
        assert!(trained < 0.8 * untrained, "{trained} {untrained}");
    }
}

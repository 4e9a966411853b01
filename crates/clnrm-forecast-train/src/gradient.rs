//! The loss of one example and its gradient.

#![allow(
    clippy::indexing_slicing,
    reason = "indices run over the constant lengths of layers"
)]

use clnrm_decide::forecast::LEVELS;
use clnrm_decide::forecast::learned::{
    EXPERTS, HIDDEN, INPUTS, OF_HEAD, OFFSET, OUTPUTS, SIZES, WIDEST,
};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::lessons::ExampleKnot;

/// Weights, or their gradients, as the network has them.
pub type Layers = [Vec<f32>; 3];

/// Zeros in the shape of the network.
pub fn zeros() -> Layers {
    SIZES.map(|(from, to)| vec![0.0; (from + 1) * to])
}

/// What is needed of a pass forward to go back.
#[derive(Debug)]
pub struct Pass {
    sums: [[f32; HIDDEN]; 2],
    hidden: [[f32; HIDDEN]; 2],
    masks: [[f32; HIDDEN]; 2],
    pub outputs: [f32; OUTPUTS],
}

fn forward<const UNITS: usize>(weights: &[f32], inputs: &[f32]) -> [f32; UNITS] {
    let rows = weights.as_chunks::<UNITS>().0;
    let mut sums = rows[inputs.len()];
    for (row, input) in rows.iter().zip(inputs) {
        for (sum, weight) in sums.iter_mut().zip(row) {
            *sum += input * weight;
        }
    }
    sums
}

/// Adds the gradient of the weights; returns that of the inputs.
fn backward<const UNITS: usize>(
    weights: &[f32],
    inputs: &[f32],
    slope: &[f32; UNITS],
    gradient: &mut [f32],
) -> Vec<f32> {
    let rows = weights.as_chunks::<UNITS>().0;
    let gradients = gradient.as_chunks_mut::<UNITS>().0;
    for (sum, slope) in gradients[inputs.len()].iter_mut().zip(slope) {
        *sum += slope;
    }
    let mut back = vec![0.0; inputs.len()];
    for ((row, gradient), (input, back)) in
        rows.iter().zip(gradients).zip(inputs.iter().zip(&mut back))
    {
        let mut lanes = [0.0_f32; 4];
        for lane in 0..UNITS / 4 {
            for (place, sum) in lanes.iter_mut().enumerate() {
                let unit = lane * 4 + place;
                *sum += row[unit] * slope[unit];
                gradient[unit] += input * slope[unit];
            }
        }
        *back = lanes.iter().sum();
    }
    back
}

/// Forward; `dropout` of the hidden units are left out, at random.
pub fn pass(layers: &Layers, inputs: &[f32], dropout: Option<(&mut SmallRng, f32)>) -> Pass {
    debug_assert_eq!(inputs.len(), INPUTS);
    let mut masks = [[1.0; HIDDEN]; 2];
    if let Some((rng, share)) = dropout {
        for mask in masks.iter_mut().flatten() {
            *mask = if rng.random::<f32>() < share {
                0.0
            } else {
                1.0 / (1.0 - share)
            };
        }
    }
    let first = forward::<HIDDEN>(&layers[0], inputs);
    let one = activated(&first, &masks[0]);
    let second = forward::<HIDDEN>(&layers[1], &one);
    let two = activated(&second, &masks[1]);
    Pass {
        outputs: forward::<OUTPUTS>(&layers[2], &two),
        sums: [first, second],
        hidden: [one, two],
        masks,
    }
}

fn activated(sums: &[f32; HIDDEN], mask: &[f32; HIDDEN]) -> [f32; HIDDEN] {
    std::array::from_fn(|unit| sums[unit] / (1.0 + (-sums[unit]).exp()) * mask[unit])
}

/// Adds the gradient of all weights.
pub fn back(
    layers: &Layers,
    inputs: &[f32],
    pass: &Pass,
    slope: &[f32; OUTPUTS],
    gradient: &mut Layers,
) {
    let two = backward(&layers[2], &pass.hidden[1], slope, &mut gradient[2]);
    let two = through(&two, &pass.sums[1], &pass.masks[1]);
    let one = backward(&layers[1], &pass.hidden[0], &two, &mut gradient[1]);
    let one = through(&one, &pass.sums[0], &pass.masks[0]);
    backward(&layers[0], inputs, &one, &mut gradient[0]);
}

fn through(back: &[f32], sums: &[f32; HIDDEN], mask: &[f32; HIDDEN]) -> [f32; HIDDEN] {
    std::array::from_fn(|unit| {
        let share = 1.0 / (1.0 + (-sums[unit]).exp());
        back[unit] * mask[unit] * (share + sums[unit] * share * (1.0 - share))
    })
}

/// The mean pinball loss of one knot, and its gradient by what leaves the network for it.
pub fn loss(
    head: &[f32; OF_HEAD],
    knot: &ExampleKnot,
    slope: &mut [f32; OF_HEAD],
    importance: f32,
) -> f32 {
    let weights = softmax::<EXPERTS>(&head[..EXPERTS]);
    let spreads = softmax::<2>(&head[EXPERTS..EXPERTS + 2]);
    let middle: f32 = weights
        .iter()
        .zip(knot.experts)
        .map(|(weight, expert)| weight * expert)
        .sum();
    let spread = |place: usize| spreads[0] * knot.errors[place] + spreads[1] * knot.changes[place];
    let mut total = 0.0;
    let mut of_middle = 0.0;
    let mut of_spreads = [0.0_f32; 2];
    for (place, level) in LEVELS.iter().enumerate() {
        let width = head[EXPERTS + 2 + place];
        let wide = width.clamp(-WIDEST, WIDEST).exp();
        let away = spread(place) - spread(2);
        let quantile = middle + away * wide + OFFSET * head[EXPERTS + 7 + place];
        let level = *level as f32;
        let above = knot.target - quantile;
        let (one, slope_one) = if above > 0.0 {
            (level * above, -level)
        } else {
            ((level - 1.0) * above, 1.0 - level)
        };
        let share = importance * IMPORTANCE[place];
        total += share * one;
        let by_quantile = share * slope_one;
        of_middle += by_quantile;
        of_spreads[0] += by_quantile * wide * (knot.errors[place] - knot.errors[2]);
        of_spreads[1] += by_quantile * wide * (knot.changes[place] - knot.changes[2]);
        if width.abs() < WIDEST {
            slope[EXPERTS + 2 + place] = by_quantile * away * wide;
        }
        slope[EXPERTS + 7 + place] = by_quantile * OFFSET;
    }
    for expert in 0..EXPERTS {
        slope[expert] = of_middle * weights[expert] * (knot.experts[expert] - middle);
    }
    let mean = spreads[0] * of_spreads[0] + spreads[1] * of_spreads[1];
    for place in 0..2 {
        slope[EXPERTS + place] = spreads[place] * (of_spreads[place] - mean);
    }
    total
}

/// How much each quantile counts; their sum is one.
const IMPORTANCE: [f32; 5] = [0.15, 0.15, 0.4, 0.15, 0.15];

fn softmax<const N: usize>(numbers: &[f32]) -> [f32; N] {
    let largest = numbers.iter().copied().fold(f32::MIN, f32::max);
    let mut shares: [f32; N] = std::array::from_fn(|place| (numbers[place] - largest).exp());
    let sum: f32 = shares.iter().sum();
    for share in &mut shares {
        *share /= sum;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let knot = ExampleKnot {
            experts: std::array::from_fn(|place| place as f32 * 0.3 - 1.0),
            errors: [-2.0, -1.0, 0.1, 1.0, 3.0],
            changes: [-3.0, -1.5, 0.0, 1.5, 2.0],
            target: 0.7,
        };
        let mut head: [f32; OF_HEAD] = std::array::from_fn(|place| (place as f32).sin() * 0.5);
        let mut slope = [0.0; OF_HEAD];
        loss(&head, &knot, &mut slope, 1.0);
        for place in 0..OF_HEAD {
            let mut at = |by: f32| {
                head[place] += by;
                let found = loss(&head, &knot, &mut [0.0; OF_HEAD], 1.0);
                head[place] -= by;
                found
            };
            let measured = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!(
                (measured - slope[place]).abs() < 2e-3,
                "{place}: {measured} {}",
                slope[place]
            );
        }
    }
}

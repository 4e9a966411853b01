//! The network: its shape, its weights as they ship, and its answer.

use thiserror::Error;

use super::inputs::{EXPERTS, Inputs, OF_KNOT, SHARED};
use crate::forecast::knots::KNOTS;

pub const INPUTS: usize = SHARED + KNOTS.len() * OF_KNOT;
/// Units of each of the two hidden layers.
pub const HIDDEN: usize = 64;
/// Numbers that leave for one knot: the experts' weights, two weights of spreads, five widths, five offsets.
pub const OF_HEAD: usize = EXPERTS + 2 + 5 + 5;
pub const OUTPUTS: usize = KNOTS.len() * OF_HEAD;
/// How much of a unit an offset of one is.
pub const OFFSET: f32 = 0.2;
/// Widths are e to at most this power.
pub const WIDEST: f32 = 3.0;

/// The weights of one network; each layer's by input, then by unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Of the three layers: one row of the next layer's units for each input, then one row of biases.
    pub layers: [Vec<f32>; 3],
}

/// The sizes of the layers.
pub const SIZES: [(usize, usize); 3] = [(INPUTS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, OUTPUTS)];

/// Weights that are not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{found} bytes are not the {needed} of whole networks")]
pub struct NotANetwork {
    found: usize,
    needed: usize,
}

impl Network {
    /// Reads networks: for each layer the unit of its numbers (f32), then its numbers (i16), little-endian.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>, NotANetwork> {
        let needed: usize = SIZES.iter().map(|(from, to)| 4 + 2 * (from + 1) * to).sum();
        if bytes.is_empty() || !bytes.len().is_multiple_of(needed) {
            let found = bytes.len();
            return Err(NotANetwork { found, needed });
        }
        Ok(bytes.chunks_exact(needed).map(Self::decode).collect())
    }

    fn decode(mut bytes: &[u8]) -> Self {
        let layers = SIZES.map(|(from, to)| {
            let (layer, rest) = bytes
                .split_at_checked(4 + 2 * (from + 1) * to)
                .unwrap_or_default();
            bytes = rest;
            let (unit, numbers) = layer.split_at_checked(4).unwrap_or_default();
            let unit = unit.try_into().map_or(0.0, f32::from_le_bytes);
            let pairs = numbers.as_chunks::<2>().0;
            let number = |pair: &[u8; 2]| unit * f32::from(i16::from_le_bytes(*pair));
            pairs.iter().map(number).collect()
        });
        Self { layers }
    }

    /// As [`Network::read`] reads it.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for layer in &self.layers {
            let largest = layer
                .iter()
                .fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
            let unit = (largest / f32::from(i16::MAX)).max(f32::MIN_POSITIVE);
            bytes.extend(unit.to_le_bytes());
            for weight in layer {
                bytes.extend(((weight / unit).round() as i16).to_le_bytes());
            }
        }
        bytes
    }

    /// Five quantiles for each knot, relative to the newest value, not yet in order.
    pub fn answer(&self, inputs: &Inputs) -> Vec<[f32; 5]> {
        let [first, second, third] = &self.layers;
        let features = inputs.knots.iter().flat_map(|knot| &knot.features);
        let entered = inputs.shared.iter().chain(features).copied();
        let mut hidden = layer::<HIDDEN>(first, entered);
        hidden.iter_mut().for_each(activate);
        let mut hidden = layer::<HIDDEN>(second, hidden.into_iter());
        hidden.iter_mut().for_each(activate);
        let left = layer::<OUTPUTS>(third, hidden.into_iter());
        let heads = left.as_chunks::<OF_HEAD>().0.iter().zip(&inputs.knots);
        heads
            .map(|(head, knot)| mix(head, &knot.experts, &knot.errors, &knot.changes))
            .collect()
    }
}

/// One layer without its activation.
fn layer<const UNITS: usize>(weights: &[f32], inputs: impl Iterator<Item = f32>) -> [f32; UNITS] {
    let rows = weights.as_chunks::<UNITS>().0;
    let mut sums = rows.last().copied().unwrap_or([0.0; UNITS]);
    for (row, input) in rows.iter().zip(inputs) {
        for (sum, weight) in sums.iter_mut().zip(row) {
            *sum += input * weight;
        }
    }
    sums
}

/// x·σ(x) (S. Elfwing, E. Uchibe, K. Doya, 2018).
fn activate(value: &mut f32) {
    *value /= 1.0 + (-*value).exp();
}

/// The quantiles that one head stands for: a weighted mean of the experts, and around it a weighted mean of the two
/// spreads, each quantile of which is widened and shifted on its own.
pub fn mix(
    head: &[f32; OF_HEAD],
    experts: &[f32; EXPERTS],
    errors: &[f32; 5],
    changes: &[f32; 5],
) -> [f32; 5] {
    let (weights, rest) = head.split_at(EXPERTS);
    let (spreads, rest) = rest.split_at(2);
    let (widths, offsets) = rest.split_at(5);
    let middle: f32 = shares(weights)
        .zip(experts)
        .map(|(share, expert)| share * expert)
        .sum();
    let mut share = shares(spreads);
    let (of_errors, of_changes) = (share.next().unwrap_or(0.5), share.next().unwrap_or(0.5));
    let spread = |place: usize| {
        let at = |values: &[f32; 5]| values.get(place).copied().unwrap_or_default();
        of_errors * at(errors) + of_changes * at(changes)
    };
    let center = spread(2);
    let mut quantiles = [0.0; 5];
    for (place, (quantile, (width, offset))) in quantiles
        .iter_mut()
        .zip(widths.iter().zip(offsets))
        .enumerate()
    {
        let wide = width.clamp(-WIDEST, WIDEST).exp();
        *quantile = middle + (spread(place) - center) * wide + OFFSET * offset;
    }
    quantiles
}

/// Shares of one, in proportion to e to the power of each number.
fn shares(numbers: &[f32]) -> impl Iterator<Item = f32> {
    let largest = numbers.iter().copied().fold(f32::MIN, f32::max);
    let sum: f32 = numbers.iter().map(|number| (number - largest).exp()).sum();
    numbers
        .iter()
        .map(move |number| (number - largest).exp() / sum)
}

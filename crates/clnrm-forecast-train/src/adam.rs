//! AdamW with one cycle of the learning rate.
//!
//! I. Loshchilov, F. Hutter, *Decoupled weight decay regularization* (2019); L. Smith, N. Topin, *Super-convergence* (2018).

use crate::gradient::{Layers, zeros};

/// Largest learning rate.
const RATE: f32 = 2e-3;
const DECAY: f32 = 1e-3;
const BETAS: (f32, f32) = (0.9, 0.999);
/// Gradients longer than this are shortened to it.
const LONGEST: f32 = 1.0;
/// Share of the steps in which the rate grows.
const GROWING: f32 = 0.3;

/// The moments of the gradients.
#[derive(Debug)]
pub struct Adam {
    mean: Layers,
    square: Layers,
    step: i32,
    steps: i32,
}

impl Adam {
    /// For so many steps.
    pub fn new(steps: usize) -> Self {
        Self {
            mean: zeros(),
            square: zeros(),
            step: 0,
            steps: i32::try_from(steps).unwrap_or(i32::MAX),
        }
    }

    /// Moves `weights` against `gradient`.
    pub fn step(&mut self, weights: &mut Layers, gradient: &Layers) {
        let length = gradient
            .iter()
            .flatten()
            .map(|slope| slope * slope)
            .sum::<f32>()
            .sqrt();
        let shorter = (LONGEST / length.max(1e-12)).min(1.0);
        let rate = self.rate();
        self.step += 1;
        let (first, second) = (1.0 - BETAS.0.powi(self.step), 1.0 - BETAS.1.powi(self.step));
        let moments = self
            .mean
            .iter_mut()
            .flatten()
            .zip(self.square.iter_mut().flatten());
        let slopes = gradient.iter().flatten();
        for ((weight, slope), (mean, square)) in
            weights.iter_mut().flatten().zip(slopes).zip(moments)
        {
            let slope = slope * shorter;
            *mean = BETAS.0 * *mean + (1.0 - BETAS.0) * slope;
            *square = BETAS.1 * *square + (1.0 - BETAS.1) * slope * slope;
            *weight *= 1.0 - rate * DECAY;
            *weight -= rate * (*mean / first) / ((*square / second).sqrt() + 1e-8);
        }
    }

    fn rate(&self) -> f32 {
        let share = self.step as f32 / self.steps.max(1) as f32;
        let cosine = |from: f32, to: f32, share: f32| {
            to + (from - to) * 0.5 * (1.0 + (std::f32::consts::PI * share.min(1.0)).cos())
        };
        if share < GROWING {
            cosine(RATE / 25.0, RATE, share / GROWING)
        } else {
            cosine(RATE, RATE * 1e-4, (share - GROWING) / (1.0 - GROWING))
        }
    }
}

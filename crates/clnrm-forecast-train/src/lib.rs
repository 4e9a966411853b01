//! Trains the network of the learned forecast: traces in, weights out. Same traces and seed, same weights.
//!
//! Deliberately absent: any framework. The network has three layers; its gradients are written out and tested.

pub mod adam;
pub mod folds;
pub mod gradient;
pub mod lessons;
pub mod training;
pub mod validation;

//! Takes samples of running instances and keeps them.
//!
//! `Look` reads all that it watches in one go and turns each pair of readings into rates; it records nothing. [`Sampler`]
//! records one sample per service, together with the readings, so that a later command can go on from them.
//! [`Observer`] samples what other commands started.

mod look;
mod observer;
mod recorder;
mod watched;

pub use look::SAMPLE_INTERVAL;
pub use observer::Observer;
pub use recorder::{Sampler, Warn};

//! Too little history is an answer.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Fewest samples that anything is predicted from (fixed by the specification).
pub const SAMPLES_NEEDED: u32 = 3;

/// There are too few samples to predict from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{have} of the {need} samples that a forecast takes")]
pub struct NotEnoughData {
    /// Samples of this metric that there are.
    pub have: u32,
    pub need: u32,
}

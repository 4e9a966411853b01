//! What a test file says of a service's warm instances.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::launch::CommandLine;

/// A warm instance that nobody has leased for so long is stopped.
const DEFAULT_TTL: Duration = Duration::from_secs(15 * 60);

/// How many instances to keep warm, and how a used one becomes clean again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Instances to keep warm, leased ones that come back included; 0 = no pool, or as `auto` says.
    pub size: u32,
    /// `size = "auto"`: as many as the measured use advises, within these bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<PoolBounds>,
    /// Brings a used instance back to its initial state; runs in the instance's place.
    pub reset: Option<CommandLine>,
    /// Its output, after a reset, must equal what it was when the instance was fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<CommandLine>,
    /// How long an instance that nobody leases stays warm.
    #[serde(default = "default_ttl")]
    pub ttl: Duration,
}

/// The least and the most that `size = "auto"` chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolBounds {
    /// Chosen until enough was measured.
    pub min: u32,
    /// Never exceeded.
    pub max: u32,
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self {
            size: 0,
            auto: None,
            reset: None,
            verify: None,
            ttl: DEFAULT_TTL,
        }
    }
}

impl PoolSpec {
    /// Whether any instance is to be kept warm.
    pub fn is_wanted(&self) -> bool {
        self.size > 0 || self.auto.is_some()
    }

    /// The number of instances to keep warm, where the measured use advises that many.
    pub fn wanted(&self, advised: Option<u32>) -> u32 {
        match self.auto {
            Some(PoolBounds { min, max }) => advised.unwrap_or(min).clamp(min, max.max(min)),
            None => self.size,
        }
    }
}

fn default_ttl() -> Duration {
    DEFAULT_TTL
}

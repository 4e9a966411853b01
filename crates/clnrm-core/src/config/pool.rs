//! What a test file says of a service's warm instances.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::definition::{CommandLine, MetricsSpec, ServiceDefinition};

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

/// How a used instance becomes clean again, or shows that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaning<'a> {
    /// A command of the test file.
    Command(&'a CommandLine),
    /// Over redis' own protocol.
    Redis {
        /// For `AUTH user password`.
        username: Option<&'a str>,
        /// For `AUTH`.
        password: Option<&'a str>,
    },
    /// From a template database.
    Postgres {
        /// Role.
        user: &'a str,
        /// Password, if the server wants one.
        password: Option<&'a str>,
        /// The database that is dropped and made again.
        database: &'a str,
    },
}

/// Both halves of a reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse<'a> {
    /// Brings it back to its initial state.
    pub reset: Cleaning<'a>,
    /// Shows that it is in that state.
    pub verify: Cleaning<'a>,
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

impl ServiceDefinition {
    /// How a used instance is reset and verified; `None` = it cannot be both, so no instance serves twice.
    pub fn reuse(&self) -> Option<Reuse<'_>> {
        let built_in = match &self.metrics {
            MetricsSpec::Redis { username, password } => Some(Cleaning::Redis {
                username: username.as_deref(),
                password: password.as_deref(),
            }),
            MetricsSpec::Postgres {
                user,
                password,
                database,
            } => Some(Cleaning::Postgres {
                user,
                password: password.as_deref(),
                database,
            }),
            MetricsSpec::ProcessOnly | MetricsSpec::Nginx { .. } | MetricsSpec::Prometheus(_) => {
                None
            }
        };
        Some(Reuse {
            reset: self
                .pool
                .reset
                .as_ref()
                .map(Cleaning::Command)
                .or(built_in)?,
            verify: self
                .pool
                .verify
                .as_ref()
                .map(Cleaning::Command)
                .or(built_in)?,
        })
    }
}

fn default_ttl() -> Duration {
    DEFAULT_TTL
}

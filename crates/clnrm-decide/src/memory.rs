//! Memory that is limited: how near a service is to its limit, and what the limit has cost it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// From this share of a limit on there is an alert, and containers are scaled unless their file says otherwise.
pub const NEAR_LIMIT: f64 = 0.8;

/// Processes that were killed for lack of memory lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryKills {
    pub kills: u64,
    pub within: Duration,
}

/// The memory of an instance that whoever runs it does not let grow beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LimitedMemory {
    /// In MB (10⁶ bytes); `None` = there is no such limit.
    pub limit_mb: Option<f64>,
    /// `None` = none.
    pub kills: Option<MemoryKills>,
}

/// There is too little memory, or soon may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MemoryAlert {
    TooLittle {
        /// `None` = the machine itself has too little.
        limit_mb: Option<f64>,
        #[serde(flatten)]
        kills: MemoryKills,
    },
    /// Most of it is in use.
    NearLimit { limit_mb: f64, used_mb: f64 },
}

impl LimitedMemory {
    /// What there is to say of it when so much is in use.
    pub fn alert(&self, used_mb: Option<f64>) -> Option<MemoryAlert> {
        let limit_mb = self.limit_mb;
        if let Some(kills) = self.kills {
            return Some(MemoryAlert::TooLittle { limit_mb, kills });
        }
        let (limit_mb, used_mb) = limit_mb.zip(used_mb)?;
        (used_mb >= NEAR_LIMIT * limit_mb).then_some(MemoryAlert::NearLimit { limit_mb, used_mb })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(
        limit_mb: Option<f64>,
        kills: Option<MemoryKills>,
        used_mb: f64,
    ) -> Option<MemoryAlert> {
        LimitedMemory { limit_mb, kills }.alert(Some(used_mb))
    }

    #[test]
    fn kills_say_more_than_what_is_in_use() {
        let kills = MemoryKills {
            kills: 14,
            within: Duration::from_millis(29_700),
        };
        for limit_mb in [Some(64.0), None] {
            let said = MemoryAlert::TooLittle { limit_mb, kills };
            assert_eq!(alert(limit_mb, Some(kills), 1.0), Some(said));
        }
    }

    #[test]
    fn near_the_limit_is_said_before_anybody_is_killed() {
        let said = MemoryAlert::NearLimit {
            limit_mb: 64.0,
            used_mb: 51.2,
        };
        assert_eq!(alert(Some(64.0), None, 51.2), Some(said));
        assert_eq!(alert(Some(64.0), None, 51.1), None);
        assert_eq!(alert(None, None, 1e9), None);
        let unknown = LimitedMemory {
            limit_mb: Some(64.0),
            kills: None,
        };
        assert_eq!(unknown.alert(None), None);
    }
}

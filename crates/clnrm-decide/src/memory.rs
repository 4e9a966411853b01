//! Memory that is limited: how near a service is to its limit, and what the limit has cost it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// From this share of a limit on there is an alert, and containers are scaled unless their file says otherwise.
pub const NEAR_LIMIT: f64 = 0.8;

/// Processes that were killed for lack of memory lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryKills {
    /// How many.
    pub kills: u64,
    /// In how long.
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

/// There is too little memory, or soon may be. Displays as a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MemoryAlert {
    /// Processes were killed.
    TooLittle {
        /// `None` = the machine itself has too little.
        limit_mb: Option<f64>,
        /// The kills.
        #[serde(flatten)]
        kills: MemoryKills,
    },
    /// Most of it is in use.
    NearLimit {
        /// The limit.
        limit_mb: f64,
        /// In use.
        used_mb: f64,
    },
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

impl fmt::Display for MemoryAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLittle { limit_mb, kills } => {
                match limit_mb {
                    Some(limit_mb) => write!(f, "{limit_mb:.0} MB is too little: ")?,
                    None => f.write_str("the machine has too little memory: ")?,
                }
                let killed = match kills.kills {
                    1 => "1 process was".to_owned(),
                    many => format!("{many} processes were"),
                };
                let seconds = kills.within.as_secs_f64().ceil();
                write!(f, "{killed} killed for lack of memory in {seconds:.0} s")
            }
            Self::NearLimit { limit_mb, used_mb } => write!(
                f,
                "memory is {used_mb:.0} MB of its limit of {limit_mb:.0} MB ({:.0}%)",
                100.0 * used_mb / limit_mb
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(limit_mb: Option<f64>, kills: Option<u64>, used_mb: Option<f64>) -> Option<String> {
        let memory = LimitedMemory {
            limit_mb,
            kills: kills.map(|kills| MemoryKills {
                kills,
                within: Duration::from_millis(29_700),
            }),
        };
        memory.alert(used_mb).map(|alert| alert.to_string())
    }

    #[test]
    fn kills_say_more_than_what_is_in_use() {
        assert_eq!(
            sentence(Some(64.0), Some(14), Some(1.0)).unwrap(),
            "64 MB is too little: 14 processes were killed for lack of memory in 30 s"
        );
        assert_eq!(
            sentence(None, Some(1), None).unwrap(),
            "the machine has too little memory: 1 process was killed for lack of memory in 30 s"
        );
    }

    #[test]
    fn near_the_limit_is_said_before_anybody_is_killed() {
        assert_eq!(
            sentence(Some(64.0), None, Some(51.2)).unwrap(),
            "memory is 51 MB of its limit of 64 MB (80%)"
        );
        assert_eq!(sentence(Some(64.0), None, Some(51.1)), None);
        assert_eq!(sentence(None, None, Some(1e9)), None);
        assert_eq!(sentence(Some(64.0), None, None), None);
    }
}

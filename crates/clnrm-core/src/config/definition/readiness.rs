//! When an instance counts as ready.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::launch::CommandLine;

/// All listed checks must hold. None listed: the process is alive. Loading lists `Tcp` for a service that has a port
/// and says nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    pub checks: Vec<ReadyCheck>,
    /// Whether the file lists checks of its own. Where it does not, an image's `HEALTHCHECK` must pass too.
    #[serde(default)]
    pub stated: bool,
    /// Longest time to become ready.
    pub timeout: Duration,
    /// Longest pause between two looks (they start at 5 ms and back off).
    pub max_interval: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyCheck {
    /// The main port accepts a connection.
    Tcp,
    /// GET on this path of the main port (or on a full `http://` URL) answers 2xx or 3xx.
    Http(String),
    /// So many lines of the log match.
    Log(LogPattern),
    /// The command exits with 0.
    Command(CommandLine),
}

impl Readiness {
    /// The lines that are waited for, in the order of the checks.
    pub fn log_patterns(&self) -> Vec<LogPattern> {
        let patterns = self.checks.iter().filter_map(|check| match check {
            ReadyCheck::Log(pattern) => Some(pattern.clone()),
            ReadyCheck::Tcp | ReadyCheck::Http(_) | ReadyCheck::Command(_) => None,
        });
        patterns.collect()
    }
}

/// Lines that a service prints when it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenPattern", into = "WrittenPattern")]
pub struct LogPattern {
    pub pattern: String,
    /// How many lines must match it, at least 1.
    pub times: u32,
    /// Matched with their escape sequences and carriage returns, which are left out otherwise.
    pub raw: bool,
}

/// A pattern as it is kept; a text alone means one line.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenPattern {
    Once(String),
    Repeated {
        pattern: String,
        times: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        raw: bool,
    },
}

impl From<WrittenPattern> for LogPattern {
    fn from(written: WrittenPattern) -> Self {
        match written {
            WrittenPattern::Once(pattern) => Self {
                pattern,
                times: 1,
                raw: false,
            },
            WrittenPattern::Repeated {
                pattern,
                times,
                raw,
            } => Self {
                pattern,
                times,
                raw,
            },
        }
    }
}

impl From<LogPattern> for WrittenPattern {
    fn from(written: LogPattern) -> Self {
        let LogPattern {
            pattern,
            times,
            raw,
        } = written;
        match (times, raw) {
            (1, false) => Self::Once(pattern),
            _ => Self::Repeated {
                pattern,
                times,
                raw,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_kept_as_histories_have_it() {
        let once = ReadyCheck::Log(LogPattern {
            pattern: "up".into(),
            times: 1,
            raw: false,
        });
        let twice = ReadyCheck::Log(LogPattern {
            pattern: "up".into(),
            times: 2,
            raw: false,
        });
        let raw = ReadyCheck::Log(LogPattern {
            pattern: "up".into(),
            times: 1,
            raw: true,
        });
        let json = |check: &ReadyCheck| serde_json::to_string(check).unwrap();
        assert_eq!(json(&once), r#"{"log":"up"}"#);
        assert_eq!(json(&twice), r#"{"log":{"pattern":"up","times":2}}"#);
        for check in [once, twice, raw] {
            let read: ReadyCheck = serde_json::from_str(&json(&check)).unwrap();
            assert_eq!(read, check);
        }
    }
}

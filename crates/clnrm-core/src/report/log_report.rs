//! What `clnrm services logs` reports.

use std::path::PathBuf;

use serde::Serialize;

use crate::manage::status_report::ReportedState;
use crate::text;

/// The ends of the logs of one service's instances. JSON: schema `clnrm.logs/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Always [`LogReport::SCHEMA`].
    pub schema: &'static str,
    pub service: String,
    /// Its live instances, or the newest ended one.
    pub instances: Vec<InstanceLog>,
}

/// The end of one instance's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceLog {
    pub id: String,
    pub state: ReportedState,
    #[serde(serialize_with = "text::serialize_path")]
    pub file: PathBuf,
    /// The last lines, oldest first.
    pub lines: Vec<String>,
}

/// One line of `--follow`. JSON: one object per line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FollowedLine<'a> {
    pub id: &'a str,
    /// The line, without its end.
    pub line: &'a str,
}

impl LogReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.logs/1";
}

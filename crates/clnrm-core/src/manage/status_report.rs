//! What `services status`, `stop` and `restart` report.

use serde::Serialize;

use crate::clock::{Timestamp, rfc3339};
use crate::lifecycle::stopped::{LeakReport, StoppedInstance};

/// The instances of a project. JSON: schema `clnrm.status/1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusReport {
    /// Always [`StatusReport::SCHEMA`].
    pub schema: &'static str,
    /// Every live instance, and the newest ended one of services that have none.
    pub instances: Vec<InstanceStatus>,
    /// The process that looks after warm instances.
    pub guard: Option<GuardStatus>,
}

/// The process that looks after warm instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuardStatus {
    pub pid: i32,
}

/// Why an instance is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Purpose {
    Leased {
        test: String,
    },
    /// It is free for the next test of its service.
    Warm {
        #[serde(serialize_with = "rfc3339::serialize")]
        until: Timestamp,
    },
    /// A run started it, and uses it or left it running.
    OfRun {
        run_id: String,
    },
    /// `ai-manage` or `services restart` started it.
    OnRequest,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceStatus {
    pub service: String,
    /// Its id, unique in the project.
    pub id: String,
    pub state: ReportedState,
    /// `process` or `container`.
    pub runtime: String,
    pub pid: Option<i32>,
    /// The engine's id of its container.
    pub container_id: Option<String>,
    /// `host:port`, where it has a port.
    pub address: Option<String>,
    #[serde(serialize_with = "rfc3339::serialize")]
    pub started_at: Timestamp,
    /// How long it took to become ready.
    pub ready_ms: Option<u64>,
    /// Why it ended, e.g. `exit code 1` or `signal 9 (SIGKILL)`.
    pub exit: Option<String>,
    /// The test that holds it.
    pub lease: Option<String>,
    /// Why it is there; `None` = it is not, any more.
    pub purpose: Option<Purpose>,
    /// Its processes that were killed so far for lack of memory; `None` = none, or nobody counts them.
    pub memory_kills: Option<u64>,
    pub log: Option<String>,
}

/// States of an instance, as reports name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    Starting,
    Running,
    /// It runs, and its own health check fails.
    Unhealthy,
    /// Somebody has paused its container.
    Paused,
    /// Somebody has disconnected its container from its network.
    Disconnected,
    /// Its engine is starting it again.
    Restarting,
    Stopping,
    /// Ended because it was asked to.
    Stopped,
    /// Never became ready, or ended by itself.
    Failed,
    /// Its supervisor was killed; what it left was ended.
    Lost,
}

/// What `services stop` did. JSON: schema `clnrm.stop/1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StopReport {
    /// Always [`StopReport::SCHEMA`].
    pub schema: &'static str,
    /// The instances that were stopped.
    pub stopped: Vec<StoppedInstance>,
    /// What the sweep afterwards looked at and found.
    pub leaks: LeakReport,
}

/// What `services restart` did. JSON: schema `clnrm.restart/1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestartReport {
    /// Always [`RestartReport::SCHEMA`].
    pub schema: &'static str,
    pub restarted: Vec<RestartedInstance>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestartedInstance {
    pub service: String,
    /// The instance that was stopped.
    pub old_id: String,
    /// The instance that took its place.
    pub new_id: String,
    /// Where the new one listens.
    pub address: Option<String>,
    /// Stop, start and readiness together.
    pub took_ms: u64,
}

impl StatusReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.status/1";
}

impl StopReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.stop/1";
}

impl RestartReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.restart/1";
}

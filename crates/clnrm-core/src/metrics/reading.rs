//! What one look at one instance yields: counters and gauges, not yet rates.
//!
//! Readings are plain data. They are stored as JSON, so that a later command can make rates from the last one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::absent::{Absent, Measured};
use super::root::Root;
use crate::clock::Timestamp;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `/proc`, over the instance's whole process tree.
    Procfs,
    /// The kernel's socket statistics, over the instance's ports.
    SockDiag,
    /// `INFO`.
    Redis,
    /// `stub_status`.
    Nginx,
    /// `pg_stat_database` and `pg_stat_activity`.
    Postgres,
    /// A Prometheus text endpoint.
    Prometheus,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Procfs => "procfs",
            Self::SockDiag => "sock_diag",
            Self::Redis => "redis",
            Self::Nginx => "nginx",
            Self::Postgres => "postgres",
            Self::Prometheus => "prometheus",
        })
    }
}

/// Names one `Collector`: what it asked of a service itself is known only to itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectorId(pub(super) String);

/// One look at one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// When the reading was complete.
    pub at: Timestamp,
    /// The instance.
    pub instance_id: String,
    /// What was read.
    pub root: Root,
    /// Who read.
    pub collector: CollectorId,
    /// What its processes use.
    pub process: Measured<ProcessUsage>,
    /// What passes through its ports.
    pub sockets: SocketUsage,
    /// What the service says of itself.
    pub service: ServiceReading,
}

/// What a process tree used and uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// When it was read.
    pub at: Timestamp,
    /// CPU time used so far, ended children included, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory of all living processes, in bytes.
    pub memory_bytes: u64,
}

/// What the kernel knows of the TCP connections to an instance's ports; clnrm's own are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SocketUsage {
    /// When it was read.
    pub at: Timestamp,
    /// Established connections.
    pub connections: Measured<u64>,
    /// Bytes sent and received.
    pub network: Measured<NetworkCounter>,
}

/// Bytes counted since some moment. Two values are comparable if they are of one collector and one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCounter {
    /// Bytes acknowledged by clients plus bytes received from them.
    pub bytes: u64,
    /// Changes whenever the collector may have missed a closed connection.
    pub epoch: u64,
}

/// What a service says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReading {
    /// When it answered.
    pub at: Timestamp,
    /// Who answered; `None` = the service has no metrics source.
    pub source: Option<Source>,
    /// What it counted.
    pub counters: Measured<ServiceCounters>,
}

/// Counters of a service since its start, and its open connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceCounters {
    /// Identifies the run of counters: another text means that they began anew. `None` = the service does not say.
    pub epoch: Option<String>,
    /// Requests.
    pub requests: Measured<Counter>,
    /// Requests that failed.
    pub errors: Measured<Counter>,
    /// Time spent on answered requests.
    pub responses: Measured<ResponseCounter>,
    /// Open client connections.
    pub connections: Measured<f64>,
}

/// A counter, of which a part is clnrm's own doing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// As the service counts.
    pub total: f64,
    /// What this collector has added to `total` since it began.
    pub own: f64,
}

/// Response times as a running sum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResponseCounter {
    /// Seconds spent, summed.
    pub seconds: Counter,
    /// How many responses that sum covers.
    pub count: Counter,
}

impl Counter {
    /// A counter that clnrm does not touch.
    pub fn untouched(total: f64) -> Self {
        Self { total, own: 0.0 }
    }
}

impl ServiceReading {
    /// Of a service without a metrics source.
    pub(super) fn without_source(at: Timestamp) -> Self {
        Self {
            at,
            source: None,
            counters: Err(Absent::NoSource),
        }
    }
}

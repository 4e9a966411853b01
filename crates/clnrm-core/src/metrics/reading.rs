//! What one look at one instance yields: counters and gauges, not yet rates.
//!
//! Readings are plain data. They are stored as JSON, so that a later command can make rates from the last one.

use clnrm_decide::{Absent, Measured, Source};
use serde::{Deserialize, Serialize};

use super::series::Series;
use crate::backend::root::Root;
use crate::clock::{Timestamp, Uptime};

/// Names one `Collector`: what it asked of a service itself is known only to itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectorId(pub(super) String);

/// One look at one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// When the reading was complete.
    pub at: Timestamp,
    /// The same on the clock that intervals are measured by.
    pub awake_at: Uptime,
    /// The boot that all uptimes of this reading belong to.
    pub boot_id: String,
    pub instance_id: String,
    pub root: Root,
    pub collector: CollectorId,
    pub usage: ResourceUsage,
    /// What passes between it and others.
    pub traffic: Traffic,
    /// What the service says of itself.
    pub service: ServiceReading,
}

impl Reading {
    /// What the next reading is to be compared with: this one, but where the service has yet to answer, with its answer
    /// before.
    pub fn after(mut self, previous: Option<Self>) -> Self {
        let is_waiting = matches!(self.service.counters, Err(Absent::NotAnsweredYet { .. }));
        if let Some(previous) = previous.filter(|previous| {
            is_waiting && previous.root == self.root && previous.collector == self.collector
        }) {
            self.service = previous.service;
        }
        self
    }
}

/// What a process tree or a container used and uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceUsage {
    pub at: Uptime,
    pub source: Source,
    /// CPU time used so far, ended children included, in seconds.
    pub cpu_seconds: Measured<f64>,
    /// Memory in use, in bytes: of all living processes, without counting shared pages several times; of a container
    /// what the kernel cannot drop.
    pub memory_bytes: Measured<u64>,
    /// Who read `memory_bytes`.
    pub memory_source: Source,
    /// Processes killed so far for lack of memory; `None` = nobody counts them.
    #[serde(default)]
    pub memory_kills: Option<u64>,
}

impl ResourceUsage {
    /// All absent for one reason.
    pub(super) fn absent(at: Uptime, source: Source, reason: &Absent) -> Self {
        Self {
            at,
            source: source.clone(),
            cpu_seconds: Err(reason.clone()),
            memory_bytes: Err(reason.clone()),
            memory_source: source,
            memory_kills: None,
        }
    }

    /// Whether there is nothing left to read.
    pub(super) fn has_ended(&self) -> bool {
        self.cpu_seconds == Err(Absent::ProcessEnded)
    }
}

/// What is known of an instance's connections and bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub at: Uptime,
    pub source: Source,
    /// Established connections to it; clnrm's own are left out.
    pub connections: Measured<u64>,
    /// Bytes sent and received. clnrm's own are left out where the source can tell them apart.
    pub network: Measured<NetworkCounter>,
}

impl Traffic {
    /// All absent for one reason.
    pub(super) fn absent(at: Uptime, source: Source, reason: &Absent) -> Self {
        Self {
            at,
            source,
            connections: Err(reason.clone()),
            network: Err(reason.clone()),
        }
    }
}

/// Bytes counted since some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCounter {
    /// Received plus sent.
    pub bytes: u64,
    /// `None` = counted since the start of what is read, whoever reads it. Else the collector counts, this changes
    /// whenever it may have missed a closed connection, and two values of another collector or epoch do not compare.
    pub epoch: Option<u64>,
}

impl NetworkCounter {
    /// Of a source that counts by itself.
    pub(super) fn since_start(bytes: u64) -> Self {
        Self { bytes, epoch: None }
    }
}

/// What a service says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReading {
    pub at: Uptime,
    /// Who answered; `None` = the service has no metrics source.
    pub source: Option<Source>,
    /// The URL that was asked, where that is not the instance's own address: instances that share it have one count.
    #[serde(default)]
    pub shared: Option<String>,
    pub counters: Measured<ServiceCounters>,
}

/// Counters of a service since its start, and its open connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceCounters {
    /// Identifies the run of counters: another text means that they began anew. `None` = the service does not say.
    pub epoch: Option<String>,
    /// When the counting process says that it was started; a clock that is set makes that wander a little.
    #[serde(default)]
    pub started_at_seconds: Option<f64>,
    /// A counter of which clnrm knows how much it must grow, so that it shows a reset that the others have outgrown.
    #[serde(default)]
    pub witness: Option<Counter>,
    pub requests: Measured<Counter>,
    pub errors: Measured<Counter>,
    /// Time spent on answered requests.
    pub responses: Measured<ResponseCounter>,
    pub connections: Measured<f64>,
}

/// By how many seconds a process may be wrong about its own start from one reading to the next.
pub(crate) const START_WANDERS_SECONDS: f64 = 1.5;

/// A counter, of which a part is clnrm's own doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// As the service counts.
    pub total: f64,
    /// What this collector has made the service count since it began.
    pub own: f64,
    /// The part of `own` that is not yet in `total`.
    #[serde(default)]
    pub unpublished: f64,
    /// What `total` is the sum of; `None` = it is one counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

/// Response times as a running sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseCounter {
    /// Seconds spent, summed.
    pub seconds: Counter,
    /// How many responses that sum covers.
    pub count: Counter,
}

impl Counter {
    /// A counter that clnrm does not touch.
    pub fn untouched(total: f64) -> Self {
        Self::with_own(total, 0.0)
    }

    /// A counter of which `own` is clnrm's.
    pub fn with_own(total: f64, own: f64) -> Self {
        Self {
            total,
            own,
            unpublished: 0.0,
            series: None,
        }
    }

    /// A counter that is the sum of series.
    pub(crate) fn of_series(series: Series) -> Self {
        let total = series.sum();
        Self {
            series: Some(series),
            ..Self::untouched(total)
        }
    }
}

impl ServiceReading {
    /// Of a service without a metrics source.
    pub(super) fn without_source(at: Uptime) -> Self {
        Self {
            at,
            source: None,
            shared: None,
            counters: Err(Absent::NoSource),
        }
    }
}

//! Readings of running services: from `/proc`, from the kernel's sockets and from the services themselves.
//!
//! I/O only gathers ([`Collector`] → [`Reading`]); [`rates`] turns two readings into a sample, purely. Deliberately
//! absent: when to read, and what to do with the samples, which is the control layer's business.

mod asking;
mod cgroup;
mod collector;
mod http_get;
mod kernel;
mod local_container;
mod network_namespace;
mod nginx;
mod postgres;
mod procfs;
mod prometheus;
pub mod rates;
mod reading;
mod redis;
mod remote_container;
mod root;
mod series;
mod shared_memory;
mod sock_diag;

use std::time::Duration;

use async_trait::async_trait;
use clnrm_decide::{Measured, Source};

pub use self::collector::{Collector, Target};
pub use self::reading::{
    CollectorId, Counter, NetworkCounter, Reading, ResourceUsage, ResponseCounter, ServiceCounters,
    ServiceReading, Traffic,
};
pub use self::root::{ContainerRoot, Root};
pub use self::series::Series;

/// How many processes of a container on this machine were killed so far for lack of memory; `None` = it is elsewhere.
pub fn memory_kills(container_id: &str, main_pid: i32) -> Option<u64> {
    cgroup::Cgroup::memory_kills_of(container_id, main_pid)
}

/// What connections that read metrics call themselves in redis, so that whoever counts its clients can leave them out.
pub const REDIS_CLIENT_NAME: &str = "clnrm-metrics";

/// Longest time that a service may take to answer for its metrics. Every source has its own, at the same time.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest answer that is read. A page of 100 000 Prometheus series has some 10 MB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A service's own numbers. Kept across readings, so that a connection can be kept open where that is cheaper.
#[async_trait]
trait MetricsSource: Send {
    /// What kind of source this is.
    fn source(&self) -> Source;

    /// What is read, for messages: `GET http://127.0.0.1:80/metrics`.
    fn endpoint(&self) -> &str;

    /// Asks the service. May be cancelled at any point: the next call must not go on with a broken exchange.
    async fn read(&mut self) -> Measured<ServiceCounters>;
}

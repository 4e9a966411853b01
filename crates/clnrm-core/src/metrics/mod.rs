//! Readings of running services: from `/proc`, from the kernel's sockets and from the services themselves.
//!
//! I/O only gathers ([`Collector`] → [`Reading`]); [`rates`] turns two readings into a sample, purely. Deliberately
//! absent: when to read, what to do with the samples, and what kinds of servers there are.

mod asking;
mod cgroup;
mod collector;
mod kernel;
mod local_container;
mod network_namespace;
mod procfs;
pub mod rates;
mod reading;
mod remote_container;
mod series;
mod shared_memory;
mod sock_diag;
mod source;
mod target;

pub use self::cgroup::memory_kills;
pub use self::collector::Collector;
pub(crate) use self::reading::START_WANDERS_SECONDS;
pub use self::reading::{
    CollectorId, Counter, NetworkCounter, Reading, ResourceUsage, ResponseCounter, ServiceCounters,
    ServiceReading, Traffic,
};
pub use self::series::Series;
pub(crate) use self::series::{SeriesKey, grown};
pub use self::sock_diag::OwnConnections;
pub(crate) use self::source::{MAX_ANSWER_BYTES, READ_TIMEOUT};
pub use self::source::{MetricsSource, OpenSource};
pub use self::target::Target;
pub use crate::backend::root::{ContainerRoot, Root};

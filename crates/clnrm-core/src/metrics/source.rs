//! Where a service's own numbers come from, as far as this room must know: something that can be asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clnrm_decide::{Measured, Source};

use super::reading::ServiceCounters;
use super::sock_diag::OwnConnections;
use crate::clock::Clock;
use crate::config::definition::ServerSpec;

/// Longest time that a service may take to answer for its metrics. Every source has its own, at the same time.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest answer that is read. A page of 100 000 Prometheus series has some 10 MB.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A service's own numbers. Kept across readings, so that a connection can be kept open where that is cheaper.
#[async_trait]
pub trait MetricsSource: Send {
    /// What kind of source this is.
    fn source(&self) -> Source;

    /// What is read, for messages: `GET http://127.0.0.1:80/metrics`.
    fn endpoint(&self) -> &str;

    /// Asks the service. May be cancelled at any point: the next call must not go on with a broken exchange.
    async fn read(&mut self) -> Measured<ServiceCounters>;
}

/// Makes the source of a server; `None` = it cannot be asked.
pub type OpenSource = fn(
    &ServerSpec,
    Option<SocketAddr>,
    OwnConnections,
    Arc<dyn Clock>,
) -> Option<Box<dyn MetricsSource>>;

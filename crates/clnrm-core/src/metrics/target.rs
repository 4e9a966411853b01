//! What is to be read.

use std::net::SocketAddr;

use crate::backend::root::Root;
use crate::config::definition::MetricsSpec;

/// An instance that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Names the instance in its readings.
    pub instance_id: String,
    /// Its process tree or its container.
    pub root: Root,
    /// Every port of this machine at which it is reached; of a container, the published ones.
    pub ports: Vec<u16>,
    /// Its main address; `None` = it has no port.
    pub address: Option<SocketAddr>,
    /// What to ask it, with all placeholders filled in.
    pub metrics: MetricsSpec,
}

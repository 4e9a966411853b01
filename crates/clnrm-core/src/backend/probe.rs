//! What is looked at to tell whether an instance is ready.

use std::net::IpAddr;

use super::command::CommandRequest;
use super::port_owner::Tree;
use crate::config::definition::LogPattern;

/// One check, with every placeholder filled in.
#[derive(Debug, Clone)]
pub enum Probe {
    /// `host:port` accepts a connection.
    Tcp(String),
    /// A port of this machine accepts a connection, and what listens there belongs to the service.
    OwnPort {
        /// `127.0.0.1:port`.
        address: String,
        port: u16,
        /// The service's processes.
        tree: Tree,
    },
    /// A container listens on this port inside; the address is where it is published.
    Listens {
        /// Its main process.
        main_pid: Option<i32>,
        /// The port inside.
        port: u16,
        /// `127.0.0.1:port`.
        address: String,
        /// Its address in the project's network.
        ip: Option<IpAddr>,
    },
    /// The container's own health check passes.
    Healthy,
    /// GET on this URL answers 2xx or 3xx.
    Http(String),
    /// So many lines of the log match.
    Log {
        /// Which of the patterns that its output is held against.
        index: usize,
        wanted: LogPattern,
    },
    /// The command exits with 0.
    Command(CommandRequest),
}

//! What clnrm's own questions would add to a service's connections.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

/// Connections that clnrm itself opened to read metrics: (port of the service, our port).
#[derive(Debug, Clone, Default)]
pub struct OwnConnections(pub(super) Arc<Mutex<HashSet<(u16, u16)>>>);

impl OwnConnections {
    /// To be called before anything is sent over a connection.
    pub(crate) fn add(&self, stream: &TcpStream) {
        if let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) {
            self.lock().insert((peer.port(), local.port()));
        }
    }

    pub(super) fn contains(&self, service_port: u16, client_port: u16) -> bool {
        self.lock().contains(&(service_port, client_port))
    }

    pub(super) fn remove(&self, service_port: u16, client_port: u16) -> bool {
        self.lock().remove(&(service_port, client_port))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(u16, u16)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

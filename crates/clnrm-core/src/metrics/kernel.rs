//! What this machine's kernel shows of all instances, in one go: process trees, containers, sockets.

use clnrm_decide::{Absent, Measured, Source};

use super::local_container::LocalContainers;
use super::procfs::ProcessTrees;
use super::reading::{ResourceUsage, Traffic};
use super::sock_diag::{OwnConnections, PortUsage, SocketStatistics};
use crate::backend::root::Root;
use crate::clock::{Clock, Uptime};

/// Remembers what it must between readings.
#[derive(Debug)]
pub(super) struct Kernel {
    own: OwnConnections,
    processes: ProcessTrees,
    containers: LocalContainers,
    /// `None` before the first reading, and after one that failed.
    sockets: Option<SocketStatistics>,
}

/// One look at one instance from outside of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look {
    pub(super) usage: ResourceUsage,
    pub(super) traffic: Traffic,
}

impl Look {
    /// All absent for one reason.
    pub(super) fn absent(at: Uptime, reason: &Absent) -> Self {
        Self {
            usage: ResourceUsage::absent(at, Source::Procfs, reason),
            traffic: Traffic::absent(at, Source::SockDiag, reason),
        }
    }
}

impl Kernel {
    pub(super) fn new(own: OwnConnections) -> Self {
        Self {
            own,
            processes: ProcessTrees::default(),
            containers: LocalContainers::default(),
            sockets: None,
        }
    }

    /// One look per instance, in the same order; `None` = a container that cannot be read on this machine.
    pub(super) fn read(
        &mut self,
        wanted: &[(Root, Vec<u16>)],
        clock: &dyn Clock,
    ) -> Vec<Option<Look>> {
        self.forget_others(wanted);
        let mut trees = self.read_trees(wanted, clock).into_iter();
        let sockets_at = clock.awake();
        // The ports of another machine's container mean something else here.
        let ports: Vec<&[u16]> = wanted
            .iter()
            .map(|(root, ports)| {
                if self.is_here(root) {
                    ports.as_slice()
                } else {
                    &[]
                }
            })
            .collect();
        let sockets = self.read_sockets(&ports);
        let look = |(index, (root, ports)): (usize, &(Root, Vec<u16>))| {
            let of_ports = match &sockets {
                _ if ports.is_empty() => Err(Absent::NoPort),
                Ok(sockets) => sockets.get(index).ok_or(Absent::NoPort),
                Err(reason) => Err(reason.clone()),
            };
            let traffic = traffic(sockets_at, &of_ports);
            let (usage, traffic) = match root {
                Root::ProcessTree(_) => (trees.next()?, traffic),
                Root::Container(root) => {
                    let own_connections = of_ports.map_or(0, |usage| usage.own_connections);
                    let container = self.containers.get(root)?;
                    let (usage, inner) = container.read(own_connections, clock);
                    (usage, inner.unwrap_or(traffic))
                }
            };
            Some(Look { usage, traffic }.without_what_others_use())
        };
        wanted.iter().enumerate().map(look).collect()
    }

    fn forget_others(&mut self, wanted: &[(Root, Vec<u16>)]) {
        let containers = wanted.iter().filter_map(|(root, _)| match root {
            Root::Container(root) => Some(root),
            Root::ProcessTree(_) => None,
        });
        self.containers.keep(&containers.collect::<Vec<_>>());
    }

    fn is_here(&mut self, root: &Root) -> bool {
        match root {
            Root::ProcessTree(_) => true,
            Root::Container(root) => self.containers.get(root).is_some(),
        }
    }

    /// One value per process tree.
    fn read_trees(&mut self, wanted: &[(Root, Vec<u16>)], clock: &dyn Clock) -> Vec<ResourceUsage> {
        let trees = wanted.iter().filter_map(|(root, _)| match root {
            Root::ProcessTree(shim) => Some(shim),
            Root::Container(_) => None,
        });
        self.processes.read(&trees.collect::<Vec<_>>(), clock)
    }

    fn read_sockets(&mut self, ports: &[&[u16]]) -> Measured<Vec<PortUsage>> {
        let unreadable = |error| Absent::unreadable("sock_diag", &error);
        let mut sockets = match self.sockets.take() {
            Some(sockets) => sockets,
            None => SocketStatistics::open(self.own.clone()).map_err(unreadable)?,
        };
        let usage = sockets.read(ports).map_err(unreadable)?;
        // Kept only while it works.
        self.sockets = Some(sockets);
        Ok(usage)
    }
}

impl Look {
    /// What an instance that has ended listened on may be another's by now.
    fn without_what_others_use(mut self) -> Self {
        if self.usage.has_ended() {
            let Traffic { at, source, .. } = self.traffic;
            self.traffic = Traffic::absent(at, source, &Absent::ProcessEnded);
        }
        self
    }
}

fn traffic(at: Uptime, of_ports: &Measured<&PortUsage>) -> Traffic {
    match of_ports {
        Ok(usage) => Traffic {
            at,
            source: Source::SockDiag,
            connections: Ok(usage.connections),
            network: usage.network.clone(),
        },
        Err(reason) => Traffic::absent(at, Source::SockDiag, reason),
    }
}

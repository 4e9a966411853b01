//! Books the bytes of open and closed connections so that each is counted once, in whatever order the news comes.
//! Pure.

use std::collections::{HashMap, HashSet};

use super::own_connections::OwnConnections;
use clnrm_decide::Measured;

use super::wire::TcpSocket;
use crate::metrics::reading::NetworkCounter;

/// A connection that is in no dump and whose end was never announced is closed for good after so many dumps.
const MAX_UNSEEN_DUMPS: u32 = 60;

/// Connections and bytes of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortUsage {
    pub(crate) connections: u64,
    /// Those that clnrm itself holds to it, not counted in `connections`.
    pub(crate) own_connections: u64,
    pub(crate) network: Measured<NetworkCounter>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    own: OwnConnections,
    ports: HashMap<u16, Port>,
    /// By cookie. A connection stays here from the first dump that shows it until its end is announced: between the two
    /// it may already be missing from the dumps, and its bytes must not.
    open: HashMap<u64, Open>,
    next_epoch: u64,
}

#[derive(Debug)]
struct Port {
    established: u64,
    own_established: u64,
    closed_bytes: u64,
    /// Of this port's counter: another one from each start of watching, and after each loss.
    epoch: u64,
}

#[derive(Debug)]
struct Open {
    local_port: u16,
    bytes: u64,
    unseen_dumps: u32,
}

impl Ledger {
    pub(super) fn new(own: OwnConnections) -> Self {
        Self {
            own,
            ports: HashMap::new(),
            open: HashMap::new(),
            next_epoch: 0,
        }
    }

    /// From now on these ports are watched, and no others.
    pub(super) fn watch(&mut self, port_groups: &[&[u16]]) {
        let wanted: HashSet<u16> = port_groups.iter().copied().flatten().copied().collect();
        self.ports.retain(|port, _| wanted.contains(port));
        self.open
            .retain(|_, open| wanted.contains(&open.local_port));
        for port in wanted {
            let next_epoch = &mut self.next_epoch;
            self.ports.entry(port).or_insert_with(|| {
                *next_epoch += 1;
                Port {
                    established: 0,
                    own_established: 0,
                    closed_bytes: 0,
                    epoch: *next_epoch,
                }
            });
        }
    }

    /// Announcements were lost: what is booked is worth nothing, and counting starts over.
    pub(super) fn start_over(&mut self) {
        self.open.clear();
        self.next_epoch += 1;
        for port in self.ports.values_mut() {
            port.closed_bytes = 0;
            port.epoch = self.next_epoch;
        }
    }

    /// Books all connections that are open now.
    pub(super) fn book_dump(&mut self, sockets: &[TcpSocket]) {
        for port in self.ports.values_mut() {
            port.established = 0;
            port.own_established = 0;
        }
        for open in self.open.values_mut() {
            open.unseen_dumps += 1;
        }
        for socket in sockets {
            // Our end: the other one is not in our network where the kernel redirects a published port.
            if self.own.contains(socket.remote_port, socket.local_port)
                && let Some(port) = self.ports.get_mut(&socket.remote_port)
            {
                port.own_established += u64::from(socket.established);
            }
            let Some(port) = self.ports.get_mut(&socket.local_port) else {
                continue;
            };
            if self.own.contains(socket.local_port, socket.remote_port) {
                continue;
            }
            port.established += u64::from(socket.established);
            let seen = Open {
                local_port: socket.local_port,
                bytes: socket.bytes,
                unseen_dumps: 0,
            };
            self.open.insert(socket.cookie, seen);
        }
        let ports = &mut self.ports;
        self.open.retain(|_, open| {
            let keep = open.unseen_dumps <= MAX_UNSEEN_DUMPS;
            if !keep && let Some(port) = ports.get_mut(&open.local_port) {
                port.closed_bytes = port.closed_bytes.saturating_add(open.bytes);
            }
            keep
        });
    }

    /// Books the last word on a connection.
    pub(super) fn book_closed(&mut self, socket: &TcpSocket) {
        let Some(port) = self.ports.get_mut(&socket.local_port) else {
            return;
        };
        if self.own.remove(socket.local_port, socket.remote_port) {
            return;
        }
        self.open.remove(&socket.cookie);
        port.closed_bytes = port.closed_bytes.saturating_add(socket.bytes);
    }

    /// What is booked for these ports.
    pub(super) fn usage(&self, ports: &[u16]) -> PortUsage {
        let ports: HashSet<u16> = ports.iter().copied().collect();
        let watched = || ports.iter().filter_map(|port| self.ports.get(port));
        let open_bytes = self
            .open
            .values()
            .filter(|open| ports.contains(&open.local_port))
            .map(|open| open.bytes);
        PortUsage {
            connections: watched().map(|port| port.established).sum(),
            own_connections: watched().map(|port| port.own_established).sum(),
            network: Ok(NetworkCounter {
                bytes: watched()
                    .map(|port| port.closed_bytes)
                    .chain(open_bytes)
                    .fold(0, u64::saturating_add),
                epoch: watched().map(|port| port.epoch).max(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn socket(cookie: u64, bytes: u64) -> TcpSocket {
        TcpSocket {
            established: true,
            local_port: 80,
            remote_port: u16::try_from(1_000 + cookie).unwrap(),
            cookie,
            bytes,
        }
    }

    fn watching() -> Ledger {
        let mut ledger = Ledger::new(OwnConnections::default());
        ledger.watch(&[&[80]]);
        ledger
    }

    fn bytes(ledger: &Ledger) -> u64 {
        ledger.usage(&[80]).network.unwrap().bytes
    }

    #[test]
    fn each_connection_counts_once_in_any_order_of_news() {
        let mut ledger = watching();
        ledger.book_dump(&[socket(1, 100), socket(2, 10)]);
        assert_eq!(bytes(&ledger), 110);
        assert_eq!(ledger.usage(&[80]).connections, 2);
        // Gone from the dump, its end not announced yet.
        ledger.book_dump(&[socket(2, 20)]);
        assert_eq!(bytes(&ledger), 120);
        assert_eq!(ledger.usage(&[80]).connections, 1);
        ledger.book_closed(&socket(1, 150));
        assert_eq!(bytes(&ledger), 170);
        // Born and gone between two dumps.
        ledger.book_closed(&socket(3, 1_000));
        assert_eq!(bytes(&ledger), 1_170);
    }

    #[test]
    fn a_connection_whose_end_is_never_announced_is_kept_and_forgotten_in_time() {
        let mut ledger = watching();
        ledger.book_dump(&[socket(1, 100)]);
        for _ in 0..=MAX_UNSEEN_DUMPS {
            ledger.book_dump(&[]);
            assert_eq!(bytes(&ledger), 100);
        }
        assert!(ledger.open.is_empty());
    }

    #[test]
    fn after_a_loss_the_epoch_is_another_and_open_connections_are_not_counted_anew() {
        let mut ledger = watching();
        ledger.book_dump(&[socket(1, 100)]);
        let before = ledger.usage(&[80]).network.unwrap();
        ledger.start_over();
        ledger.book_dump(&[socket(1, 130)]);
        let after = ledger.usage(&[80]).network.unwrap();
        assert_ne!(before.epoch, after.epoch);
        assert_eq!(after.bytes, 130);
    }

    #[test]
    fn a_port_that_was_not_watched_for_a_while_has_another_epoch() {
        let mut ledger = watching();
        let before = ledger.usage(&[80]).network.unwrap().epoch;
        ledger.watch(&[&[81]]);
        ledger.watch(&[&[80]]);
        assert_ne!(ledger.usage(&[80]).network.unwrap().epoch, before);
    }

    #[test]
    fn own_connections_and_other_ports_do_not_count() {
        let own = OwnConnections::default();
        own.0.lock().unwrap().insert((80, 1_001));
        let mut ledger = Ledger::new(own.clone());
        ledger.watch(&[&[80]]);
        let elsewhere = TcpSocket {
            local_port: 81,
            ..socket(5, 9)
        };
        ledger.book_dump(&[socket(1, 100), elsewhere]);
        ledger.book_closed(&socket(1, 200));
        ledger.book_closed(&elsewhere);
        assert_eq!((bytes(&ledger), ledger.usage(&[80]).connections), (0, 0));
        // The kernel may give the same port to a real client later.
        ledger.book_closed(&socket(1, 7));
        assert_eq!(bytes(&ledger), 7);
    }

    proptest! {
        /// Connections that only grow, dumps and closes in any order: the sum is exact at the end, and never shrinks.
        #[test]
        fn the_counter_never_shrinks(steps in proptest::collection::vec((0_u64..6, 0_u64..3, 0_u64..50), 0..60)) {
            let mut ledger = watching();
            let mut alive: HashMap<u64, u64> = HashMap::new();
            let (mut next_cookie, mut total, mut last) = (10, 0, 0);
            for (slot, action, amount) in steps {
                let cookie = match alive.keys().copied().min().filter(|_| slot < 4) {
                    Some(cookie) => cookie,
                    None => { next_cookie += 1; next_cookie }
                };
                *alive.entry(cookie).or_default() += amount;
                total += amount;
                match action {
                    0 => ledger.book_dump(&alive.iter().map(|(cookie, bytes)| socket(*cookie, *bytes)).collect::<Vec<_>>()),
                    1 => ledger.book_closed(&socket(cookie, alive.remove(&cookie).unwrap_or_default())),
                    _ => {}
                }
                prop_assert!(bytes(&ledger) >= last);
                last = bytes(&ledger);
            }
            ledger.book_dump(&alive.iter().map(|(cookie, bytes)| socket(*cookie, *bytes)).collect::<Vec<_>>());
            prop_assert_eq!(bytes(&ledger), total);
        }
    }
}

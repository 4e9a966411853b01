//! Connections and network bytes of an instance, from the kernel's socket statistics. Unprivileged.
//!
//! Counted is the traffic with the service's clients: TCP connections whose local port is one of the instance's.
//! clnrm's own connections for reading metrics are left out. Deliberately absent: what the service itself fetches from
//! elsewhere, UDP and Unix sockets.
//!
//! A dump shows the connections that are open now; the bytes of those that were closed in between come from the
//! multicast group on which the kernel announces destroyed sockets. Both are joined in [`Ledger`].

mod ledger;
mod own_connections;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use clnrm_decide::{Absent, Measured};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use self::ledger::Ledger;
pub(crate) use self::ledger::PortUsage;
pub use self::own_connections::OwnConnections;
use self::wire::{CONNECTIONS, connection};
use crate::netlink::{MESSAGE_BYTES, Message, dump, messages};

/// `SKNLGRP_INET_TCP_DESTROY` and `SKNLGRP_INET6_TCP_DESTROY` of linux/sock_diag.h.
const TCP_DESTROY_GROUPS: [u32; 2] = [1, 3];

/// As large as an unprivileged process may ask for on most hosts; the kernel takes less without an error.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Pause between two rounds of emptying the socket, so that thousands of closes per second wake us only some hundred
/// times. The smallest usual buffer (208 KiB) holds more than what closes in this time.
const DRAIN_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// A dump is repeated when announcements were lost during it.
const MAX_DUMPS: usize = 3;

/// Reads the socket statistics; watches for closed connections as long as it lives.
#[derive(Debug)]
pub(crate) struct SocketStatistics {
    dump_socket: Socket,
    watch: Arc<Mutex<Watch>>,
    /// Closed with this value, which ends the thread that empties the socket of announcements between readings.
    _stop_draining: OwnedFd,
}

/// The socket of announcements, and what was learnt from it.
#[derive(Debug)]
struct Watch {
    /// `None` = the kernel does not announce closed connections, for this reason.
    announcements: Measured<Arc<Socket>>,
    ledger: Ledger,
    buffer: Vec<u8>,
}

impl SocketStatistics {
    /// Opens the sockets, and starts the thread that watches for closed connections.
    ///
    /// Errors: this kernel has no socket statistics for TCP, or they are forbidden here.
    pub(crate) fn open(own: OwnConnections) -> io::Result<Self> {
        let mut dump_socket = Socket::new(NETLINK_SOCK_DIAG)?;
        dump_socket.bind_auto()?;
        let announcements =
            subscribe().map_err(|error| Absent::unreadable("closed sockets", &error));
        let (stop, stop_draining) = pipe_with(PipeFlags::CLOEXEC)?;
        let watch = Arc::new(Mutex::new(Watch {
            announcements: announcements.clone(),
            ledger: Ledger::new(own),
            buffer: Vec::with_capacity(MESSAGE_BYTES),
        }));
        if let Ok(socket) = announcements {
            let watch = Arc::clone(&watch);
            thread::Builder::new()
                .name("clnrm-closed".to_owned())
                .spawn(move || drain_until_stopped(&socket, &stop, &watch))?;
        }
        Ok(Self {
            dump_socket,
            watch,
            _stop_draining: stop_draining,
        })
    }

    /// Connections and bytes of each group of ports (one group per instance), in the same order.
    ///
    /// Errors: the kernel refused the dump.
    pub(crate) fn read(&mut self, port_groups: &[&[u16]]) -> io::Result<Vec<PortUsage>> {
        // Held all along: an announcement must not be booked between a dump and its booking.
        let mut watch = lock(&self.watch);
        watch.ledger.watch(port_groups);
        let mut complete = false;
        for _ in 0..MAX_DUMPS {
            let sockets = dump(&self.dump_socket, CONNECTIONS, connection)?;
            watch.ledger.book_dump(&sockets);
            complete = watch.drain()?;
            if complete {
                break;
            }
        }
        let usage = |ports: &&[u16]| {
            let mut usage = watch.ledger.usage(ports);
            if let Err(reason) = &watch.announcements {
                usage.network = Err(reason.clone());
            } else if !complete {
                usage.network = Err(Absent::EventsLost);
            }
            usage
        };
        Ok(port_groups.iter().map(usage).collect())
    }
}

impl Watch {
    /// Books all announcements that have come; false when some were lost.
    fn drain(&mut self) -> io::Result<bool> {
        let Ok(socket) = &self.announcements else {
            return Ok(true);
        };
        let mut complete = true;
        loop {
            self.buffer.clear();
            match socket.recv(&mut self.buffer, 0) {
                Ok(_) => {
                    for message in messages(&self.buffer) {
                        if let Message::Socket(closed) = message
                            && let Some(closed) = connection(closed)
                        {
                            self.ledger.book_closed(&closed);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(complete),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_overflow(&error) => {
                    self.ledger.start_over();
                    complete = false;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_overflow(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOBUFS)
}

fn subscribe() -> io::Result<Arc<Socket>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    socket.set_rx_buf_sz(RECEIVE_BUFFER_BYTES)?;
    for group in TCP_DESTROY_GROUPS {
        socket.add_membership(group)?;
    }
    Ok(Arc::new(socket))
}

/// Empties the socket as announcements come, until the other end of `stop` is closed.
///
/// A thread and not a task: its socket must be emptied in time, however busy the runtime is.
fn drain_until_stopped(socket: &Socket, stop: &OwnedFd, watch: &Mutex<Watch>) {
    loop {
        let mut either = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        if !matches!(event::poll(&mut either, None), Ok(_) | Err(Errno::INTR)) {
            return;
        }
        // A reading in progress holds the lock and empties the socket itself.
        if let Ok(mut watch) = watch.try_lock()
            && watch.drain().is_err()
        {
            return;
        }
        let mut stopped = [PollFd::new(stop, PollFlags::IN)];
        if !matches!(
            event::poll(&mut stopped, Some(&DRAIN_PAUSE)),
            Ok(0) | Err(Errno::INTR)
        ) {
            return;
        }
    }
}

/// The maps behind these locks are valid after any panic, so a poisoned lock is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

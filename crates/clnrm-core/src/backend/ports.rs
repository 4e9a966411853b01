//! Free ports for instances.
//!
//! A port is only *found* free: the service itself must bind it, and anyone may be quicker. So ports are drawn from
//! below the range that the kernel gives to outgoing connections, at random, and the lifecycle tries again with
//! another one when a service lost the race.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

use rand::RngExt;
use rand::rngs::StdRng;

use super::start::PrepareError;
use crate::config::definition::ServiceDefinition;

/// Below the default `ip_local_port_range` (32768…), above the ports that people fix by hand.
const CANDIDATES: Range<u16> = 20_000..32_000;
const RANDOM_ATTEMPTS: usize = 64;

/// A port on 127.0.0.1 that is free now and not in `taken`; `None` when the machine has none left.
pub fn free_port(rng: &mut StdRng, taken: &[u16]) -> Option<u16> {
    let drawn = (0..RANDOM_ATTEMPTS).map(|_| rng.random_range(CANDIDATES));
    drawn
        .chain(CANDIDATES)
        .find(|port| !taken.contains(port) && is_free(*port))
}

/// Whether this port of 127.0.0.1 can be bound now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

pub fn is_free_udp(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether an instance can have the ports of this machine that its file fixes.
pub(super) fn check_fixed(definition: &ServiceDefinition) -> Result<(), PrepareError> {
    let mut wanted = definition.ports_of_this_machine().into_iter();
    match wanted.find(|port| !is_free(*port)) {
        Some(port) => Err(PrepareError::PortTaken { port }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        drop(listener);
        assert!(is_free(port));
    }

    #[test]
    fn ports_that_other_instances_were_given_are_left_out() {
        let first = free_port(&mut StdRng::seed_from_u64(7), &[]).unwrap();
        let second = free_port(&mut StdRng::seed_from_u64(7), &[first]).unwrap();
        assert_ne!(first, second);
    }
}

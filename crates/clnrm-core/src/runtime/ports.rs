//! Free ports for instances, and who holds a port that is not free.
//!
//! A port is only *found* free: the service itself must bind it, and anyone may be quicker. So ports are drawn from
//! below the range that the kernel gives to outgoing connections, at random, and the lifecycle tries again with
//! another one when a service lost the race.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use rand::RngExt;
use rand::rngs::StdRng;

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

/// Names the process that listens on a port, e.g. `redis-server (pid 812)`, where this user may see it.
pub fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let link = format!("socket:[{inode}]");
    let pid = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| holds_descriptor(*pid, &link))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

fn holds_descriptor(pid: i32, link: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .filter_map(Result::ok)
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link))
}

/// The inode of the socket in state LISTEN (0A) on this local port, from the text of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let local_port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (state == "0A" && local_port == port).then(|| inode.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_offered_and_its_holder_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert!(
            holder(port)
                .unwrap()
                .ends_with(&format!("(pid {})", std::process::id()))
        );
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

//! Whether what answers on a port of this machine is a service's own.
//!
//! A port that accepts connections says nothing: whoever was quicker to take it does that, too.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::kernel_listeners;
use super::socket_table::{Listener, listeners};
use crate::procfs::ProcessTable;

/// The processes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// Its shim, below which all of them are.
    pub shim_pid: i32,
    /// The first of them, which usually is the one that listens.
    pub main_pid: Option<i32>,
}

/// Names a process that listens on a port, e.g. `redis-server (pid 812)`, where this user may see it.
pub fn holder(port: u16) -> Option<String> {
    let inodes: BTreeSet<u64> = all_listening(port)
        .iter()
        .map(|listener| listener.inode)
        .collect();
    holder_of(&inodes)
}

/// Whether somebody listens on a port, and at no address that anything but this machine itself could reach.
pub fn is_on_loopback_only(port: u16) -> bool {
    let found = all_listening(port);
    !found.is_empty() && found.iter().all(|listener| listener.ip.is_loopback())
}

/// One look at whoever gets the connections to 127.0.0.1 on this port.
pub(super) fn look(port: u16, tree: Tree) -> Result<(), String> {
    let mut foreign = reached(&all_listening(port));
    // Where none is left, nobody listens: what answered then is behind a redirection, and nothing says whose it is.
    let mut may_hide = foreign.is_empty();
    let mut is_own = |pid: i32, foreign: &mut BTreeSet<u64>| match sockets_of(pid) {
        Ok(own) => foreign.retain(|inode| !own.contains(inode)),
        Err(_) => may_hide = true,
    };
    if let Some(main_pid) = tree.main_pid {
        is_own(main_pid, &mut foreign);
    }
    if foreign.is_empty() {
        return Ok(());
    }
    let table = ProcessTable::scan().map_err(|error| format!("reading /proc: {error}"))?;
    for process in table.descendants(tree.shim_pid) {
        is_own(process.pid, &mut foreign);
    }
    if foreign.is_empty() {
        return Ok(());
    }
    match holder_of(&foreign) {
        Some(holder) => Err(format!(
            "on port {port} listens {holder}, which does not belong to this service"
        )),
        // A process of the service that has changed its user does not show what it holds.
        None if may_hide => Ok(()),
        None => Err(format!(
            "on port {port} listens a process of another user, which does not belong to this service"
        )),
    }
}

/// What listens on a port, whichever way the kernel tells it.
fn all_listening(port: u16) -> Vec<Listener> {
    let table = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    kernel_listeners::listening(port)
        .unwrap_or_else(|_| listeners(&(table("tcp") + &table("tcp6")), port))
}

/// The sockets that the kernel gives connections to 127.0.0.1: the most exact ones (`compute_score` in
/// net/ipv4/inet_hashtables.c).
fn reached(listeners: &[Listener]) -> BTreeSet<u64> {
    let rank = |listener: &Listener| match listener.ip {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Some(0),
        IpAddr::V4(ip) if ip.is_unspecified() => Some(1),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(2),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    let best = listeners.iter().filter_map(rank).min();
    let exact = listeners
        .iter()
        .filter(|listener| rank(listener) == best && best.is_some());
    exact.map(|listener| listener.inode).collect()
}

fn holder_of(inodes: &BTreeSet<u64>) -> Option<String> {
    let holds = |pid: &i32| {
        let sockets = sockets_of(*pid).unwrap_or_default();
        sockets.iter().any(|inode| inodes.contains(inode))
    };
    let pids = fs::read_dir("/proc").ok()?;
    let pid = pids
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

/// The sockets that a process has open; none where it has ended.
fn sockets_of(pid: i32) -> io::Result<Vec<u64>> {
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(descriptors) => descriptors,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inodes = targets.filter_map(|target| {
        let inode = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        inode.parse().ok()
    });
    Ok(inodes.collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_port_is_a_services_own_or_its_holder_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Tree {
            shim_pid: own_pid(),
            main_pid: Some(own_pid()),
        };
        look(port, own).unwrap();
        let name = format!("(pid {})", own_pid());
        assert!(holder(port).unwrap().ends_with(&name));

        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let tree = Tree {
            shim_pid: i32::try_from(other.id()).unwrap(),
            main_pid: None,
        };
        let problem = look(port, tree).unwrap_err();
        assert!(problem.contains(&name), "{problem}");
        drop(listener);
        assert_eq!(
            look(port, tree),
            Ok(()),
            "nobody listens, so nobody else does"
        );
        assert_eq!(holder(port), None);
        drop(other.stdin.take());
        other.wait().unwrap();
    }

    #[test]
    fn the_most_exact_listener_gets_the_connection() {
        let at = |ip: &str, inode| Listener {
            ip: ip.parse().unwrap(),
            inode,
        };
        let all = [
            at("::", 1),
            at("0.0.0.0", 2),
            at("127.0.0.1", 3),
            at("::1", 4),
            at("127.0.0.2", 5),
        ];
        let reached = |listeners: &[Listener]| reached(listeners).into_iter().collect::<Vec<_>>();
        assert_eq!(reached(&all), [3]);
        assert_eq!(reached(&all[..2]), [2]);
        assert_eq!(reached(&all[..1]), [1]);
        assert_eq!(reached(&all[3..]), [0; 0]);
    }
}

//! Where what the engine publishes is reached from here.
//!
//! An engine on this machine publishes at 127.0.0.1. One that is reached over the network, or that runs in another
//! network than this process (docker-in-docker, a mounted socket), publishes elsewhere: at its own address, which
//! `DOCKER_HOST` or `[docker] host` tells.

use std::net::IpAddr;

/// Where containers of an engine on this machine are published.
const THIS_MACHINE: &str = "127.0.0.1";
/// All addresses of the engine's machine: which of them `host` names is not known there.
const ALL_ADDRESSES: &str = "0.0.0.0";

/// Where ports are published, and where they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublishedAt {
    /// The address that the engine binds.
    pub(super) bind: String,
    /// The host that is connected to.
    pub(super) host: String,
}

impl PublishedAt {
    /// `stated` is `[docker] host`; `engine` is the engine's own host, where it is reached over the network.
    pub(super) fn of(stated: Option<&str>, engine: Option<&str>) -> Self {
        let host = stated.or_else(|| engine.filter(|host| !is_this_machine(host)));
        match host {
            None => Self {
                bind: THIS_MACHINE.to_owned(),
                host: THIS_MACHINE.to_owned(),
            },
            Some(host) => Self {
                // The engine binds an address of its own machine only; a name is an address there, but which?
                bind: match (stated, host.parse::<IpAddr>()) {
                    (Some(stated), Ok(_)) => stated.to_owned(),
                    _ => ALL_ADDRESSES.to_owned(),
                },
                host: host.to_owned(),
            },
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The host of `tcp://host:port`.
pub(super) fn host_of(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => authority.split(':').next(),
    }
    .filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_reached_where_the_engine_is() {
        let at = |stated, engine| {
            let PublishedAt { bind, host } = PublishedAt::of(stated, engine);
            format!("{host} bound at {bind}")
        };
        assert_eq!(at(None, None), "127.0.0.1 bound at 127.0.0.1");
        assert_eq!(at(None, Some("localhost")), "127.0.0.1 bound at 127.0.0.1");
        assert_eq!(at(None, Some("docker")), "docker bound at 0.0.0.0");
        assert_eq!(at(None, Some("10.0.0.7")), "10.0.0.7 bound at 0.0.0.0");
        assert_eq!(
            at(Some("172.17.0.1"), None),
            "172.17.0.1 bound at 172.17.0.1"
        );
        assert_eq!(
            at(Some("builder"), Some("docker")),
            "builder bound at 0.0.0.0"
        );
    }

    #[test]
    fn the_host_of_an_address() {
        assert_eq!(host_of("tcp://docker:2375"), Some("docker"));
        assert_eq!(host_of("http://[::1]:2375/x"), Some("::1"));
        assert_eq!(host_of("unix:///var/run/docker.sock"), None);
        assert_eq!(host_of("docker"), None);
    }
}

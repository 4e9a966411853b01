//! Where what the engine publishes is reached from here.
//!
//! An engine on this machine publishes at 127.0.0.1. One that is reached over the network, or that runs in another
//! network than this process (docker-in-docker, a mounted socket), publishes elsewhere: at its own address, which
//! `DOCKER_HOST` or `[docker] host` tells.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::models::ContainerInspectResponse;

use super::DockerBackend;
use super::error::EngineError;
use crate::config::definition::Protocol;
use crate::config::placeholder::{Inside, Where};

/// Where containers of an engine on this machine are published.
const THIS_MACHINE: &str = "127.0.0.1";
/// All addresses of the engine's machine: which of them `host` names is not known there.
const ALL_ADDRESSES: &str = "0.0.0.0";

/// The addresses of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    /// Its address in the project's network.
    pub(super) ip: Option<String>,
    /// Where its ports are reached from here.
    pub(super) host: String,
    /// Those ports, by the port inside.
    pub(super) host_ports: BTreeMap<(u16, Protocol), u16>,
}

impl Published {
    /// The values of an instance that is there; `own` is what was known of it before.
    pub(super) fn binding(&self, own: &Where) -> Option<Where> {
        let inside = own.inside.as_ref()?;
        let at = |port, protocol| self.host_ports.get(&(port, protocol)).copied();
        let named = inside.named_ports.iter();
        Some(Where {
            host: self.host.clone(),
            port: inside.port.and_then(|port| at(port, inside.protocol)),
            named_ports: named
                .filter_map(|(name, port)| Some((name.clone(), at(*port, Protocol::Tcp)?)))
                .collect(),
            data_dir: own.data_dir.clone(),
            inside: Some(Inside {
                ip: self.ip.clone(),
                ..inside.clone()
            }),
        })
    }

    /// The same container at its own address and with its own ports; `None` = it has no address.
    pub(super) fn at_its_own_address(&self) -> Option<Self> {
        let inside = self.host_ports.keys();
        Some(Self {
            host: self.ip.clone()?,
            host_ports: inside.map(|port| (*port, port.0)).collect(),
            ip: self.ip.clone(),
        })
    }
}

impl DockerBackend {
    pub(super) async fn published_at(&self) -> Result<PublishedAt, EngineError> {
        let engine = &self.engine.connected().await?.address;
        Ok(PublishedAt::of(self.host.as_deref(), host_of(engine)))
    }

    /// Where a container is now.
    pub(super) async fn published(
        &self,
        container: &ContainerInspectResponse,
    ) -> Result<Published, EngineError> {
        let settings = container.network_settings.as_ref();
        let ports = settings.and_then(|settings| settings.ports.as_ref());
        let mut host_ports = BTreeMap::new();
        for (inside, bindings) in ports.into_iter().flatten() {
            let inside = inside_port(inside);
            let host = bindings
                .iter()
                .flatten()
                .find_map(|binding| binding.host_port.as_ref()?.parse().ok());
            if let (Some(inside), Some(host)) = (inside, host) {
                host_ports.insert(inside, host);
            }
        }
        let networks = settings.and_then(|settings| settings.networks.as_ref());
        let ip = networks
            .into_iter()
            .flatten()
            .find_map(|(_, endpoint)| endpoint.ip_address.clone())
            .filter(|ip| !ip.is_empty());
        Ok(Published {
            host: self.published_at().await?.host,
            ip,
            host_ports,
        })
    }
}

/// `80/tcp`.
fn inside_port(key: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = key.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

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

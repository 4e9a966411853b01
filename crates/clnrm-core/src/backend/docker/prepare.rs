//! What starting a container takes: its ports inside, its view of its neighbours, its command and its environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::DockerBackend;
use super::container_error::ContainerError;
use super::request::{ContainerRequest, DATA_DIR_INSIDE};
use crate::backend::error::BackendError;
use crate::backend::instance::Running;
use crate::backend::names::NetworkNames;
use crate::backend::port_owner::is_on_loopback_only;
use crate::backend::pull::OnPull;
use crate::backend::start::{ANY_ADDRESS, Deed, Intent, PrepareError, StartOrder};
use crate::backend::{environment, ports};
use crate::config::definition::{
    CommandLine, ContainerLaunch, PortMapping, Protocol, ServiceDefinition,
};
use crate::config::placeholder::{
    Bindings, HOST, Inside, Placeholder, Property, Where, named_ports, needs_main_port,
    placeholders_of, render_command,
};
use crate::folder::data_dir;

/// Ports that are chosen inside a container begin here: nothing else is in there, so any number does.
const FIRST_CHOSEN_PORT: u16 = 20_000;
/// A container whose project is gone may be removed by any other clnrm after this.
const ORPHAN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A container to be created.
#[derive(Debug)]
struct Create {
    backend: Arc<DockerBackend>,
    request: ContainerRequest,
}

#[async_trait]
impl Deed for Create {
    async fn start(
        self: Box<Self>,
        on_pull: &OnPull,
        cancel: &CancellationToken,
    ) -> Result<Running, BackendError> {
        let starting = self.backend.start(&self.request, on_pull, cancel);
        Ok(starting.await?)
    }
}

impl DockerBackend {
    pub(super) fn intent(
        self: Arc<Self>,
        order: StartOrder<'_>,
        container: &ContainerLaunch,
    ) -> Result<Intent, PrepareError> {
        let definition = order.definition;
        ports::check_fixed(definition)?;
        let names = names(&order, &self.project.container_name(&order.place.id));
        let inside = Inside {
            name: names.own.clone(),
            links: names.links.clone(),
            ..inside(container, definition)
        };
        let ports = host_ports(container, &inside, order.preferred.as_ref());
        let own = Where {
            host: HOST.to_owned(),
            data_dir: data_dir(&order.place.dir),
            inside: Some(inside),
            ..Where::default()
        };
        let name = &definition.name;
        let mut bindings = order.bindings;
        bindings.own = Some(name.clone());
        bindings.services.insert(name.clone(), own.clone());
        processes_are_open(definition, &bindings)?;
        let seen = bindings.seen_from_container(name, ANY_ADDRESS);
        let rendered = |command: Option<&CommandLine>, seen: &Bindings| {
            command
                .map(|command| render_command(command, seen))
                .transpose()
        };
        let entry_point = container.entry_point.clone().map(CommandLine::Exec);
        let env = environment::stated(definition, order.environment, &seen)?;
        // It is executed inside, where the service is at home.
        let at_home = bindings.seen_from_container(name, HOST);
        let check = container.health_check.as_ref();
        let request = ContainerRequest {
            definition: definition.clone(),
            launch: container.clone(),
            run: order.run,
            owner: order.owner.clone(),
            expires_at: order.now + ORPHAN_LIFETIME,
            entry_point: rendered(entry_point.as_ref(), &seen)?,
            command: rendered(container.command.as_ref(), &seen)?,
            env: env.clone(),
            ports,
            names,
            health_check: rendered(check.map(|check| &check.command), &at_home)?,
            own,
            place: order.place,
        };
        Ok(Intent {
            bindings,
            env,
            deed: Box::new(Create {
                backend: self,
                request,
            }),
        })
    }
}

/// Whether the processes that the container is told the addresses of listen where it can reach them.
fn processes_are_open(
    definition: &ServiceDefinition,
    bindings: &Bindings,
) -> Result<(), BackendError> {
    for placeholder in placeholders_of(definition).filter(Placeholder::is_address) {
        let Some(service) = placeholder.service else {
            continue;
        };
        let binding = bindings.services.get(&service);
        let Some(process) = binding.filter(|binding| binding.inside.is_none()) else {
            continue;
        };
        let port = match placeholder.property {
            Property::NamedPort(name) => process.named_ports.get(&name).copied(),
            _ => process.port,
        };
        if let Some(port) = port.filter(|port| is_on_loopback_only(*port)) {
            return Err(ContainerError::OnLoopbackOnly { service, port }.into());
        }
    }
    Ok(())
}

/// The ports that the container listens on: those that its file states, else chosen ones.
fn inside(container: &ContainerLaunch, definition: &ServiceDefinition) -> Inside {
    let mut chosen = FIRST_CHOSEN_PORT..;
    let stated: Vec<u16> = container.ports.iter().map(|port| port.container).collect();
    let mut choose = || chosen.find(|port| !stated.contains(port));
    let main = match stated.first() {
        Some(port) => Some(*port),
        None if needs_main_port(definition) => choose(),
        None => None,
    };
    let named = named_ports(definition).into_iter();
    let protocol = container.ports.first().map(|port| port.protocol);
    Inside {
        port: main,
        protocol: protocol.unwrap_or_default(),
        named_ports: named.filter_map(|name| Some((name, choose()?))).collect(),
        data_dir: PathBuf::from(DATA_DIR_INSIDE),
        ..Inside::default()
    }
}

/// Every port inside, with the port of this machine that the file (or a restart) wants for it.
fn host_ports(
    container: &ContainerLaunch,
    inside: &Inside,
    preferred: Option<&Where>,
) -> Vec<PortMapping> {
    let stated = (container.ports.iter()).map(|port| ((port.container, port.protocol), port.host));
    let main = inside.port.map(|port| (port, inside.protocol));
    let named = (inside.named_ports.values()).map(|port| (*port, Protocol::Tcp));
    let chosen = main.into_iter().chain(named);
    let mut all: BTreeMap<_, Option<u16>> = chosen.map(|port| (port, None)).collect();
    all.extend(stated);
    if let Some(preferred) = preferred {
        let main = main.zip(preferred.port);
        let named = inside.named_ports.iter().filter_map(|(name, port)| {
            Some(((*port, Protocol::Tcp), *preferred.named_ports.get(name)?))
        });
        for (inside, host) in main.into_iter().chain(named) {
            let wanted = all.entry(inside).or_default();
            *wanted = wanted.or(Some(host).filter(|host| is_free(*host, inside.1)));
        }
    }
    let mappings = all.into_iter();
    mappings
        .map(|((container, protocol), host)| PortMapping {
            host,
            container,
            protocol,
        })
        .collect()
}

fn is_free(port: u16, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp => ports::is_free(port),
        Protocol::Udp => ports::is_free_udp(port),
    }
}

/// By which names of its file the container finds others: always the same, whether they run already or not. An instance
/// of a pool has a name of its own, which is known once it is there.
fn names(order: &StartOrder<'_>, container_name: &str) -> NetworkNames {
    let mut names = order.names.clone();
    for (name, binding) in &order.bindings.services {
        if let (Some(target), true) = (binding.link(), order.definition.depends_on.contains(name)) {
            let link = names.links.entry(name.clone());
            link.or_insert_with(|| target.to_owned());
        }
        let inside = binding.inside.as_ref();
        if let Some(ip) = inside.and_then(|inside| inside.ip.clone()) {
            names.addresses.insert(name.clone(), ip);
        }
    }
    // Its own name is itself, also where several of it share a name in the network.
    let own = order.definition.name.clone();
    names.links.insert(own, container_name.to_owned());
    if names.own.is_empty() {
        container_name.clone_into(&mut names.own);
    }
    names
}

//! What starting a container takes: its ports inside, its view of its neighbours, and where it turned out to be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::preparation::Prepared;
use super::project::Project;
use super::start::{HOST, StartPlan};
use super::start_failure::StartCause;
use crate::backend::docker::{
    DATA_DIR_INSIDE, NetworkNames, OnPull, RenderedHealthCheck, WantedImage,
};
use crate::backend::port_owner::is_on_loopback_only;
use crate::backend::process::data_dir;
use crate::backend::{
    ContainerRequest, InstancePlace, Launchable, Published, Running, Supervisor, ports,
};
use crate::config::definition::{
    CommandLine, ContainerLaunch, HealthCheck, Launch, PortMapping, Protocol, PullPolicy,
    ServiceDefinition,
};
use crate::config::placeholder::{
    Bindings, InsideBinding, InstanceBinding, Placeholder, PlaceholderError, PortNeeds, Property,
    needed_ports, needs_data_dir, placeholders_of, render_command,
};
use crate::store::{InstancePorts, RecordedEngine, StartedContainer};

/// What a container calls itself when it listens.
pub(super) const ANY_ADDRESS: &str = "0.0.0.0";
/// Ports that are chosen inside a container begin here: nothing else is in there, so any number does.
const FIRST_CHOSEN_PORT: u16 = 20_000;
/// A container whose project is gone may be removed by any other clnrm after this.
const ORPHAN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Project {
    pub(super) async fn prepare_container(
        &self,
        plan: &StartPlan<'_>,
        container: &ContainerLaunch,
    ) -> Result<Prepared, StartCause> {
        let definition = plan.definition;
        self.check_fixed_ports(definition).await?;
        let id = self.new_instance_id(&definition.name);
        let dir = self.instance_dir(&id);
        let container_name = self.containers.container_name(&id.0);
        let names = names(plan, &container_name);
        let inside = InsideBinding {
            name: names.own.clone(),
            links: names.links.clone(),
            ..inside(container, needed_ports(definition))
        };
        let own = InstanceBinding {
            host: HOST.to_owned(),
            data_dir: data_dir(&dir),
            inside: Some(inside.clone()),
            ..InstanceBinding::default()
        };
        let bindings = self.bindings(plan, own);
        processes_are_open(definition, &bindings)?;
        let seen = bindings.seen_from_container(&definition.name, ANY_ADDRESS);
        let command = container.command.as_ref();
        let command = command
            .map(|command| render_command(command, &seen))
            .transpose()
            .map_err(StartCause::Placeholder)?;
        let entry_point = container.entry_point.clone().map(CommandLine::Exec);
        let entry_point = entry_point
            .map(|words| render_command(&words, &seen))
            .transpose()
            .map_err(StartCause::Placeholder)?;
        let env = self
            .environment_from(definition, &seen)
            .map_err(StartCause::Placeholder)?;
        let request = ContainerRequest {
            place: InstancePlace {
                id: id.0.clone(),
                dir: dir.clone(),
                container: None,
            },
            service: definition.name.clone(),
            digest: definition.digest().0,
            run: plan.run.map(|run| run.to_string()),
            owner: self.owner.clone(),
            expires_at: self.now() + ORPHAN_LIFETIME,
            image: container.image.clone(),
            entry_point,
            command,
            env: env.clone(),
            working_dir: definition.working_dir.clone(),
            cpus: definition.cpus,
            memory_bytes: definition.memory_bytes,
            ports: host_ports(container, &inside, plan),
            volumes: container.volumes.clone(),
            settings: (*container.settings).clone(),
            data_volume: needs_data_dir(definition),
            names,
            stop: definition.stop,
            log_limit_bytes: definition.log_limit_bytes,
            log_patterns: definition.ready.log_patterns(),
            health_check: (container.health_check.as_ref())
                .map(|check| health_check(check, &bindings, &definition.name))
                .transpose()
                .map_err(StartCause::Placeholder)?,
        };
        Ok(Prepared {
            id,
            dir,
            ports: InstancePorts::default(),
            address: None,
            bindings,
            env,
            launchable: Launchable::Container(Box::new(request)),
        })
    }

    /// What really ran where a string command met an entry point of its image.
    pub(super) async fn entry_point_that_ran(
        &self,
        definition: &ServiceDefinition,
    ) -> Option<String> {
        let Launch::Container(ContainerLaunch {
            image,
            entry_point: None,
            command: Some(CommandLine::Shell(_)),
            ..
        }) = &definition.launch
        else {
            return None;
        };
        let wanted = WantedImage {
            name: image,
            platform: None,
            pull: PullPolicy::Missing,
        };
        let facts = self
            .containers
            .image(&wanted, &OnPull::default(), &CancellationToken::new())
            .await
            .ok()?;
        let entry_point = facts.entry_point.join(" ");
        (!entry_point.is_empty()).then(|| format!("{entry_point} sh -c …"))
    }
}

/// Whether the processes that the container is told the addresses of listen where it can reach them.
fn processes_are_open(
    definition: &ServiceDefinition,
    bindings: &Bindings,
) -> Result<(), StartCause> {
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
            return Err(StartCause::OnLoopbackOnly { service, port });
        }
    }
    Ok(())
}

/// It is executed inside, where the service is at home.
fn health_check(
    check: &HealthCheck,
    bindings: &Bindings,
    service: &str,
) -> Result<RenderedHealthCheck, PlaceholderError> {
    Ok(RenderedHealthCheck {
        argv: render_command(&check.command, &bindings.seen_from_container(service, HOST))?,
        interval: check.interval,
        timeout: check.timeout,
        retries: check.retries,
    })
}

impl Prepared {
    /// Takes over where the engine put the container; `None` for a process, which is where it was told to be.
    pub(super) fn locate(&mut self, service: &str, running: &Running) -> Option<StartedContainer> {
        let binding = self.bindings.services.get_mut(service)?;
        let inside = binding.inside.as_mut()?;
        let located = located(inside, running)?;
        inside.ip.clone_from(&located.ports.inside.as_ref()?.ip);
        binding.host.clone_from(&running.published.as_ref()?.host);
        binding.port = located.ports.main;
        binding.named_ports.clone_from(&located.ports.named);
        self.ports = located.ports.clone();
        self.address.clone_from(&located.address);
        Some(located)
    }
}

/// Where the engine put a container; `None` for a process.
pub(super) fn located(inside: &InsideBinding, running: &Running) -> Option<StartedContainer> {
    let (Supervisor::Container(id), Some(published)) = (&running.supervisor, &running.published)
    else {
        return None;
    };
    let inside = InsideBinding {
        ip: published.ip.clone(),
        ..inside.clone()
    };
    let ports = outside(&inside, published);
    let host = &published.host;
    Some(StartedContainer {
        container_id: id.clone(),
        engine: published.engine.clone().map(|engine| RecordedEngine {
            id: engine.id,
            address: engine.address,
        }),
        image_id: published.image_id.clone(),
        main_pid: running.main_pid,
        cpus: running.cpus,
        address: ports.main.map(|port| format!("{host}:{port}")),
        ports,
    })
}

/// The same container at its own address and with its own ports; `None` = it has no address.
pub(super) fn at_its_own_address(running: &Running) -> Option<Running> {
    let published = running.published.as_ref()?;
    let inside = published.host_ports.keys();
    Some(Running {
        published: Some(Published {
            host: published.ip.clone()?,
            host_ports: inside.map(|port| (*port, port.0)).collect(),
            ..published.clone()
        }),
        ..running.clone()
    })
}

/// The ports that the container listens on: those that its file states, else chosen ones.
fn inside(container: &ContainerLaunch, needs: PortNeeds) -> InsideBinding {
    let mut chosen = FIRST_CHOSEN_PORT..;
    let stated: Vec<u16> = container.ports.iter().map(|port| port.container).collect();
    let mut choose = || chosen.find(|port| !stated.contains(port));
    let main = match stated.first() {
        Some(port) => Some(*port),
        None if needs.main => choose(),
        None => None,
    };
    let named = needs.named.into_iter();
    let protocol = container.ports.first().map(|port| port.protocol);
    InsideBinding {
        port: main,
        protocol: protocol.unwrap_or_default(),
        named_ports: named.filter_map(|name| Some((name, choose()?))).collect(),
        data_dir: PathBuf::from(DATA_DIR_INSIDE),
        ..InsideBinding::default()
    }
}

/// Every port inside, with the port of this machine that the file (or a restart) wants for it.
fn host_ports(
    container: &ContainerLaunch,
    inside: &InsideBinding,
    plan: &StartPlan<'_>,
) -> Vec<PortMapping> {
    let stated = (container.ports.iter()).map(|port| ((port.container, port.protocol), port.host));
    let main = inside.port.map(|port| (port, inside.protocol));
    let named = (inside.named_ports.values()).map(|port| (*port, Protocol::Tcp));
    let chosen = main.into_iter().chain(named);
    let mut all: BTreeMap<_, Option<u16>> = chosen.map(|port| (port, None)).collect();
    all.extend(stated);
    if let Some(preferred) = &plan.preferred {
        let main = main.zip(preferred.main);
        let named = inside
            .named_ports
            .iter()
            .filter_map(|(name, port)| Some(((*port, Protocol::Tcp), *preferred.named.get(name)?)));
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
fn names(plan: &StartPlan<'_>, container_name: &str) -> NetworkNames {
    let mut names = plan.names.clone();
    let neighbours = plan.neighbours.iter();
    for (name, binding) in neighbours {
        if let (Some(target), true) = (binding.link(), plan.definition.depends_on.contains(name)) {
            let link = names.links.entry(name.clone());
            link.or_insert_with(|| target.to_owned());
        }
        let inside = binding.inside.as_ref();
        if let Some(ip) = inside.and_then(|inside| inside.ip.clone()) {
            names.addresses.insert(name.clone(), ip);
        }
    }
    // Its own name is itself, also where several of it share a name in the network.
    let own = plan.definition.name.clone();
    names.links.insert(own, container_name.to_owned());
    if names.own.is_empty() {
        container_name.clone_into(&mut names.own);
    }
    names
}

fn outside(inside: &InsideBinding, published: &Published) -> InstancePorts {
    let at = |port, protocol| published.host_ports.get(&(port, protocol)).copied();
    let host = |port: &u16| at(*port, Protocol::Tcp);
    InstancePorts {
        main: inside.port.and_then(|port| at(port, inside.protocol)),
        named: inside
            .named_ports
            .iter()
            .filter_map(|(name, port)| Some((name.clone(), host(port)?)))
            .collect(),
        inside: Some(inside.clone()),
    }
}

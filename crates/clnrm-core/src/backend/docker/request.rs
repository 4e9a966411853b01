//! What a container is started from, and what the engine is told of it. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    MountType, NetworkingConfig, PortBinding, ResourcesUlimits,
};

use super::image::ImageFacts;
use super::labels;
use super::project_mark::ProjectMark;
use crate::backend::instance::InstancePlace;
use crate::backend::names::NetworkNames;
use crate::clock::Timestamp;
use crate::config::definition::{
    ContainerLaunch, ContainerSettings, HealthCheck, PortMapping, ServiceDefinition, StopSignal,
};
use crate::config::placeholder::{HOST_GATEWAY, Where, needs_data_dir};
use crate::procfs::ProcessIdentity;

/// The folder inside a container that belongs to the service itself; `{data_dir}`.
pub(super) const DATA_DIR_INSIDE: &str = "/clnrm-data";

/// A container to start, with every placeholder filled in.
#[derive(Debug)]
pub(super) struct ContainerRequest {
    pub(super) place: InstancePlace,
    pub(super) definition: ServiceDefinition,
    pub(super) launch: ContainerLaunch,
    /// The run that wants it.
    pub(super) run: Option<String>,
    /// The command that starts it.
    pub(super) owner: ProcessIdentity,
    /// When whoever finds it without its project may remove it.
    pub(super) expires_at: Timestamp,
    /// Replaces the image's entry point; empty = none, `None` = the image's own.
    pub(super) entry_point: Option<Vec<String>>,
    /// Replaces the image's command, not its entry point; `None` = the image's own.
    pub(super) command: Option<Vec<String>>,
    /// Added to the image's environment.
    pub(super) env: BTreeMap<String, String>,
    /// Ports inside, each with the port of 127.0.0.1 that it is bound to; `None` = the engine chooses.
    pub(super) ports: Vec<PortMapping>,
    /// How it and others find each other.
    pub(super) names: NetworkNames,
    /// What the engine executes inside again and again, in place of the image's own check.
    pub(super) health_check: Option<Vec<String>>,
    /// What is known of where it will be.
    pub(super) own: Where,
}

/// The network that a container is on.
#[derive(Debug, Clone)]
pub(super) struct Attachment {
    /// The address of the engine's machine that ports are published at.
    pub(super) bind: String,
    pub(super) network_id: String,
    /// What stands for this machine in the hosts file.
    pub(super) host_gateway: String,
    /// Whether the engine resolves [`NetworkNames::links`].
    pub(super) has_links: bool,
}

/// How the engine looks whether a container is well.
fn health_config(check: &HealthCheck, argv: &[String]) -> HealthConfig {
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let kind = ["CMD".to_owned()];
    HealthConfig {
        test: Some(kind.into_iter().chain(argv.iter().cloned()).collect()),
        interval: Some(nanoseconds(check.interval)),
        timeout: Some(nanoseconds(check.timeout)),
        retries: Some(i64::from(check.retries)),
        ..HealthConfig::default()
    }
}

/// What the engine is told.
pub(super) fn body(
    request: &ContainerRequest,
    image: &ImageFacts,
    attachment: &Attachment,
    project: &ProjectMark,
) -> ContainerCreateBody {
    let key = |port: &PortMapping| format!("{}/{}", port.container, port.protocol.word());
    let bindings = request.ports.iter().map(|port| {
        let binding = PortBinding {
            host_ip: Some(attachment.bind.clone()),
            host_port: Some(port.host.unwrap_or(0).to_string()),
        };
        (key(port), Some(vec![binding]))
    });
    let (definition, settings) = (&request.definition, &*request.launch.settings);
    let memory = definition
        .memory_bytes
        .and_then(|bytes| i64::try_from(bytes).ok());
    let host_config = HostConfig {
        network_mode: Some(attachment.network_id.clone()),
        log_config: Some(log_config(definition.log_limit_bytes)),
        port_bindings: Some(bindings.collect::<HashMap<_, _>>()),
        nano_cpus: definition.cpus.map(nano_cpus),
        memory,
        // The same value means "no swap": a limit of memory must be one.
        memory_swap: memory,
        mounts: Some(mounts(request)),
        extra_hosts: Some(extra_hosts(request, attachment)),
        // A shell as process 1 would ignore SIGTERM; anything else may insist on being process 1.
        init: settings.init.or_else(|| {
            image
                .runs_a_shell(request.entry_point.as_deref(), request.command.as_deref())
                .then_some(true)
        }),
        ..of_settings(settings)
    };
    ContainerCreateBody {
        image: Some(request.launch.image.clone()),
        entrypoint: request.entry_point.clone().map(as_engines_write_it),
        cmd: request.command.clone(),
        user: settings.user.clone(),
        hostname: settings.hostname.clone(),
        env: Some(
            request
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        working_dir: definition
            .working_dir
            .as_ref()
            .map(|path| path.display().to_string()),
        // An image whose command is a shell (alpine, debian) stays up: the shell waits for input that never comes. All
        // others find their input at its end, as a process does.
        open_stdin: Some(
            request.command.is_none() && request.entry_point.is_none() && image.waits_for_input(),
        ),
        exposed_ports: Some(request.ports.iter().map(key).collect()),
        // The image's own choice stands unless the file states another.
        stop_signal: (definition.stop.signal != StopSignal::Term)
            .then(|| signal_name(definition.stop.signal).to_owned()),
        healthcheck: (request.launch.health_check.as_ref())
            .zip(request.health_check.as_ref())
            .map(|(check, argv)| health_config(check, argv)),
        labels: Some(labels(request, project)),
        networking_config: Some(networking(&request.names, attachment)),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}

/// What the engine keeps with a container, for whoever finds it.
fn labels(request: &ContainerRequest, project: &ProjectMark) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = request.launch.settings.labels.clone().into_iter().collect();
    labels.extend(project.labels());
    let owner = &request.owner;
    labels.extend([
        (labels::SERVICE.to_owned(), request.definition.name.clone()),
        (labels::INSTANCE.to_owned(), request.place.id.clone()),
        (labels::DIGEST.to_owned(), request.definition.digest().0),
        (
            labels::OWNER.to_owned(),
            format!("{} {} {}", owner.pid, owner.start_ticks, owner.boot_id),
        ),
        (labels::EXPIRES.to_owned(), request.expires_at.to_string()),
        (
            labels::LOG_LIMIT.to_owned(),
            request.definition.log_limit_bytes.to_string(),
        ),
    ]);
    labels.extend(request.run.clone().map(|run| (labels::RUN.to_owned(), run)));
    labels
}

/// The engine's own default may be a driver that cannot be read, or one that keeps everything.
fn log_config(limit_bytes: u64) -> HostConfigLogConfig {
    let half = (limit_bytes / 2).max(1);
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), half.to_string()),
            ("max-file".to_owned(), "2".to_owned()),
        ])),
    }
}

/// The settings that the engine counts to the machine's side.
fn of_settings(settings: &ContainerSettings) -> HostConfig {
    let stated = |texts: &Vec<String>| (!texts.is_empty()).then(|| texts.clone());
    let map = |map: &BTreeMap<String, String>| {
        (!map.is_empty()).then(|| map.clone().into_iter().collect::<HashMap<_, _>>())
    };
    let ulimits = settings
        .ulimits
        .iter()
        .map(|(name, limit)| ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(limit.soft),
            hard: Some(limit.hard),
        });
    HostConfig {
        privileged: settings.privileged.then_some(true),
        readonly_rootfs: settings.read_only.then_some(true),
        tmpfs: map(&settings.tmpfs),
        shm_size: settings
            .shm_bytes
            .and_then(|bytes| i64::try_from(bytes).ok()),
        ulimits: (!settings.ulimits.is_empty()).then(|| ulimits.collect()),
        cap_add: stated(&settings.cap_add),
        cap_drop: stated(&settings.cap_drop),
        dns: stated(&settings.dns),
        sysctls: map(&settings.sysctls),
        ..HostConfig::default()
    }
}

/// An empty list would mean the image's own: none is one empty text.
fn as_engines_write_it(entry_point: Vec<String>) -> Vec<String> {
    if entry_point.is_empty() {
        return vec![String::new()];
    }
    entry_point
}

fn networking(names: &NetworkNames, attachment: &Attachment) -> NetworkingConfig {
    let endpoint = EndpointSettings {
        aliases: Some(vec![names.own.clone()]).filter(|_| !names.own.is_empty()),
        links: attachment.has_links.then(|| {
            let links = names.links.iter();
            links
                .filter(|(_, target)| *target != HOST_GATEWAY)
                .map(|(name, target)| format!("{target}:{name}"))
                .collect()
        }),
        ..EndpointSettings::default()
    };
    NetworkingConfig {
        endpoints_config: Some(HashMap::from([(attachment.network_id.clone(), endpoint)])),
    }
}

/// Those of the file, and processes of this machine; where the engine does not resolve names, also where others are now.
fn extra_hosts(request: &ContainerRequest, attachment: &Attachment) -> Vec<String> {
    let addresses = request.names.addresses.iter();
    let addresses = addresses.filter(|_| !attachment.has_links);
    let stated = &request.launch.settings.extra_hosts;
    let is_stated = |name: &String| stated.iter().any(|(stated, _)| stated == name);
    let links = request.names.links.iter();
    let processes = links.filter(|(name, target)| *target == HOST_GATEWAY && !is_stated(name));
    addresses
        .chain(processes)
        .chain(stated.iter().map(|(name, at)| (name, at)))
        .map(|(name, at)| match at.as_str() {
            HOST_GATEWAY => format!("{name}:{}", attachment.host_gateway),
            at => format!("{name}:{at}"),
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "cores are validated; 10⁹ of them fit"
)]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

fn mounts(request: &ContainerRequest) -> Vec<Mount> {
    // A `mount` of a path that does not exist is an error; a `bind` would create it, as root.
    let binds = request.launch.volumes.iter().map(|volume| Mount {
        typ: Some(MountType::BIND),
        source: Some(volume.host.display().to_string()),
        target: Some(volume.container.display().to_string()),
        read_only: Some(volume.read_only),
        ..Mount::default()
    });
    let data = needs_data_dir(&request.definition).then(|| Mount {
        typ: Some(MountType::VOLUME),
        target: Some(DATA_DIR_INSIDE.to_owned()),
        ..Mount::default()
    });
    binds.chain(data).collect()
}

fn signal_name(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::Term => "SIGTERM",
        StopSignal::Int => "SIGINT",
        StopSignal::Quit => "SIGQUIT",
        StopSignal::Hup => "SIGHUP",
        StopSignal::Usr1 => "SIGUSR1",
        StopSignal::Usr2 => "SIGUSR2",
        StopSignal::Winch => "SIGWINCH",
    }
}

//! How a service is started: `command`, `image`, `ports`, `volumes`, and the legacy `type` and `plugin`.
//!
//! The key that is present decides: `image` makes a container, `command` alone a process.

use std::path::PathBuf;

use super::values::Uses;
use super::{Context, container};
use crate::config::definition::{
    CommandLine, ContainerLaunch, Launch, PortMapping, Protocol, VolumeMount,
};
use crate::config::reader::{Table, Value};

/// How a service is started, and the ports that its file fixes on this machine.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) launch: Launch,
    /// Of a process: its ports, the main one first. Of a container: the host ports that it is bound to.
    pub(super) host_ports: Vec<u16>,
}

/// `None` when the table does not say how to start; that was reported.
pub(super) fn read(
    table: &mut Table<'_>,
    context: &Context<'_>,
    uses: &mut Uses,
) -> Option<Launched> {
    let image = table.take("image");
    let command_value = table.take("command");
    let command = command_value.as_ref().and_then(|value| value.command(uses));
    let entry_point = table.take("entrypoint");
    let ports = table.take("ports");
    let volumes = table.take("volumes");
    let image_text = image.as_ref().and_then(read_image);
    let knows_kind = check_legacy_kind(table, image_text.as_deref());
    if image.is_some() {
        let ports = ports.map_or_else(Vec::new, |value| container_ports(&value));
        let volumes = volumes.map_or_else(Vec::new, |value| read_volumes(&value, context));
        let settings = Box::new(container::read(table));
        return Some(Launched {
            host_ports: ports.iter().filter_map(|port| port.host).collect(),
            launch: Launch::Container(ContainerLaunch {
                image: image_text?,
                entry_point: entry_point
                    .and_then(|value| read_entry_point(&value, command.is_some(), uses)),
                command,
                ports,
                volumes,
                settings,
                health_check: None,
            }),
        });
    }
    refuse_for_process(entry_point, volumes);
    container::refuse_for_process(table);
    let host_ports = ports.map_or_else(Vec::new, |value| process_ports(&value));
    if command_value.is_none() && knows_kind {
        table.refuse_with(
            "does not say how to start the service",
            "add `command = [...]` for a local process, or `image = \"...\"` for a container",
        );
    }
    let launch = Launch::Process(command?);
    Some(Launched { launch, host_ports })
}

fn read_image(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if !is_image_reference(&text) {
        value.refuse_with(
            format!("{text:?} is not the name of an image"),
            "write [registry/]name[:tag], the name in lower case, e.g. \"redis:7\"",
        );
    }
    Some(text)
}

fn refuse_for_process(entry_point: Option<Value<'_>>, volumes: Option<Value<'_>>) {
    if let Some(entry_point) = entry_point {
        entry_point.refuse_with(
            "only a container has an entry point",
            "write the whole command of a process in `command`",
        );
    }
    if let Some(volumes) = volumes {
        volumes.refuse_with(
            "only a container has volumes",
            "a process reads its files where they are; its own directory is {data_dir}",
        );
    }
}

/// A program and its arguments, which may be none at all, or the name of a program.
fn read_entry_point(value: &Value<'_>, has_command: bool, uses: &mut Uses) -> Option<Vec<String>> {
    if value.is_string() {
        let program = value.text()?;
        if program.contains(char::is_whitespace) {
            value.refuse_with(
                format!("{program:?} is not a program"),
                "write a list of the program and its arguments",
            );
            return None;
        }
        uses.template(&value.place, &program);
        return Some(vec![program]);
    }
    let mut words = Vec::new();
    for word in value.list()? {
        let text = word.string()?;
        uses.template(&word.place, &text);
        words.push(text);
    }
    if words.is_empty() && !has_command {
        value.refuse_with(
            "without an entry point, `command` says what runs",
            "add `command = [...]`",
        );
    }
    Some(words)
}

/// A first look, so that a slip is found before anything is started; the engine has the last word.
fn is_image_reference(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    // Only a registry's host and a tag may have capitals.
    let name = text.rsplit('/').next().unwrap_or(text);
    let name = name.split([':', '@']).next().unwrap_or(name);
    text.chars().all(plain) && !name.is_empty() && !name.contains(|c: char| c.is_ascii_uppercase())
}

/// Kinds that mean "a container from this image" and nothing more.
const CONTAINER_KINDS: [&str; 7] = [
    "generic_container",
    "container",
    "docker",
    "testcontainers",
    "generic",
    "service",
    "cli",
];
/// Kinds that mean "a local process" and nothing more.
const PROCESS_KINDS: [&str; 5] = ["process", "local", "generic", "service", "cli"];
/// Kinds of the first clnrm that did something of their own, which this one does not have.
const MISSING_KINDS: [&str; 2] = ["ai_test_generator", "chaos_engine"];

/// Reports a kind that clnrm does not have and returns whether there was none.
fn check_legacy_kind(table: &mut Table<'_>, image: Option<&str>) -> bool {
    let kind = table.take("type");
    let plugin = table.take("plugin");
    for (value, is_plugin) in [(kind, false), (plugin, true)] {
        let Some(value) = value else { continue };
        let Some(kind) = value.text() else { continue };
        let says_the_same = match image {
            _ if MISSING_KINDS.contains(&kind.as_str()) => false,
            // The plugin names in old files ("alpine", "test_service") are free text beside an image.
            Some(_) if is_plugin => true,
            Some(image) => CONTAINER_KINDS.contains(&kind.as_str()) || image.contains(&kind),
            None => PROCESS_KINDS.contains(&kind.as_str()),
        };
        if !says_the_same {
            value.refuse_with(
                format!("clnrm has no service of the kind {kind:?}"),
                "say how to start it: `command = [...]` for a local process, `image = \"...\"` for a container",
            );
            return false;
        }
    }
    true
}

/// One port, as a number or text, alone or in a list.
fn each_port<T>(value: &Value<'_>, mut read: impl FnMut(&Value<'_>) -> Option<T>) -> Vec<T> {
    if !value.raw().is_array() {
        return read(value).into_iter().collect();
    }
    let elements = value.list().unwrap_or_default();
    elements.iter().filter_map(read).collect()
}

fn process_ports(value: &Value<'_>) -> Vec<u16> {
    let mut ports = Vec::new();
    each_port(value, |value| {
        if let Some((host, container)) = value.raw().as_str().and_then(|text| text.split_once(':'))
        {
            value.refuse_with(
                format!("\"{host}:{container}\" maps a container's port, and this is a process"),
                format!("write {container}, or leave `ports` out and use {{port}} in the command"),
            );
            return None;
        }
        let port = one_port(value)?;
        if ports.contains(&port) {
            value.refuse(format!("port {port} is given twice"));
        }
        ports.push(port);
        Some(())
    });
    ports
}

fn container_ports(value: &Value<'_>) -> Vec<PortMapping> {
    each_port(value, |value| {
        let Some(text) = value.raw().as_str() else {
            return Some(PortMapping {
                host: None,
                container: one_port(value)?,
                protocol: Protocol::Tcp,
            });
        };
        let (ports, protocol) = protocol(value, text)?;
        let (host, container) = match ports.rsplit_once(':') {
            Some((host, container)) => (Some(host_port(value, host)?), container),
            None => (None, ports),
        };
        Some(PortMapping {
            host,
            container: port_number(value, container)?,
            protocol,
        })
    })
}

/// The part before `/tcp` or `/udp`.
fn protocol<'t>(value: &Value<'_>, text: &'t str) -> Option<(&'t str, Protocol)> {
    match text.split_once('/') {
        None => Some((text, Protocol::Tcp)),
        Some((ports, "tcp")) => Some((ports, Protocol::Tcp)),
        Some((ports, "udp")) => Some((ports, Protocol::Udp)),
        Some((_, other)) => {
            value.refuse(format!("{other:?} is neither \"tcp\" nor \"udp\""));
            None
        }
    }
}

/// `8080` of `"8080:80"` and of `"127.0.0.1:8080:80"`.
fn host_port(value: &Value<'_>, text: &str) -> Option<u16> {
    let Some((address, port)) = text.rsplit_once(':') else {
        return port_number(value, text);
    };
    if !matches!(address, "127.0.0.1" | "localhost") {
        value.refuse_with(
            format!("{address:?}: clnrm publishes ports at 127.0.0.1 alone"),
            format!("leave the address out: \"{port}:CONTAINER_PORT\""),
        );
        return None;
    }
    port_number(value, port)
}

fn one_port(value: &Value<'_>) -> Option<u16> {
    match value.raw().as_str() {
        Some(text) => port_number(value, text),
        None if value.raw().is_integer() => value.integer(1..=u16::MAX),
        None => value.expected("a port"),
    }
}

fn port_number(value: &Value<'_>, text: &str) -> Option<u16> {
    let port = text.parse().ok().filter(|port| *port != 0);
    if port.is_none() {
        value.refuse(format!("{text:?} is not a port from 1 to 65535"));
    }
    port
}

fn read_volumes(value: &Value<'_>, context: &Context<'_>) -> Vec<VolumeMount> {
    let elements = value.list().unwrap_or_default();
    elements
        .iter()
        .filter_map(|element| read_volume(element, context))
        .collect()
}

/// `"host:container[:ro]"` or `{ host_path, container_path, read_only }`.
fn read_volume(value: &Value<'_>, context: &Context<'_>) -> Option<VolumeMount> {
    let (host, container, read_only) = if value.is_table() {
        volume_table(value)?
    } else {
        volume_text(value)?
    };
    if host.starts_with('~') || host.contains('$') {
        value.refuse_with(
            format!("{host:?} holds a variable, and clnrm does not replace those"),
            "write a path that is absolute or relative to the folder of this file",
        );
    }
    if !container.starts_with('/') {
        value.refuse(format!(
            "{container:?} must be absolute: it is inside the container"
        ));
    }
    let path = context.base_dir.join(&host);
    // What cannot be looked at here, the engine may still see.
    let is_path = host.starts_with(['.', '/']) || value.is_table();
    if is_path && matches!(path.try_exists(), Ok(false)) {
        value.refuse_with(
            format!("{host} does not exist"),
            "create it, or correct the path",
        );
    }
    Some(VolumeMount {
        host: path,
        container: PathBuf::from(container),
        read_only,
    })
}

fn volume_table(value: &Value<'_>) -> Option<(String, String, bool)> {
    let mut table = value.table()?;
    let host = table.take("host_path");
    let container = table.take("container_path");
    let read_only = table.take("read_only").and_then(|value| value.boolean());
    table.finish();
    let (Some(host), Some(container)) = (host, container) else {
        value.refuse("needs `host_path` and `container_path`");
        return None;
    };
    Some((host.text()?, container.text()?, read_only.unwrap_or(false)))
}

fn volume_text(value: &Value<'_>) -> Option<(String, String, bool)> {
    let text = value.text()?;
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, read_only) = match *parts.as_slice() {
        [host, container] | [host, container, "rw"] => (host, container, false),
        [host, container, "ro"] => (host, container, true),
        [inside] if inside.starts_with('/') => {
            value.refuse_with(
                format!("{inside:?} names no folder of this machine"),
                format!("write \"./data:{inside}\", tmpfs = [{inside:?}] for a folder in memory, or use {{data_dir}}"),
            );
            return None;
        }
        [_, _, "z" | "Z"] => {
            value.refuse_with(
                format!("{text:?}: labels of SELinux are not changed"),
                "remove the `z`, and label the folder yourself: chcon -Rt container_file_t FOLDER",
            );
            return None;
        }
        _ => {
            value.refuse_with(
                format!("{text:?} is not a volume"),
                "write \"./data:/data\" or \"./data:/data:ro\"",
            );
            return None;
        }
    };
    if !host.starts_with(['.', '/', '~', '$']) {
        value.refuse_with(
            format!("{host:?} would be a named volume, which is not supported"),
            format!("write \"./{host}:{container}\" for a folder beside this file"),
        );
    }
    Some((host.to_owned(), container.to_owned(), read_only))
}

/// Stands in for a launch that could not be read, so that the rest of the service still can.
pub(super) fn unknown() -> Launched {
    Launched {
        launch: Launch::Process(CommandLine::Exec(Vec::new())),
        host_ports: Vec::new(),
    }
}

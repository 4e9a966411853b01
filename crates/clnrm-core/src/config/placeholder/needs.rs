//! What a service asks for by the placeholders in its command and environment.

use std::collections::BTreeSet;

use super::syntax::{Placeholder, Property, placeholders_in};
use crate::config::definition::{CommandLine, Launch, ServiceDefinition};

/// Whether an instance has a main port.
pub(crate) fn has_main_port(service: &ServiceDefinition) -> bool {
    states_a_port(service) || needs_main_port(service)
}

fn states_a_port(service: &ServiceDefinition) -> bool {
    match &service.launch {
        Launch::Process(_) => !service.fixed_ports.is_empty(),
        Launch::Container(container) => !container.ports.is_empty(),
    }
}

/// Whether a main port must be chosen: it is used, and the file states none.
pub(crate) fn needs_main_port(service: &ServiceDefinition) -> bool {
    !states_a_port(service) && own_placeholders(service).any(|one| one.needs_main_port())
}

/// The further ports that an instance needs, by name.
pub(crate) fn named_ports(service: &ServiceDefinition) -> BTreeSet<String> {
    let names = own_placeholders(service).filter_map(|placeholder| match placeholder.property {
        Property::NamedPort(name) => Some(name),
        _ => None,
    });
    names.collect()
}

/// Whether a service's command or environment asks for its own directory.
pub(crate) fn needs_data_dir(service: &ServiceDefinition) -> bool {
    own_placeholders(service).any(|placeholder| placeholder.property == Property::DataDir)
}

/// What a service's command and environment ask about itself.
fn own_placeholders(service: &ServiceDefinition) -> impl Iterator<Item = Placeholder> {
    placeholders_of(service).filter(|placeholder| {
        (placeholder.service.as_ref()).is_none_or(|name| *name == service.name)
    })
}

/// What a service's command and environment ask.
pub(crate) fn placeholders_of(service: &ServiceDefinition) -> impl Iterator<Item = Placeholder> {
    let (command, entry_point) = match &service.launch {
        Launch::Process(command) => (Some(command), None),
        Launch::Container(container) => {
            (container.command.as_ref(), container.entry_point.as_ref())
        }
    };
    let texts = command.map(command_texts).unwrap_or_default().iter();
    texts
        .chain(entry_point.into_iter().flatten())
        .chain(service.env.values())
        .flat_map(|text| placeholders_in(text))
}

fn command_texts(command: &CommandLine) -> &[String] {
    match command {
        CommandLine::Exec(arguments) => arguments,
        CommandLine::Shell(script) => std::slice::from_ref(script),
    }
}

//! `pool`: how many instances stay warm, and what makes a used one clean again.

use super::limits::MOST_INSTANCES;
use super::values::Uses;
use crate::config::definition::{
    Launch, MetricsSpec, PoolBounds, PoolSpec, ServerForm, ServiceDefinition,
};
use crate::config::placeholder::placeholders_in;
use crate::config::reader::{Table, Value};

/// Reads `pool` of a service that is complete but for it.
pub(super) fn read(
    table: &mut Table<'_>,
    uses: &mut Uses,
    definition: &ServiceDefinition,
    servers: &[&ServerForm],
) -> Option<PoolSpec> {
    let value = table.take("pool")?;
    let mut table = value.table()?;
    let mut spec = PoolSpec::default();
    let max_instances = definition.scale.max_instances;
    match table.take("size") {
        None => table.refuse_with(
            "needs its `size`",
            "write e.g. size = 3, or size = \"auto\"",
        ),
        Some(size) if size.raw().as_str() == Some("auto") => {
            spec.auto = Some(bounds(&mut table, max_instances));
        }
        Some(size) => spec.size = bounded(&size, 0, max_instances).unwrap_or_default(),
    }
    for bound in ["min", "max"] {
        if spec.auto.is_none() {
            table.refuse_key(bound, "only size = \"auto\" has bounds", "remove it");
        }
    }
    spec.reset = table.take("reset").and_then(|value| value.command(uses));
    spec.verify = table.take("verify").and_then(|value| value.command(uses));
    if let Some(ttl) = table.take("ttl").and_then(|value| value.duration()) {
        spec.ttl = ttl;
    }
    table.finish();
    if spec.is_wanted() {
        if !has_cleaner(definition, servers) {
            check_reuse(&value, &spec);
        }
        check_bonds(&value, uses, definition);
    }
    Some(spec)
}

fn bounds(table: &mut Table<'_>, max_instances: u32) -> PoolBounds {
    let mut bound = |key| {
        let value = table.take(key)?;
        let number = bounded(&value, 1, max_instances)?;
        Some((number, value))
    };
    let (min, max) = (bound("min"), bound("max"));
    if let (Some((min, value)), Some((max, _))) = (&min, &max)
        && min > max
    {
        value.refuse(format!("min ({min}) is above max ({max})"));
    }
    PoolBounds {
        min: min.map_or(1, |(min, _)| min),
        max: max.map_or(max_instances, |(max, _)| max),
    }
}

fn bounded(value: &Value<'_>, least: u32, max_instances: u32) -> Option<u32> {
    let size = value.integer(least..=MOST_INSTANCES)?;
    if size > max_instances {
        value.refuse(format!(
            "{size} is more than the service may have at all (scale.max = {max_instances})"
        ));
    }
    Some(size)
}

fn has_cleaner(definition: &ServiceDefinition, servers: &[&ServerForm]) -> bool {
    let MetricsSpec::Server(server) = &definition.metrics else {
        return false;
    };
    let mut of_kind = servers.iter().filter(|form| form.name == server.kind);
    of_kind.any(|form| form.has_cleaner)
}

/// Half of a reuse would be a key that does nothing.
fn check_reuse(value: &Value<'_>, spec: &PoolSpec) {
    let why = match (&spec.reset, &spec.verify) {
        (Some(_), None) => "`reset` needs `verify`: a command whose output shows that it worked",
        (None, Some(_)) => "`verify` needs `reset`: a command that undoes what a test did",
        _ => return,
    };
    value.refuse_with(
        why,
        "add it, or remove both: then each warm instance serves one test",
    );
}

/// A warm instance is started before anybody knows which instances a test will have.
fn check_bonds(value: &Value<'_>, uses: &Uses, definition: &ServiceDefinition) {
    if !definition.ports_of_this_machine().is_empty() {
        value.refuse_with(
            "a service with a fixed port cannot be kept warm: its next instance could not start beside it",
            "leave the port of this machine out",
        );
    }
    if let Some(variable) = definition.env_of_caller.first() {
        value.refuse_with(
            format!("an instance has the `{variable}` of the command that started it, and cannot be kept warm for another"),
            "remove `pool`, or write its value into `env`",
        );
    }
    let other = uses.templates.iter().find_map(|template| {
        let named = placeholders_in(&template.text).into_iter();
        named
            .filter_map(|placeholder| placeholder.service)
            .find(|service| *service != definition.name)
    });
    let other = match (&definition.launch, other) {
        // A container finds those that it waits for by their names.
        (Launch::Container(_), None) => definition.depends_on.first().cloned(),
        (_, other) => other,
    };
    if let Some(other) = other {
        value.refuse_with(
            format!("an instance that is told where `{other}` is belongs to one instance of it, and cannot be kept warm"),
            "remove `pool`",
        );
    }
}

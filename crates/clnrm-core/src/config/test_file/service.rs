//! `[services.NAME]`: the keys of one service.
//!
//! Deliberately absent: what refers to other services, which `references.rs` checks when all are known.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::values::Uses;
use super::{Context, foreign_keys, launch, lifetime, limits, metrics, pool, ready};
use crate::config::definition::{Launch, PoolSpec, ReadyCheck, ServiceDefinition};
use crate::config::placeholder::{has_main_port, named_ports};
use crate::config::reader::{Place, Table, Value};

/// Enough for the last minutes of a chatty server; what is on disk stays below this.
const DEFAULT_LOG_LIMIT_BYTES: u64 = 16_000_000;
/// Health is not reduced up to here (the specification's default).
const DEFAULT_RESPONSE_TARGET: Duration = Duration::from_millis(100);
/// The longest label of a host name.
const LONGEST_NAME: usize = 63;

/// A service and what later checks need.
#[derive(Debug)]
pub(super) struct ReadService {
    pub(super) definition: ServiceDefinition,
    pub(super) place: Place,
    pub(super) depends_on: Vec<(String, Place)>,
    pub(super) uses: Uses,
    /// `None` = how it starts could not be read, so nothing is known about its ports.
    pub(super) ports: Option<Ports>,
}

/// The ports that placeholders may ask for.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) main: bool,
    pub(super) named: BTreeSet<String>,
}

/// Reads one service; `None` when it is not a table.
pub(super) fn read(name: &str, value: &Value<'_>, context: &Context<'_>) -> Option<ReadService> {
    check_name(name, value);
    let mut table = value.table()?;
    let mut uses = Uses::default();
    let (mut definition, parts) = read_definition(name, &mut table, context, &mut uses);
    finish(table, name);
    let ports = parts.knows_launch.then(|| ports_of(&definition));
    let speaks_udp = definition.speaks_udp();
    if speaks_udp && definition.ready.checks.contains(&ReadyCheck::Tcp) {
        value.refuse_with(
            "`ready.tcp`: nothing can connect to the main port, which is one of UDP",
            "write ready = { log = \"...\" } or ready = { command = [...] }",
        );
    }
    let can_connect = !speaks_udp && !definition.is_job();
    if parts.uses_default_check && can_connect && ports.as_ref().is_some_and(|ports| ports.main) {
        definition.ready.checks.push(ReadyCheck::Tcp);
    }
    Some(ReadService {
        definition,
        place: value.place.clone(),
        depends_on: parts.depends_on,
        uses,
        ports,
    })
}

/// What a definition does not hold of what its keys say.
struct Parts {
    depends_on: Vec<(String, Place)>,
    uses_default_check: bool,
    /// How it starts could be read.
    knows_launch: bool,
}

fn read_definition(
    name: &str,
    table: &mut Table<'_>,
    context: &Context<'_>,
    uses: &mut Uses,
) -> (ServiceDefinition, Parts) {
    let lifetime = lifetime::read(table);
    let launched = launch::read(table, context, uses);
    let knows_launch = launched.is_some();
    let launch::Launched {
        mut launch,
        host_ports,
    } = launched.unwrap_or_else(launch::unknown);
    let depends_on = table.strings("depends_on");
    let ready = ready::read(table, uses);
    if let Launch::Container(container) = &mut launch {
        container.health_check = ready.health_check;
    }
    let (cpus, memory_bytes) = limits::allotment(table, &launch);
    let scale_defaults = match launch {
        Launch::Container(_) => limits::below(memory_bytes, context.scale_defaults),
        Launch::Process(_) => context.scale_defaults.clone(),
    };
    let scale = limits::of_service(table, &scale_defaults, &host_ports);
    let response_target = table.take("response_target");
    let response_target = response_target.and_then(|value| value.duration());
    let env = (table.take_any(&["env", "environment"]))
        .map(|value| value.environment(uses))
        .unwrap_or_default();
    let mut definition = ServiceDefinition {
        name: name.to_owned(),
        env: env.values,
        env_of_caller: env.of_caller,
        working_dir: working_dir(table, &launch, context),
        base_dir: context.base_dir.to_owned(),
        folder: context.folder.to_owned(),
        ready: ready.readiness,
        metrics: (table.take("metrics"))
            .and_then(|value| metrics::read(&value, context.servers, uses))
            .unwrap_or_default(),
        cpus,
        memory_bytes,
        depends_on: depends_on.iter().map(|(name, _)| name.clone()).collect(),
        pool: PoolSpec::default(),
        scale,
        stop: limits::stop(table),
        response_target_ms: response_target
            .unwrap_or(DEFAULT_RESPONSE_TARGET)
            .as_secs_f64()
            * 1e3,
        log_limit_bytes: (table.take("log_limit"))
            .and_then(|value| value.bytes())
            .unwrap_or(DEFAULT_LOG_LIMIT_BYTES),
        fixed_ports: match launch {
            Launch::Process(_) => host_ports,
            Launch::Container(_) => Vec::new(),
        },
        lifetime,
        launch,
    };
    definition.pool = pool::read(table, uses, &definition, context.servers).unwrap_or_default();
    let parts = Parts {
        depends_on,
        uses_default_check: ready.use_default,
        knows_launch,
    };
    (definition, parts)
}

fn ports_of(definition: &ServiceDefinition) -> Ports {
    Ports {
        main: has_main_port(definition),
        named: named_ports(definition),
    }
}

/// Names become directory names, host names and parts of placeholders.
fn check_name(name: &str, value: &Value<'_>) {
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !first || !name.chars().all(rest) || name.len() > LONGEST_NAME {
        value.refuse_with(
            format!("{name:?} cannot be the name of a service"),
            format!("use letters, digits, `_`, `.` and `-`, a letter or digit first, at most {LONGEST_NAME}"),
        );
    }
    if name == "port" {
        value.refuse("`port` cannot be the name of a service: {port.NAME} means a further port");
    }
}

/// Relative to the test file; inside a container it must be absolute.
fn working_dir(table: &mut Table<'_>, launch: &Launch, context: &Context<'_>) -> Option<PathBuf> {
    let value = table.take_any(&["working_dir", "workdir"])?;
    let path = value.text()?;
    if matches!(launch, Launch::Container(_)) && !path.starts_with('/') {
        value.refuse(format!(
            "{path:?} must be absolute: it is inside the container"
        ));
    }
    Some(context.base_dir.join(path))
}

/// Refuses what is left: keys of later versions and of older files with their reason, the rest as unknown.
fn finish(mut table: Table<'_>, name: &str) {
    table.description();
    if let Some(stated) = table.take("name")
        && stated.string().is_some_and(|stated| stated != name)
    {
        stated.refuse(format!(
            "the service is called `{name}` by its table: keep one name"
        ));
    }
    if let Some(shared) = table.take("shared")
        && shared.boolean() == Some(true)
    {
        shared.refuse_with(
            "not supported: a later version of clnrm will share one service between tests",
            "remove it: each test then gets an instance of its own",
        );
    }
    for (key, why, way_out) in [
        (
            "timeout",
            "a service has no end",
            "write ready = { timeout = \"60s\" } for its start",
        ),
        (
            "resources",
            "the allotment has keys of its own",
            "write cpus = 1.0 and memory = \"256MB\"",
        ),
        (
            "wait_for_ready",
            "clnrm always waits until a service is ready",
            "remove it",
        ),
        (
            "endpoint",
            "clnrm starts the services that it tests",
            "remove it",
        ),
    ] {
        table.refuse_key(key, why, way_out);
    }
    foreign_keys::refuse(&mut table);
    table.finish();
}

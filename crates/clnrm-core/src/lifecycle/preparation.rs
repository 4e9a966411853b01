//! Everything that an instance's start takes, chosen and filled in before anything is done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::job::binding_of_done;
use super::project::Project;
use super::start::{HOST, StartPlan};
use super::start_failure::StartCause;
use crate::backend::port_owner::Tree;
use crate::backend::process::data_dir;
use crate::backend::readiness::Probe;
use crate::backend::{
    CommandRequest, InstancePlace, Launchable, Running, StartRequest, Supervisor, ports,
};
use crate::config::definition::{CommandLine, Launch, ReadyCheck, ServiceDefinition};
use crate::config::placeholder::{
    Bindings, InstanceBinding, PlaceholderError, needed_ports, render, render_command,
};
use crate::store::{InstanceId, InstancePorts, RuntimeKind};

/// One look of a `ready = { command = … }` check.
const PROBE_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// One attempt's choices, all placeholders filled in.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) id: InstanceId,
    pub(super) dir: PathBuf,
    pub(super) ports: InstancePorts,
    pub(super) address: Option<String>,
    /// For the readiness checks; a container's own is complete once it runs.
    pub(super) bindings: Bindings,
    pub(super) env: BTreeMap<String, String>,
    pub(super) launchable: Launchable,
}

impl Prepared {
    pub(super) fn place(&self) -> InstancePlace {
        InstancePlace {
            id: self.id.0.clone(),
            dir: self.dir.clone(),
            container: None,
        }
    }

    /// What others may know of the instance when it is ready.
    pub(super) fn own_binding(&self, definition: &ServiceDefinition) -> InstanceBinding {
        let own = self.bindings.services.get(&definition.name).cloned();
        let own = own.unwrap_or_default();
        if definition.is_job() {
            return binding_of_done(own);
        }
        own
    }

    pub(super) fn kind(&self) -> RuntimeKind {
        match self.launchable {
            Launchable::Process(_) => RuntimeKind::Process,
            Launchable::Container(_) => RuntimeKind::Container,
        }
    }
}

impl Project {
    pub(super) async fn prepare(&self, plan: &StartPlan<'_>) -> Result<Prepared, StartCause> {
        match &plan.definition.launch {
            Launch::Process(command) => self.prepare_process(plan, command).await,
            Launch::Container(container) => self.prepare_container(plan, container).await,
        }
    }

    async fn prepare_process(
        &self,
        plan: &StartPlan<'_>,
        command: &CommandLine,
    ) -> Result<Prepared, StartCause> {
        let definition = plan.definition;
        let id = self.new_instance_id(&definition.name);
        let dir = self.instance_dir(&id);
        let ports = self.choose_ports(plan).await?;
        let binding = InstanceBinding {
            host: HOST.to_owned(),
            port: ports.main,
            named_ports: ports.named.clone(),
            data_dir: data_dir(&dir),
            inside: None,
        };
        let bindings = self.bindings(plan, binding);
        let rendered = self
            .render(definition, command, &bindings)
            .map_err(StartCause::Placeholder)?;
        let working_dir = definition
            .working_dir
            .clone()
            .unwrap_or_else(|| definition.base_dir.clone());
        let mut env = self.inherited_environment();
        env.extend(rendered.env.clone());
        let request = StartRequest {
            id: id.0.clone(),
            dir: dir.clone(),
            argv: rendered.argv,
            env,
            working_dir,
            stop: definition.stop,
            log_limit_bytes: definition.log_limit_bytes,
            log_patterns: definition.ready.log_patterns(),
        };
        let address = ports.main.map(|port| format!("{HOST}:{port}"));
        Ok(Prepared {
            id,
            dir,
            ports,
            address,
            bindings,
            env: rendered.env,
            launchable: Launchable::Process(request),
        })
    }

    /// The neighbours' values and its own.
    pub(super) fn bindings(&self, plan: &StartPlan<'_>, own: InstanceBinding) -> Bindings {
        let mut bindings = self.empty_bindings();
        bindings.own = Some(plan.definition.name.clone());
        bindings.services = plan.neighbours.clone();
        bindings.services.insert(plan.definition.name.clone(), own);
        bindings
    }

    async fn choose_ports(&self, plan: &StartPlan<'_>) -> Result<InstancePorts, StartCause> {
        let definition = plan.definition;
        self.check_fixed_ports(definition).await?;
        let needs = needed_ports(definition);
        let live = self
            .store
            .call(|store| store.live_instances())
            .await
            .map_err(StartCause::Store)?;
        let mut taken: Vec<u16> = live
            .iter()
            .flat_map(|instance| {
                instance
                    .start
                    .ports
                    .main
                    .into_iter()
                    .chain(instance.start.ports.named.values().copied())
            })
            .collect();
        let preferred = plan.preferred.clone().unwrap_or_default();
        let mut choose = |preferred: Option<u16>| {
            let port = preferred
                .filter(|port| !taken.contains(port) && ports::is_free(*port))
                .or_else(|| self.free_port(&taken))
                .ok_or(StartCause::NoFreePort)?;
            taken.push(port);
            Ok(port)
        };
        let main = match definition.fixed_ports.first() {
            Some(port) => Some(*port),
            None if needs.main => Some(choose(preferred.main)?),
            None => None,
        };
        let named = needs
            .named
            .into_iter()
            .map(|name| Ok((name.clone(), choose(preferred.named.get(&name).copied())?)))
            .collect::<Result<_, StartCause>>()?;
        Ok(InstancePorts {
            main,
            named,
            inside: None,
        })
    }

    fn render(
        &self,
        definition: &ServiceDefinition,
        command: &CommandLine,
        bindings: &Bindings,
    ) -> Result<Rendered, PlaceholderError> {
        let mut argv = render_command(command, bindings)?;
        if let Some(program) = argv
            .first_mut()
            .filter(|program| program.contains('/') && !program.starts_with('/'))
        {
            *program = definition
                .base_dir
                .join(&*program)
                .to_string_lossy()
                .into_owned();
        }
        let env = self.environment_from(definition, bindings)?;
        Ok(Rendered { argv, env })
    }

    /// What the file says of a service's environment, filled in.
    pub(super) fn environment_from(
        &self,
        definition: &ServiceDefinition,
        bindings: &Bindings,
    ) -> Result<BTreeMap<String, String>, PlaceholderError> {
        let mut variables = self.passed_on(&definition.env_of_caller);
        for (name, value) in &definition.env {
            variables.insert(name.clone(), render(value, bindings)?);
        }
        Ok(variables)
    }

    /// The environment of an instance that was started earlier, without what was inherited.
    pub(super) fn environment_of(
        &self,
        definition: &ServiceDefinition,
        bindings: &Bindings,
    ) -> Result<BTreeMap<String, String>, PlaceholderError> {
        match &definition.launch {
            Launch::Process(_) => self.environment_from(definition, bindings),
            Launch::Container(_) => self.environment_from(
                definition,
                &bindings.seen_from_container(&definition.name, super::container::ANY_ADDRESS),
            ),
        }
    }
}

struct Rendered {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
}

/// What must hold before the instance counts as ready.
pub(super) fn probes(
    definition: &ServiceDefinition,
    prepared: &Prepared,
    running: &Running,
) -> Result<Vec<Probe>, PlaceholderError> {
    let bindings = &prepared.bindings;
    let addr = || render("{addr}", bindings);
    let mut probes = Vec::new();
    let mut patterns = 0;
    for check in &definition.ready.checks {
        let probe = match check {
            ReadyCheck::Tcp => listens(addr()?, definition, bindings, running),
            ReadyCheck::Http(url) if url.starts_with("http://") => {
                Probe::Http(render(url, bindings)?)
            }
            ReadyCheck::Http(path) => {
                // Somebody else's answer would say nothing of this service.
                probes.push(listens(addr()?, definition, bindings, running));
                Probe::Http(format!("http://{}{}", addr()?, render(path, bindings)?))
            }
            ReadyCheck::Log(wanted) => {
                let index = patterns;
                patterns += 1;
                Probe::Log {
                    index,
                    wanted: wanted.clone(),
                }
            }
            ReadyCheck::Command(command) => {
                Probe::Command(ready_command(definition, command, prepared)?)
            }
        };
        probes.push(probe);
    }
    let may_have_own = matches!(running.supervisor, Supervisor::Container(_));
    if may_have_own && !definition.ready.stated {
        probes.push(Probe::Healthy);
    }
    Ok(probes)
}

/// Whether something of the service's own listens on its main port.
fn listens(
    address: String,
    definition: &ServiceDefinition,
    bindings: &Bindings,
    running: &Running,
) -> Probe {
    let own = bindings.services.get(&definition.name);
    let inside = own.and_then(|own| own.inside.as_ref());
    let inside = inside.and_then(|inside| Some((inside, inside.port?)));
    match (inside, &running.supervisor, own.and_then(|own| own.port)) {
        (Some((inside, port)), _, _) => Probe::Listens {
            main_pid: running.main_pid,
            port,
            address,
            ip: inside.ip.as_ref().and_then(|ip| ip.parse().ok()),
        },
        (None, Supervisor::Shim(shim), Some(port)) => Probe::OwnPort {
            address,
            port,
            tree: Tree {
                shim_pid: shim.pid,
                main_pid: running.main_pid,
            },
        },
        (None, _, _) => Probe::Tcp(address),
    }
}

/// It runs where the service does: here beside a process, inside a container.
fn ready_command(
    definition: &ServiceDefinition,
    command: &CommandLine,
    prepared: &Prepared,
) -> Result<CommandRequest, PlaceholderError> {
    let id = format!("ready-{}", definition.name);
    let timeout = PROBE_COMMAND_TIMEOUT;
    Ok(match &prepared.launchable {
        Launchable::Process(request) => CommandRequest {
            id,
            argv: render_command(command, &prepared.bindings)?,
            env: request.env.clone(),
            working_dir: Some(request.working_dir.clone()),
            timeout,
        },
        Launchable::Container(_) => CommandRequest {
            id,
            argv: render_command(
                command,
                &prepared
                    .bindings
                    .seen_from_container(&definition.name, HOST),
            )?,
            env: BTreeMap::new(),
            working_dir: None,
            timeout,
        },
    })
}

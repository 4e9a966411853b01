//! Starts instances: journalled before they are spawned, ready when this returns.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::project::Project;
use super::start::{StartCause, StartFailure};
use crate::config::definition::{CommandLine, Launch, ReadyCheck, ServiceDefinition};
use crate::config::placeholder::{
    Bindings, InstanceBinding, PlaceholderError, needed_ports, render,
};
use crate::runtime::process::{data_dir, log_path};
use crate::runtime::readiness::Probe;
use crate::runtime::{
    CommandRequest, NotReady, ReadyContext, RunningProcess, StartRequest, log_file, ports,
    wait_until_ready,
};
use crate::store::{
    Ending, InstanceExit, InstanceId, InstancePorts, NewInstance, RunId, RuntimeKind, ServiceId,
};

/// Where instances listen.
pub const HOST: &str = "127.0.0.1";
/// Lines of a failed instance's log that reports show.
pub const LOG_TAIL_LINES: usize = 20;
/// Starts of an instance whose freely chosen port somebody else was quicker to take.
const PORT_ATTEMPTS: usize = 3;
/// One look of a `ready = { command = … }` check.
const PROBE_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, Clone)]
pub struct StartPlan<'a> {
    /// Its row.
    pub service: ServiceId,
    /// What it is.
    pub definition: &'a ServiceDefinition,
    /// The run that wants it; `None` = scaling or a restart.
    pub run: Option<RunId>,
    /// Ready instances of the services that it depends on, by name.
    pub neighbours: &'a BTreeMap<String, InstanceBinding>,
    /// Ports to take again where they are free (a restart).
    pub preferred: Option<InstancePorts>,
    /// Gives the start up.
    pub cancel: CancellationToken,
}

/// An instance that is ready.
#[derive(Debug, Clone)]
pub struct LiveInstance {
    /// Its id.
    pub id: InstanceId,
    /// Its row.
    pub service: ServiceId,
    /// What it is.
    pub definition: ServiceDefinition,
    /// Its folder.
    pub dir: PathBuf,
    /// Values for placeholders.
    pub binding: InstanceBinding,
    /// `host:port`, where it has a port.
    pub address: Option<String>,
    /// Its environment, without what was inherited.
    pub env: BTreeMap<String, String>,
    /// The process.
    pub process: RunningProcess,
    /// Start to ready.
    pub ready_in: Duration,
}

/// One attempt's choices, all placeholders filled in.
struct Prepared {
    id: InstanceId,
    dir: PathBuf,
    ports: InstancePorts,
    address: Option<String>,
    bindings: Bindings,
    env: BTreeMap<String, String>,
    request: StartRequest,
    probes: Vec<Probe>,
}

impl Project {
    /// Starts an instance and waits until it is ready. On failure nothing of it is left.
    pub async fn start_instance(&self, plan: &StartPlan<'_>) -> Result<LiveInstance, StartFailure> {
        let mut attempt = 1;
        loop {
            let failure = match self.try_start(plan).await {
                Ok(instance) => return Ok(instance),
                Err(failure) => failure,
            };
            let may_retry = attempt < PORT_ATTEMPTS && plan.definition.fixed_ports.is_empty();
            if !(may_retry && lost_its_port(&failure)) {
                return Err(failure);
            }
            attempt += 1;
        }
    }

    async fn try_start(&self, plan: &StartPlan<'_>) -> Result<LiveInstance, StartFailure> {
        let fail = |cause| StartFailure {
            service: plan.definition.name.clone(),
            instance: None,
            cause,
            log_tail: Vec::new(),
            log_file: None,
        };
        let prepared = self.prepare(plan).await.map_err(fail)?;
        let started = Instant::now();
        self.journal(plan, &prepared).await.map_err(fail)?;
        match self.spawn_and_wait(plan, &prepared).await {
            Ok(process) => Ok(LiveInstance {
                id: prepared.id,
                service: plan.service,
                definition: plan.definition.clone(),
                binding: prepared
                    .bindings
                    .services
                    .get(&plan.definition.name)
                    .cloned()
                    .unwrap_or_default(),
                dir: prepared.dir,
                address: prepared.address,
                env: prepared.env,
                process,
                ready_in: started.elapsed(),
            }),
            Err(cause) => Err(self.clean_up_failed_start(plan, prepared, cause).await),
        }
    }

    async fn prepare(&self, plan: &StartPlan<'_>) -> Result<Prepared, StartCause> {
        let definition = plan.definition;
        let command = match &definition.launch {
            Launch::Process(command) => command,
            Launch::Container(container) => {
                return Err(StartCause::ContainersNotSupported {
                    image: container.image.clone(),
                });
            }
        };
        let id = self.new_instance_id(&definition.name);
        let dir = self.instance_dir(&id);
        let ports = self.choose_ports(plan).await?;
        let binding = InstanceBinding {
            host: HOST.to_owned(),
            port: ports.main,
            named_ports: ports.named.clone(),
            data_dir: data_dir(&dir),
        };
        let mut bindings = self.empty_bindings();
        bindings.own = Some(definition.name.clone());
        bindings.services = plan.neighbours.clone();
        bindings.services.insert(definition.name.clone(), binding);

        let rendered = self
            .render(definition, command, &bindings)
            .map_err(StartCause::Placeholder)?;
        let working_dir = definition
            .working_dir
            .clone()
            .unwrap_or_else(|| definition.base_dir.clone());
        let mut env = self.inherited_environment();
        env.extend(rendered.env.clone());
        let probes =
            probes(definition, &bindings, &env, &working_dir).map_err(StartCause::Placeholder)?;
        let request = StartRequest {
            id: id.0.clone(),
            dir: dir.clone(),
            argv: rendered.argv,
            env,
            working_dir,
            stop: definition.stop,
            log_limit_bytes: definition.log_limit_bytes,
        };
        let address = ports.main.map(|port| format!("{HOST}:{port}"));
        Ok(Prepared {
            id,
            dir,
            ports,
            address,
            bindings,
            env: rendered.env,
            request,
            probes,
        })
    }

    async fn choose_ports(&self, plan: &StartPlan<'_>) -> Result<InstancePorts, StartCause> {
        let definition = plan.definition;
        for port in &definition.fixed_ports {
            if !ports::is_free(*port) {
                return Err(StartCause::PortTaken {
                    port: *port,
                    holder: ports::holder(*port),
                });
            }
        }
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
        Ok(InstancePorts { main, named })
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
        let env = definition
            .env
            .iter()
            .map(|(name, value)| Ok((name.clone(), render(value, bindings)?)))
            .collect::<Result<_, PlaceholderError>>()?;
        Ok(Rendered { argv, env })
    }

    /// The intent is on record before anything exists: a crash from here on loses nothing.
    async fn journal(&self, plan: &StartPlan<'_>, prepared: &Prepared) -> Result<(), StartCause> {
        let row = NewInstance {
            id: prepared.id.clone(),
            service: plan.service,
            run: plan.run,
            digest: plan.definition.digest(),
            runtime: RuntimeKind::Process,
            dir: prepared.dir.clone(),
            ports: prepared.ports.clone(),
            address: prepared.address.clone(),
            owner: self.owner.clone(),
            created_at: self.now(),
        };
        self.store
            .call(move |store| store.journal_instance(&row))
            .await
            .map_err(StartCause::Store)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&prepared.dir)
            .map_err(|source| StartCause::Folder {
                path: prepared.dir.clone(),
                source,
            })
    }

    async fn spawn_and_wait(
        &self,
        plan: &StartPlan<'_>,
        prepared: &Prepared,
    ) -> Result<RunningProcess, StartCause> {
        let process = self
            .runtime
            .start(&prepared.request)
            .await
            .map_err(StartCause::Spawn)?;
        let (id, shim, main_pid) = (prepared.id.clone(), process.shim.clone(), process.main_pid);
        self.store
            .call(move |store| {
                store.record_shim(&id, &shim)?;
                store.record_main_pid(&id, main_pid).map(drop)
            })
            .await
            .map_err(StartCause::Store)?;
        let context = ReadyContext {
            probes: prepared.probes.clone(),
            timeout: plan.definition.ready.timeout,
            max_interval: plan.definition.ready.max_interval,
            log: process.log.clone(),
            state: process.state.clone(),
            cancel: plan.cancel.clone(),
        };
        wait_until_ready(&self.runtime, context)
            .await
            .map_err(StartCause::NotReady)?;
        let (id, now) = (prepared.id.clone(), self.now());
        self.store
            .call(move |store| store.record_ready(&id, now).map(drop))
            .await
            .map_err(StartCause::Store)?;
        Ok(process)
    }

    async fn clean_up_failed_start(
        &self,
        plan: &StartPlan<'_>,
        prepared: Prepared,
        cause: StartCause,
    ) -> StartFailure {
        let ended = self
            .end_instance_at(&prepared.id, &prepared.dir, plan.definition.stop.grace)
            .await;
        let log = log_path(&prepared.dir);
        let exit = InstanceExit {
            message: Some(cause.to_string()),
            ..ended.map(|ended| ended.exit).unwrap_or_default()
        };
        let (id, now) = (prepared.id.clone(), self.now());
        // The failure itself is what the user must see; the next command finds a row that was not closed.
        let _ = self
            .store
            .call(move |store| store.record_ended(&id, Ending::Failed, &exit, now))
            .await;
        StartFailure {
            service: plan.definition.name.clone(),
            instance: Some(prepared.id),
            cause,
            log_tail: log_file::tail(&log, LOG_TAIL_LINES).unwrap_or_default(),
            log_file: log.exists().then_some(log),
        }
    }
}

struct Rendered {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
}

/// Program and arguments with their placeholders filled in.
pub fn render_command(
    command: &CommandLine,
    bindings: &Bindings,
) -> Result<Vec<String>, PlaceholderError> {
    match command {
        CommandLine::Exec(arguments) => arguments
            .iter()
            .map(|argument| render(argument, bindings))
            .collect(),
        CommandLine::Shell(script) => Ok(vec![
            "sh".to_owned(),
            "-c".to_owned(),
            render(script, bindings)?,
        ]),
    }
}

fn probes(
    definition: &ServiceDefinition,
    bindings: &Bindings,
    env: &BTreeMap<String, String>,
    working_dir: &std::path::Path,
) -> Result<Vec<Probe>, PlaceholderError> {
    let addr = || render("{addr}", bindings);
    let probe = |check: &ReadyCheck| {
        Ok(match check {
            ReadyCheck::Tcp => Probe::Tcp(addr()?),
            ReadyCheck::Http(url) if url.starts_with("http://") => {
                Probe::Http(render(url, bindings)?)
            }
            ReadyCheck::Http(path) => {
                Probe::Http(format!("http://{}{}", addr()?, render(path, bindings)?))
            }
            ReadyCheck::Log(pattern) => {
                // Compiled once when the file was read, so a definition made by hand is the only one to get here.
                let regex = Regex::new(pattern).or_else(|_| Regex::new(&regex::escape(pattern)));
                Probe::Log(regex.expect("an escaped pattern is a regular expression"))
            }
            ReadyCheck::Command(command) => Probe::Command(CommandRequest {
                id: format!("ready-{}", definition.name),
                argv: render_command(command, bindings)?,
                env: env.clone(),
                working_dir: working_dir.to_owned(),
                timeout: PROBE_COMMAND_TIMEOUT,
            }),
        })
    };
    definition.ready.checks.iter().map(probe).collect()
}

/// Whether the process died and its log speaks of an address in use.
fn lost_its_port(failure: &StartFailure) -> bool {
    matches!(failure.cause, StartCause::NotReady(NotReady::Died { .. }))
        && failure.log_tail.iter().any(|line| {
            let line = line.to_ascii_lowercase();
            line.contains("address already in use")
                || line.contains("eaddrinuse")
                || line.contains("port in use")
        })
}

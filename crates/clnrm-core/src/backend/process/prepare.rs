//! What starting a process tree takes: its ports on this machine, its command and its environment.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::ProcessBackend;
use super::shim_protocol::{INSTANCE_VARIABLE, ShimOutput, ShimSpec};
use super::spawn::start;
use crate::backend::environment;
use crate::backend::error::BackendError;
use crate::backend::instance::Running;
use crate::backend::ports;
use crate::backend::pull::OnPull;
use crate::backend::start::{Deed, Intent, PrepareError, StartOrder};
use crate::config::definition::{CommandLine, Launch, ServiceDefinition};
use crate::config::placeholder::{
    Bindings, HOST, PlaceholderError, Where, named_ports, needs_main_port, render_command,
};
use crate::folder::{data_dir, log_path};

/// A process tree to be spawned.
#[derive(Debug)]
struct Spawn {
    shim_program: PathBuf,
    spec: ShimSpec,
    dir: PathBuf,
}

#[async_trait]
impl Deed for Spawn {
    async fn start(
        self: Box<Self>,
        _on_pull: &OnPull,
        _cancel: &CancellationToken,
    ) -> Result<Running, BackendError> {
        Ok(start(&self.shim_program, &self.spec, &self.dir).await?)
    }
}

impl ProcessBackend {
    pub(super) fn intent(&self, order: StartOrder<'_>) -> Result<Intent, PrepareError> {
        let definition = order.definition;
        ports::check_fixed(definition)?;
        let own = choose_ports(&order)?;
        let mut bindings = order.bindings;
        bindings.own = Some(definition.name.clone());
        bindings.services.insert(definition.name.clone(), own);
        let argv = match &definition.launch {
            Launch::Process(command) => argv(definition, command, &bindings)?,
            Launch::Container(_) => Vec::new(),
        };
        let stated = environment::stated(definition, order.environment, &bindings)?;
        let mut env = environment::inherited(order.environment);
        env.extend(stated.clone());
        env.insert(INSTANCE_VARIABLE.to_owned(), order.place.id.clone());
        let working_dir = definition.working_dir.as_ref();
        Ok(Intent {
            bindings,
            env: stated,
            deed: Box::new(Spawn {
                shim_program: self.shim_program.clone(),
                spec: ShimSpec {
                    id: order.place.id,
                    argv,
                    env,
                    working_dir: working_dir.unwrap_or(&definition.base_dir).clone(),
                    output: ShimOutput::Log {
                        path: log_path(Path::new("")),
                        limit_bytes: definition.log_limit_bytes,
                    },
                    log_patterns: definition.ready.log_patterns(),
                    stop: definition.stop,
                    record_dir: Some(order.place.dir.clone()),
                },
                dir: order.place.dir,
            }),
        })
    }
}

fn choose_ports(order: &StartOrder<'_>) -> Result<Where, PrepareError> {
    let mut taken = order.taken_ports.clone();
    let mut rng = StdRng::seed_from_u64(order.seed);
    let mut choose = |preferred: Option<u16>| {
        let port = preferred
            .filter(|port| !taken.contains(port) && ports::is_free(*port))
            .or_else(|| ports::free_port(&mut rng, &taken))
            .ok_or(PrepareError::NoFreePort)?;
        taken.push(port);
        Ok::<_, PrepareError>(port)
    };
    let preferred = order.preferred.clone().unwrap_or_default();
    let port = match order.definition.fixed_ports.first() {
        Some(port) => Some(*port),
        None if needs_main_port(order.definition) => Some(choose(preferred.port)?),
        None => None,
    };
    let named = named_ports(order.definition).into_iter().map(|name| {
        let port = choose(preferred.named_ports.get(&name).copied())?;
        Ok((name, port))
    });
    Ok(Where {
        host: HOST.to_owned(),
        port,
        named_ports: named.collect::<Result<_, PrepareError>>()?,
        data_dir: data_dir(&order.place.dir),
        inside: None,
    })
}

/// A relative path of a program starts from the folder of the test file.
fn argv(
    definition: &ServiceDefinition,
    command: &CommandLine,
    bindings: &Bindings,
) -> Result<Vec<String>, PlaceholderError> {
    let mut argv = render_command(command, bindings)?;
    if let Some(program) = argv
        .first_mut()
        .filter(|program| program.contains('/') && !program.starts_with('/'))
    {
        let path = definition.base_dir.join(&*program);
        *program = path.to_string_lossy().into_owned();
    }
    Ok(argv)
}

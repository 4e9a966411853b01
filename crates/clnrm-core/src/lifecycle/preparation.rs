//! Everything that an instance's start takes, chosen and filled in before anything is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::command_place::CommandPlace;
use super::plan::StartPlan;
use super::project::Project;
use super::start_failure::StartCause;
use crate::backend::probe::Probe;
use crate::backend::start::{Deed, StartOrder};
use crate::backend::{Backend, InstancePlace, Running};
use crate::config::definition::{ReadyCheck, ServiceDefinition};
use crate::config::placeholder::{Bindings, PlaceholderError, Where, render};

/// One look of a `ready = { command = … }` check.
const PROBE_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// One attempt's choices, all placeholders filled in.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) place: InstancePlace,
    /// For the readiness checks; what is known of the instance itself is complete once it runs.
    pub(super) bindings: Bindings,
    pub(super) env: BTreeMap<String, String>,
}

impl Prepared {
    /// Where the instance is, as far as that is known.
    pub(super) fn own(&self, definition: &ServiceDefinition) -> Where {
        let own = self.bindings.services.get(&definition.name).cloned();
        own.unwrap_or_default()
    }

    /// What others may know of the instance when it is ready.
    pub(super) fn reached(&self, definition: &ServiceDefinition) -> Where {
        let own = self.own(definition);
        if definition.is_job() {
            own.of_done()
        } else {
            own
        }
    }
}

impl Project {
    /// What to start, and what starts it.
    pub(super) async fn prepare(
        &self,
        plan: &StartPlan<'_>,
    ) -> Result<(Prepared, Box<dyn Deed>), StartCause> {
        let definition = plan.definition;
        let backend = self.backends.that_starts(definition);
        let backend = Arc::clone(backend.map_err(StartCause::Spawn)?);
        let id = self.new_instance_id(&definition.name);
        let place = InstancePlace {
            dir: self.instance_dir(&id),
            id: id.0,
            container: None,
        };
        let live = self
            .store
            .call(|store| store.live_instances())
            .await
            .map_err(StartCause::Store)?;
        let mut bindings = self.empty_bindings();
        bindings.services = plan.neighbours.clone();
        let order = StartOrder {
            place: place.clone(),
            definition,
            run: plan.run.map(|run| run.to_string()),
            owner: &self.owner,
            now: self.now(),
            environment: &self.environment,
            bindings,
            names: plan.names.clone(),
            preferred: plan.preferred.clone(),
            taken_ports: live
                .iter()
                .flat_map(|row| row.start.reached.ports())
                .collect(),
            seed: self.new_seed(),
        };
        match Arc::clone(&backend).prepare(order).await {
            Ok(intent) => {
                let prepared = Prepared {
                    backend,
                    place,
                    bindings: intent.bindings,
                    env: intent.env,
                };
                Ok((prepared, intent.deed))
            }
            Err(error) => Err(self.unprepared(error).await),
        }
    }
}

impl Prepared {
    /// What must hold before the instance counts as ready.
    pub(super) fn probes(
        &self,
        project: &Project,
        definition: &ServiceDefinition,
        running: &Running,
    ) -> Result<Vec<Probe>, PlaceholderError> {
        let addr = || render("{addr}", &self.bindings);
        let listens = || {
            let own = self.own(definition);
            Ok(self.backend.port_probe(addr()?, &own, running))
        };
        let mut probes = Vec::new();
        let mut patterns = 0;
        for check in &definition.ready.checks {
            let probe = match check {
                ReadyCheck::Tcp => listens()?,
                ReadyCheck::Http(url) if url.starts_with("http://") => {
                    Probe::Http(render(url, &self.bindings)?)
                }
                ReadyCheck::Http(path) => {
                    // Somebody else's answer would say nothing of this service.
                    probes.push(listens()?);
                    let path = render(path, &self.bindings)?;
                    Probe::Http(format!("http://{}{path}", addr()?))
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
                    let place = CommandPlace::of(
                        project,
                        &*self.backend,
                        definition,
                        &self.bindings,
                        &self.env,
                    );
                    let id = format!("ready-{}", definition.name);
                    Probe::Command(place.request(id, command, PROBE_COMMAND_TIMEOUT)?)
                }
            };
            probes.push(probe);
        }
        if !definition.ready.stated {
            probes.push(Probe::Healthy);
        }
        Ok(probes)
    }
}

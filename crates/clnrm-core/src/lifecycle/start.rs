//! Starts instances: journalled before they are spawned, ready when this returns.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;

use tokio::time::Instant;

use super::live::{Acquired, LiveInstance};
use super::plan::StartPlan;
use super::preparation::Prepared;
use super::project::Project;
use super::start_failure::{StartCause, StartFailure};
use crate::backend::root::Root;
use crate::backend::start::Deed;
use crate::backend::{
    ErrorKind, NotReady, ReadyContext, Running, can_connect, log_file, wait_until_ready,
};
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::Where;
use crate::folder::log_path;
use crate::store::{
    Ending, InstanceExit, InstanceId, NewInstance, RecordedEngine, StartedInstance,
};

/// Lines of a failed instance's log that reports show.
pub const LOG_TAIL_LINES: usize = 20;
/// Starts of an instance whose freely chosen port somebody else was quicker to take.
const PORT_ATTEMPTS: usize = 3;

impl Project {
    /// Starts an instance and waits until it is ready. On failure nothing of it is left.
    pub async fn start_instance(&self, plan: &StartPlan<'_>) -> Result<LiveInstance, StartFailure> {
        let mut attempt = 1;
        loop {
            let failure = match self.try_start(plan).await {
                Ok(instance) => return Ok(instance),
                Err(failure) => failure,
            };
            if !lost_its_port(&failure) {
                return Err(failure);
            }
            if !plan.definition.ports_of_this_machine().is_empty() {
                return Err(self.with_the_holder(plan.definition, failure).await);
            }
            if attempt == PORT_ATTEMPTS {
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
            entry_point_ran: None,
        };
        let (mut prepared, deed) = self.prepare(plan).await.map_err(fail)?;
        let started = Instant::now();
        self.journal(plan, &prepared).await.map_err(fail)?;
        match self.launch_and_wait(plan, &mut prepared, deed).await {
            Ok(running) => Ok(LiveInstance {
                reached: prepared.reached(plan.definition),
                id: InstanceId(prepared.place.id),
                service: plan.service,
                definition: plan.definition.clone(),
                backend: prepared.backend,
                dir: prepared.place.dir,
                env: prepared.env,
                running,
                ready_in: started.elapsed(),
                acquired: Acquired {
                    waited: started.elapsed(),
                    ..Acquired::default()
                },
            }),
            Err(cause) => Err(self.clean_up_failed_start(plan, prepared, cause).await),
        }
    }

    /// The intent is on record before anything exists: a crash from here on loses nothing.
    async fn journal(&self, plan: &StartPlan<'_>, prepared: &Prepared) -> Result<(), StartCause> {
        let own = prepared.own(plan.definition);
        let dir = &prepared.place.dir;
        let row = NewInstance {
            id: InstanceId(prepared.place.id.clone()),
            service: plan.service,
            run: plan.run,
            digest: plan.definition.digest(),
            runtime: prepared.backend.name().to_owned(),
            pooled: plan.definition.pool.is_wanted(),
            dir: dir.clone(),
            reached: own,
            owner: self.owner.clone(),
            created_at: self.now(),
        };
        self.store
            .call(move |store| store.journal_instance(&row))
            .await
            .map_err(StartCause::Store)?;
        // Not recursive: a state folder that was deleted meanwhile is not made anew without its history.
        let mut maker = fs::DirBuilder::new();
        maker.mode(0o700);
        let made = match maker.create(self.instances_dir()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => maker.create(dir),
        };
        made.map_err(|source| StartCause::Folder {
            path: dir.clone(),
            source,
        })
    }

    async fn launch_and_wait(
        &self,
        plan: &StartPlan<'_>,
        prepared: &mut Prepared,
        deed: Box<dyn Deed>,
    ) -> Result<Running, StartCause> {
        let starting = deed.start(&plan.on_pull, &plan.cancel);
        let running = starting.await.map_err(StartCause::Spawn)?;
        self.record_launched(plan, prepared, &running, running.reached.as_ref())
            .await?;
        if plan.definition.is_job() {
            self.finish_job(plan, prepared, &running).await?;
            return Ok(running);
        }
        // Where nothing runs any more, there are no ports to look at.
        if let Some(failure) = NotReady::of(&running) {
            may_be_over(plan.definition, failure)?;
        }
        let mut ready = self.wait_for(plan, prepared, &running).await?;
        if let Err(NotReady::Unreachable { .. }) = &ready
            && let Some(elsewhere) = &running.elsewhere
        {
            // Where the project's network is reached from here, the container is, too.
            let address = elsewhere.address();
            if address != prepared.own(plan.definition).address()
                && can_connect(address.as_deref()).await
            {
                self.record_launched(plan, prepared, &running, Some(elsewhere))
                    .await?;
                ready = self.wait_for(plan, prepared, &running).await?;
            }
        }
        ready.or_else(|failure| may_be_over(plan.definition, failure))?;
        let (id, now) = (InstanceId(prepared.place.id.clone()), self.now());
        self.store
            .call(move |store| store.record_ready(&id, now).map(drop))
            .await
            .map_err(StartCause::Store)?;
        Ok(running)
    }

    async fn wait_for(
        &self,
        plan: &StartPlan<'_>,
        prepared: &Prepared,
        running: &Running,
    ) -> Result<Result<(), NotReady>, StartCause> {
        let probes = prepared.probes(self, plan.definition, running);
        let context = ReadyContext {
            place: prepared.place.clone(),
            probes: probes.map_err(StartCause::Placeholder)?,
            timeout: plan.definition.ready.timeout,
            max_interval: plan.definition.ready.max_interval,
            lines_seen: running.lines_seen.clone(),
            state: running.state.clone(),
            cancel: plan.cancel.clone(),
        };
        Ok(wait_until_ready(&*prepared.backend, context).await)
    }

    /// Takes over what is known of an instance now that it runs.
    async fn record_launched(
        &self,
        plan: &StartPlan<'_>,
        prepared: &mut Prepared,
        running: &Running,
        reached: Option<&Where>,
    ) -> Result<(), StartCause> {
        if let Some(reached) = reached {
            let services = &mut prepared.bindings.services;
            services.insert(plan.definition.name.clone(), reached.clone());
        }
        let started = started(running, &prepared.own(plan.definition));
        let id = InstanceId(prepared.place.id.clone());
        self.store
            .call(move |store| store.record_started(&id, &started).map(drop))
            .await
            .map_err(StartCause::Store)
    }

    async fn clean_up_failed_start(
        &self,
        plan: &StartPlan<'_>,
        prepared: Prepared,
        cause: StartCause,
    ) -> StartFailure {
        let grace = plan.definition.stop.grace;
        let ended = self.end_instance(&*prepared.backend, &prepared.place, grace);
        let ended = ended.await;
        let log = log_path(&prepared.place.dir);
        let given_up = cause.is_cancellation();
        let ending = if given_up {
            Ending::Stopped
        } else {
            Ending::Failed
        };
        let exit = InstanceExit {
            message: Some(if given_up {
                "its start was interrupted".to_owned()
            } else {
                crate::text::one_line(&cause)
            }),
            ..ended.map(|ended| ended.exit).unwrap_or_default()
        };
        let id = InstanceId(prepared.place.id);
        let (ended_id, now) = (id.clone(), self.now());
        // The failure itself is what the user must see; the next command finds a row that was not closed.
        let _ = self
            .store
            .call(move |store| store.record_ended(&ended_id, ending, &exit, now))
            .await;
        let entry_point_ran = if cause.is_of_what_ran() {
            prepared.backend.what_ran(plan.definition).await
        } else {
            None
        };
        StartFailure {
            entry_point_ran,
            service: plan.definition.name.clone(),
            instance: Some(id),
            cause,
            log_tail: log_file::tail(&log, LOG_TAIL_LINES).unwrap_or_default(),
            log_file: log.exists().then_some(log),
        }
    }
}

/// What is put on record of an instance that runs, and is reached there.
pub(super) fn started(running: &Running, reached: &Where) -> StartedInstance {
    let container = running.container.clone();
    StartedInstance {
        shim: match &running.root {
            Root::ProcessTree(shim) => Some(shim.clone()),
            Root::Container(_) => None,
        },
        engine: (container.as_ref())
            .and_then(|container| container.engine.clone())
            .map(|engine| RecordedEngine {
                id: engine.id,
                address: engine.address,
            }),
        container_id: container.map(|container| container.id),
        image_id: running.image_id.clone(),
        main_pid: running.main_pid,
        cpus: running.cpus,
        reached: reached.clone(),
    }
}

/// A service that may exit and states no check is ready when it was started, however soon it has ended.
fn may_be_over(definition: &ServiceDefinition, failure: NotReady) -> Result<(), StartCause> {
    match failure {
        NotReady::Died { .. } if definition.may_end_at_once() => Ok(()),
        failure => Err(StartCause::NotReady(failure)),
    }
}

/// Whether the process died and its log speaks of an address in use.
fn lost_its_port(failure: &StartFailure) -> bool {
    if let StartCause::Spawn(error) = &failure.cause {
        return error.kind() == ErrorKind::PortTaken;
    }
    matches!(failure.cause, StartCause::NotReady(NotReady::Died { .. }))
        && failure.log_tail.iter().any(|line| {
            let line = line.to_ascii_lowercase();
            line.contains("address already in use")
                || line.contains("eaddrinuse")
                || line.contains("port in use")
        })
}

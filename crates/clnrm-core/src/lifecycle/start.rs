//! Starts instances: journalled before they are spawned, ready when this returns.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::container::at_its_own_address;
use super::preparation::{Prepared, probes};
use super::project::Project;
use super::start_failure::{StartCause, StartFailure};
use crate::backend::docker::{NetworkNames, OnPull};
use crate::backend::process::log_path;
use crate::backend::{
    ContainerError, InstancePlace, LaunchError, NotReady, ReadyContext, RecordedContainer, Running,
    Supervisor, TreeState, can_connect, log_file, wait_until_ready,
};
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::InstanceBinding;
use crate::procfs::{ProcessStat, ProcessTable};
use crate::store::{
    Ending, InstanceExit, InstanceId, InstancePorts, LeaseId, NewInstance, RunId, RuntimeKind,
    ServiceId,
};

/// Where instances listen.
pub const HOST: &str = "127.0.0.1";
/// Lines of a failed instance's log that reports show.
pub const LOG_TAIL_LINES: usize = 20;
/// Starts of an instance whose freely chosen port somebody else was quicker to take.
const PORT_ATTEMPTS: usize = 3;

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
    /// Of a container: how it and the others of its file find each other.
    pub names: NetworkNames,
    /// Ports to take again where they are free (a restart).
    pub preferred: Option<InstancePorts>,
    /// Gives the start up.
    pub cancel: CancellationToken,
    /// Told when an image is pulled.
    pub on_pull: OnPull,
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
    /// What runs.
    pub running: Running,
    /// Start to ready.
    pub ready_in: Duration,
    /// How the test came by it.
    pub acquired: Acquired,
}

/// How a test came by an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acquired {
    /// It was running already.
    pub warm: bool,
    /// Tests that it had served before, and was cleaned after.
    pub uses: u32,
    /// How long the reset and verification took that made it free again.
    pub cleaned_in: Option<Duration>,
    /// From the wish to the instance.
    pub waited: Duration,
    /// Why it cannot be proven clean later: its fresh state was not recorded.
    pub not_recorded: Option<String>,
    /// The lease under which the test holds it.
    pub lease: Option<LeaseId>,
}

impl LiveInstance {
    /// Where it is found.
    pub fn place(&self) -> InstancePlace {
        InstancePlace {
            id: self.id.0.clone(),
            dir: self.dir.clone(),
            container: match &self.running.supervisor {
                Supervisor::Shim(_) => None,
                Supervisor::Container(id) => Some(RecordedContainer {
                    id: id.clone(),
                    engine: None,
                }),
            },
        }
    }

    /// What it runs as.
    pub fn kind(&self) -> RuntimeKind {
        match self.running.supervisor {
            Supervisor::Shim(_) => RuntimeKind::Process,
            Supervisor::Container(_) => RuntimeKind::Container,
        }
    }

    /// Whether it has done its work: nothing of it runs, so it is neither leased nor measured.
    pub fn is_job(&self) -> bool {
        self.definition.is_job()
    }

    /// Whether its processes are gone from this machine, so that news of its end is on the way.
    pub fn is_gone(&self) -> bool {
        // Of one that was taken over, the main process may have left long ago.
        let (Supervisor::Shim(shim), Some(main_pid), false) = (
            &self.running.supervisor,
            self.running.main_pid,
            self.acquired.warm,
        ) else {
            return false;
        };
        let main = ProcessStat::read(main_pid).ok().flatten();
        if main.is_some_and(|main| main.is_alive()) {
            return false;
        }
        ProcessTable::scan().is_ok_and(|table| {
            let tree = table.descendants(shim.pid);
            !tree.iter().any(|process| process.is_alive())
        })
    }

    /// Whether it has not ended since it became ready, as far as anybody has told.
    pub fn is_up(&self) -> bool {
        matches!(
            *self.running.state.borrow(),
            TreeState::Running | TreeState::MainLeft
        )
    }
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
        let mut prepared = self.prepare(plan).await.map_err(fail)?;
        let started = Instant::now();
        self.journal(plan, &prepared).await.map_err(fail)?;
        match self.launch_and_wait(plan, &mut prepared).await {
            Ok(running) => Ok(LiveInstance {
                binding: prepared.own_binding(plan.definition),
                id: prepared.id,
                service: plan.service,
                definition: plan.definition.clone(),
                address: prepared.address.filter(|_| !plan.definition.is_job()),
                dir: prepared.dir,
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
        let row = NewInstance {
            id: prepared.id.clone(),
            service: plan.service,
            run: plan.run,
            digest: plan.definition.digest(),
            runtime: prepared.kind(),
            pooled: plan.definition.pool.is_wanted(),
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
        // Not recursive: a state folder that was deleted meanwhile is not made anew without its history.
        let mut maker = fs::DirBuilder::new();
        maker.mode(0o700);
        let made = match maker.create(self.instances_dir()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => maker.create(&prepared.dir),
        };
        made.map_err(|source| StartCause::Folder {
            path: prepared.dir.clone(),
            source,
        })
    }

    async fn launch_and_wait(
        &self,
        plan: &StartPlan<'_>,
        prepared: &mut Prepared,
    ) -> Result<Running, StartCause> {
        let launching = self.launch(&prepared.launchable, &plan.on_pull, &plan.cancel);
        let mut running = launching.await.map_err(StartCause::Spawn)?;
        self.record_launched(plan, prepared, &running).await?;
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
            && let Some(elsewhere) = at_its_own_address(&running)
        {
            // Where the project's network is reached from here, the container is, too.
            let (original, address) = (prepared.clone(), prepared.address.clone());
            prepared.locate(&plan.definition.name, &elsewhere);
            if address != prepared.address && can_connect(prepared.address.as_deref()).await {
                running = elsewhere;
                self.record_launched(plan, prepared, &running).await?;
                ready = self.wait_for(plan, prepared, &running).await?;
            } else {
                *prepared = original;
            }
        }
        ready.or_else(|failure| may_be_over(plan.definition, failure))?;
        let (id, now) = (prepared.id.clone(), self.now());
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
        let context = ReadyContext {
            place: prepared.place(),
            probes: probes(plan.definition, prepared, running).map_err(StartCause::Placeholder)?,
            timeout: plan.definition.ready.timeout,
            max_interval: plan.definition.ready.max_interval,
            lines_seen: running.lines_seen.clone(),
            state: running.state.clone(),
            cancel: plan.cancel.clone(),
        };
        Ok(wait_until_ready(self.runtime(prepared.kind()), context).await)
    }

    async fn record_launched(
        &self,
        plan: &StartPlan<'_>,
        prepared: &mut Prepared,
        running: &Running,
    ) -> Result<(), StartCause> {
        let container = prepared.locate(&plan.definition.name, running);
        let id = prepared.id.clone();
        let (supervisor, main_pid) = (running.supervisor.clone(), running.main_pid);
        self.store
            .call(move |store| {
                if let Some(container) = container {
                    return store.record_container(&id, &container).map(drop);
                }
                if let Supervisor::Shim(shim) = supervisor {
                    store.record_shim(&id, &shim)?;
                }
                match main_pid {
                    Some(pid) => store.record_main_pid(&id, pid).map(drop),
                    None => Ok(()),
                }
            })
            .await
            .map_err(StartCause::Store)
    }

    async fn clean_up_failed_start(
        &self,
        plan: &StartPlan<'_>,
        prepared: Prepared,
        cause: StartCause,
    ) -> StartFailure {
        let ended = self
            .end_instance(
                prepared.kind(),
                &prepared.place(),
                plan.definition.stop.grace,
            )
            .await;
        let log = log_path(&prepared.dir);
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
        let (id, now) = (prepared.id.clone(), self.now());
        // The failure itself is what the user must see; the next command finds a row that was not closed.
        let _ = self
            .store
            .call(move |store| store.record_ended(&id, ending, &exit, now))
            .await;
        let entry_point_ran = if cause.is_of_what_ran() {
            self.entry_point_that_ran(plan.definition).await
        } else {
            None
        };
        StartFailure {
            entry_point_ran,
            service: plan.definition.name.clone(),
            instance: Some(prepared.id),
            cause,
            log_tail: log_file::tail(&log, LOG_TAIL_LINES).unwrap_or_default(),
            log_file: log.exists().then_some(log),
        }
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
    if let StartCause::Spawn(LaunchError::Container(ContainerError::PortTaken { .. })) =
        &failure.cause
    {
        return true;
    }
    matches!(failure.cause, StartCause::NotReady(NotReady::Died { .. }))
        && failure.log_tail.iter().any(|line| {
            let line = line.to_ascii_lowercase();
            line.contains("address already in use")
                || line.contains("eaddrinuse")
                || line.contains("port in use")
        })
}

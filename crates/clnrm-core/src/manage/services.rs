//! `services status`, `stop` and `restart`: the instances of a project, from any command and folder.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::ManageError;
use super::selection::select;
use super::status_report::{
    GuardStatus, InstanceStatus, Purpose, ReportedState, RestartReport, RestartedInstance,
    StatusReport, StopReport,
};
use crate::backend::{Condition, FetchedLog, OnPull, guard};
use crate::folder::log_path;
use crate::lifecycle::StartPlan;
use crate::lifecycle::neighbours::{names_like, neighbours};
use crate::lifecycle::project::{Project, place};
use crate::lifecycle::recover::Conditions;
use crate::metrics;
use crate::store::{InstanceId, InstanceRow, InstanceState, LeaseRow, Leased, ServiceRow};

/// An instance and its service.
#[derive(Debug, Clone)]
pub struct KnownInstance {
    pub service: ServiceRow,
    pub row: InstanceRow,
}

impl Project {
    /// Every live instance, and the newest ended one of each service that has none.
    pub async fn status(&self, conditions: &Conditions) -> Result<StatusReport, ManageError> {
        let (known, leases) = self
            .store
            .call(|store| {
                let live = store.live_instances()?;
                let mut known = Vec::new();
                for service in store.services()? {
                    let mine: Vec<InstanceRow> = live
                        .iter()
                        .filter(|row| row.start.service == service.id)
                        .cloned()
                        .collect();
                    let rows = if mine.is_empty() {
                        store.newest_instances(service.id, 1)?
                    } else {
                        mine
                    };
                    known.extend(rows.into_iter().map(|row| KnownInstance {
                        service: service.clone(),
                        row,
                    }));
                }
                Ok((known, store.open_leases()?))
            })
            .await?;
        let instances = known
            .iter()
            .map(|known| status(known, &leases, conditions))
            .collect();
        Ok(StatusReport {
            schema: StatusReport::SCHEMA,
            instances,
            guard: guard::present(&self.state_dir).map(|guard| GuardStatus { pid: guard.pid }),
        })
    }

    /// The instances whose logs a name means: the live ones, else the newest that ended. The name may be an id too.
    pub async fn instances_named(&self, name: &str) -> Result<Vec<KnownInstance>, ManageError> {
        let id = InstanceId(name.to_owned());
        let (services, by_id) = self
            .store
            .call(move |store| Ok((store.services()?, store.instance(&id)?)))
            .await?;
        if let Some(row) = by_id {
            let service = services
                .into_iter()
                .find(|service| service.id == row.start.service);
            return Ok(service
                .map(|service| KnownInstance { service, row })
                .into_iter()
                .collect());
        }
        let selected = select(services, &[name.to_owned()])?;
        let known = self
            .store
            .call(move |store| {
                let mut known = Vec::new();
                for service in selected {
                    let mut rows = store.live_instances_of(service.id)?;
                    if rows.is_empty() {
                        rows = store.newest_instances(service.id, 1)?;
                    }
                    known.extend(rows.into_iter().map(|row| KnownInstance {
                        service: service.clone(),
                        row,
                    }));
                }
                Ok(known)
            })
            .await?;
        Ok(known)
    }

    /// A file with the last lines of the log of each instance as it is now, and what went wrong on the way.
    pub async fn fetch_logs(
        &self,
        known: &[KnownInstance],
        lines: usize,
    ) -> (Vec<FetchedLog>, Vec<String>) {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for row in known.iter().map(|known| &known.row) {
            let kept = FetchedLog::at(log_path(&row.start.dir));
            let fetched = if row.state.is_live() {
                match self.backends.named(&row.start.runtime) {
                    Ok(backend) => backend.fetch_log(&place(row), lines).await,
                    Err(error) => Err(error),
                }
            } else {
                Ok(kept.clone())
            };
            files.push(fetched.unwrap_or_else(|error| {
                problems.push(format!(
                    "the log of {} cannot be read: {error}",
                    row.start.id
                ));
                kept
            }));
        }
        (files, problems)
    }

    /// Removes the files that were fetched for this command alone.
    pub fn forget_fetched_logs(&self, known: &[KnownInstance], files: &[FetchedLog]) {
        for (known, file) in known.iter().zip(files) {
            if file.path != log_path(&known.row.start.dir) {
                // Best effort: it goes with the instance's folder.
                let _ = fs::remove_file(&file.path);
            }
        }
    }

    /// Keeps the log files of live instances up to date until this process ends.
    pub fn follow_logs(self: &Arc<Self>, known: &[KnownInstance], files: &[FetchedLog]) {
        for (row, file) in known.iter().map(|known| &known.row).zip(files) {
            if !row.state.is_live() {
                continue;
            }
            let Ok(backend) = self.backends.named(&row.start.runtime) else {
                continue;
            };
            let (backend, place, file) = (Arc::clone(backend), place(row), file.clone());
            tokio::spawn(async move {
                let forever = CancellationToken::new();
                // An engine that goes away has nothing more to tell.
                let _ = backend.follow_log(&place, &file, &forever).await;
            });
        }
    }

    /// Stops the instances of the named services (all of them where none is named) and proves that nothing is left.
    pub async fn stop_services(
        self: &Arc<Self>,
        names: &[String],
    ) -> Result<StopReport, ManageError> {
        let services = self.store.call(|store| store.services()).await?;
        let selected = select(services, names)?;
        self.dismiss_guard().await;
        let mut rows = self.store.call(|store| store.live_instances()).await?;
        rows.retain(|row| {
            selected
                .iter()
                .any(|service| service.id == row.start.service)
        });
        let looked_at = rows.clone();
        let stopped = self
            .stop_instances(rows)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let leaks = self.end_survivors(&looked_at).await;
        self.tidy().await?;
        self.ensure_guard().await?;
        Ok(StopReport {
            schema: StopReport::SCHEMA,
            stopped,
            leaks,
        })
    }

    /// Replaces every live instance of a service by a fresh one on the same port, where that is free again.
    pub async fn restart_service(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<RestartReport, ManageError> {
        let known = self.instances_named(name).await?;
        if !known.is_empty() && known.iter().all(|known| known.service.definition.is_job()) {
            return Err(ManageError::Job {
                service: name.to_owned(),
            });
        }
        let live: Vec<KnownInstance> = known
            .into_iter()
            .filter(|known| known.row.state.is_live())
            .collect();
        if live.is_empty() {
            return Err(ManageError::NotRunning {
                service: name.to_owned(),
            });
        }
        let mut restarted = Vec::new();
        for known in live {
            restarted.push(self.restart_instance(&known).await?);
        }
        Ok(RestartReport {
            schema: RestartReport::SCHEMA,
            restarted,
        })
    }

    async fn restart_instance(
        self: &Arc<Self>,
        known: &KnownInstance,
    ) -> Result<RestartedInstance, ManageError> {
        let started = Instant::now();
        let KnownInstance { service, row } = known;
        let neighbours = neighbours(self, &service.definition, Some(row)).await?;
        self.stop_instance(row, &service.name, service.definition.stop.grace)
            .await?;
        let plan = StartPlan {
            service: service.id,
            definition: &service.definition,
            run: None,
            neighbours: &neighbours,
            // The same as before: who knows it finds it again.
            names: names_like(row.start.reached.inside.as_ref()),
            preferred: Some(row.start.reached.clone()),
            cancel: self.hurry.clone(),
            on_pull: OnPull::default(),
        };
        let instance = self.start_spare(&plan).await?;
        Ok(RestartedInstance {
            service: service.name.clone(),
            old_id: row.start.id.0.clone(),
            new_id: instance.id.0,
            address: instance.reached.address(),
            took_ms: milliseconds(started.elapsed()),
        })
    }
}

fn status(known: &KnownInstance, leases: &[LeaseRow], conditions: &Conditions) -> InstanceStatus {
    let KnownInstance { service, row } = known;
    let leased = Leased::Instance(row.start.id.clone());
    let lease = leases.iter().find(|lease| lease.lease.leased == leased);
    let log = log_path(&row.start.dir);
    InstanceStatus {
        service: service.name.clone(),
        id: row.start.id.0.clone(),
        state: match conditions.get(&row.start.id) {
            Some(condition) if row.state == InstanceState::Running => impaired(*condition),
            _ => reported_state(row.state),
        },
        memory_kills: memory_kills(row),
        runtime: row.start.runtime.clone(),
        pid: row.main_pid.filter(|_| row.state.is_live()),
        container_id: row.container_id.clone(),
        address: row.start.reached.address(),
        started_at: row.start.created_at,
        ready_ms: row
            .ready_at
            .map(|ready| milliseconds(ready.since(row.start.created_at))),
        exit: row.exit.message.clone(),
        lease: lease.map(|lease| lease.lease.test.clone()),
        purpose: row.state.is_live().then(|| purpose(row, lease)),
        log: log.exists().then(|| log.display().to_string()),
    }
}

fn purpose(row: &InstanceRow, lease: Option<&LeaseRow>) -> Purpose {
    match (lease, row.warm_until, row.start.run) {
        // Its holder may have gone without a word; an instance without a pool then stays as it is.
        (Some(lease), _, _) if lease.lease.owner.is_alive() => Purpose::Leased {
            test: lease.lease.test.clone(),
        },
        (_, Some(until), _) => Purpose::Warm { until },
        (_, None, Some(run)) => Purpose::OfRun {
            run_id: run.to_string(),
        },
        (_, None, None) => Purpose::OnRequest,
    }
}

fn impaired(condition: Condition) -> ReportedState {
    match condition {
        Condition::Serving => ReportedState::Running,
        Condition::Unhealthy => ReportedState::Unhealthy,
        Condition::Paused => ReportedState::Paused,
        Condition::Disconnected => ReportedState::Disconnected,
        Condition::Restarting => ReportedState::Restarting,
    }
}

/// `None` = nobody counts them, or nobody was killed.
fn memory_kills(row: &InstanceRow) -> Option<u64> {
    if !row.state.is_live() {
        return None;
    }
    let kills = metrics::memory_kills(row.container_id.as_ref()?, row.main_pid?);
    kills.filter(|kills| *kills > 0)
}

/// A state as reports name it.
pub fn reported_state(state: InstanceState) -> ReportedState {
    match state {
        InstanceState::Starting => ReportedState::Starting,
        InstanceState::Running => ReportedState::Running,
        InstanceState::Stopping => ReportedState::Stopping,
        InstanceState::Stopped => ReportedState::Stopped,
        InstanceState::Failed => ReportedState::Failed,
        InstanceState::Lost => ReportedState::Lost,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

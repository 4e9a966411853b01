//! Ends instances, whatever state they are in, and records how.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::project::{Project, place};
use super::stopped::{LeakReport, StoppedInstance};
use crate::backend::{
    Backend, BackendError, ExitRecord, ExitStatus, InstancePlace, Observed, Patience,
};
use crate::exit::{Exit, Fatal};
use crate::folder::data_dir;
use crate::store::{Ending, InstanceExit, InstanceId, InstanceRow, StoreError};

/// What instances without a known definition get between SIGTERM and SIGKILL.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// What the kernel sends when memory is out.
const SIGKILL: i32 = 9;

/// Why an instance could not be ended.
#[derive(Debug, Error)]
pub enum EndError {
    /// The operating system refused, or something survived.
    #[error("cannot stop {id}")]
    Stop {
        id: InstanceId,
        source: BackendError,
    },
    /// The history failed.
    #[error("cannot record that {id} was stopped")]
    Store { id: InstanceId, source: StoreError },
}

impl Fatal for EndError {
    fn behind(&self) -> Option<&dyn Fatal> {
        match self {
            Self::Stop { .. } => None,
            Self::Store { source, .. } => Some(source),
        }
    }

    fn exit(&self) -> Exit {
        self.behind().map_or(Exit::Leak, |error| error.exit())
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Stop { source, .. } => source.hint(),
            Self::Store { source, .. } => source.hint(),
        }
    }
}

/// An instance of which nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What is known of its exit.
    pub exit: InstanceExit,
    /// How the history calls it.
    pub ending: Ending,
    /// SIGKILL was needed.
    pub killed: bool,
    /// What a killed shim had left behind.
    pub leftovers: Vec<String>,
}

impl Project {
    /// Ends an instance of the history and records it.
    pub async fn stop_instance(
        &self,
        row: &InstanceRow,
        name: &str,
        grace: Duration,
    ) -> Result<StoppedInstance, EndError> {
        let started = Instant::now();
        let id = row.start.id.clone();
        let store_error = |source| EndError::Store {
            id: row.start.id.clone(),
            source,
        };
        let stopping = id.clone();
        // On a full disk nothing can be recorded, but everything can be stopped: the error comes afterwards.
        let noted = self
            .store
            .call(move |store| store.record_stopping(&stopping).map(drop))
            .await;
        let backend = self.backends.named(&row.start.runtime);
        let backend = backend.map_err(|source| EndError::Stop {
            id: id.clone(),
            source,
        })?;
        let ended = self.end_instance(&**backend, &place(row), grace).await?;
        noted.map_err(store_error)?;
        let (exit, ending, now) = (ended.exit.clone(), ended.ending, self.now());
        let recorded = id.clone();
        self.store
            .call(move |store| store.record_ended(&recorded, ending, &exit, now).map(drop))
            .await
            .map_err(store_error)?;
        Ok(StoppedInstance {
            service: name.to_owned(),
            id: id.0,
            exit: ended.exit.message,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            killed: ended.killed,
        })
    }

    /// Ends instances of the history, all at once, each with its own service's grace.
    pub async fn stop_instances(
        self: &Arc<Self>,
        rows: Vec<InstanceRow>,
    ) -> Vec<Result<StoppedInstance, EndError>> {
        let services = match self.store.call(|store| store.services()).await {
            Ok(services) => services,
            Err(source) => {
                let id = rows
                    .first()
                    .map_or_else(|| InstanceId(String::new()), |row| row.start.id.clone());
                return vec![Err(EndError::Store { id, source })];
            }
        };
        let mut stopping = JoinSet::new();
        for row in rows {
            let service = services
                .iter()
                .find(|service| service.id == row.start.service);
            let name = service
                .map(|service| service.name.clone())
                .unwrap_or_default();
            let grace = service.map_or(DEFAULT_GRACE, |service| service.definition.stop.grace);
            let project = Arc::clone(self);
            stopping.spawn(async move { project.stop_instance(&row, &name, grace).await });
        }
        stopping.join_all().await
    }

    /// Looks for anything that still carries the marks of instances that were ended, ends it, and names it.
    pub async fn end_survivors(&self, ended: &[InstanceRow]) -> LeakReport {
        let mut report = LeakReport::default();
        for backend in self.backends.iter() {
            let mine: Vec<&InstanceRow> = ended
                .iter()
                .filter(|row| row.start.runtime == backend.name())
                .collect();
            if mine.is_empty() {
                continue;
            }
            let ids: Vec<String> = mine.iter().map(|row| row.start.id.0.clone()).collect();
            match backend.end_survivors(&ids).await {
                Ok(leaked) => report.leaked.extend(leaked),
                Err(error) => {
                    report.unchecked = Some(error.to_string());
                    continue;
                }
            }
            // What was never created need not be checked.
            let existed = |row: &&&InstanceRow| !backend.has_inside() || row.container_id.is_some();
            let checked = mine.iter().filter(existed).count();
            report.count(&**backend, u32::try_from(checked).unwrap_or(u32::MAX));
        }
        report
    }

    /// Removes what the instances of each backend shared, once none is left that needs it, or is about to.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        for backend in self.backends.iter() {
            self.tidy_one(&**backend).await?;
        }
        Ok(())
    }

    pub(super) async fn tidy_one(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        if !backend.may_hold_strays() {
            return Ok(());
        }
        let live = self.store.call(|store| store.live_instances()).await?;
        if !live.iter().any(|row| row.start.runtime == backend.name()) {
            backend.tidy().await;
        }
        Ok(())
    }

    /// Removes the folders and rows of all but the newest ended instances of each service.
    pub async fn prune(&self, keep_per_service: u32) -> Result<(), StoreError> {
        let prunable = self
            .store
            .call(move |store| store.prunable_instances(keep_per_service))
            .await?;
        for instance in &prunable {
            // A folder that stays is found without its row by the next command, and removed then.
            let _ = fs::remove_dir_all(&instance.dir);
        }
        let ids: Vec<InstanceId> = prunable.into_iter().map(|instance| instance.id).collect();
        self.store
            .call(move |store| store.forget_instances(&ids))
            .await
    }

    /// That grace period, as long as nobody hurries.
    pub(super) fn patience(&self, grace: Duration) -> Patience {
        Patience {
            grace,
            hurry: self.hurry.clone(),
        }
    }

    /// Ends whatever there is of an instance. Its log stays, its data goes.
    pub async fn end_instance(
        &self,
        backend: &dyn Backend,
        place: &InstancePlace,
        grace: Duration,
    ) -> Result<Ended, EndError> {
        let ended = backend
            .end(place, &self.patience(grace))
            .await
            .map_err(|source| EndError::Stop {
                id: InstanceId(place.id.clone()),
                source,
            })?;
        // What a service wrote is not kept: no later instance may meet it. Best effort, the folder goes in the end.
        let _ = fs::remove_dir_all(data_dir(&place.dir));
        Ok(match ended.exit {
            Some(exit) => Ended {
                killed: ended.killed,
                ..from_record(exit)
            },
            None => unseen(ended.killed, ended.leftovers),
        })
    }
}

impl Ended {
    /// Of an instance that does not live any more and that nobody cleans up after.
    pub(super) fn found(observed: &Observed) -> Self {
        match observed {
            Observed::Ended(exit) => from_record(*exit),
            _ => unseen(false, Vec::new()),
        }
    }
}

fn from_record(record: ExitRecord) -> Ended {
    let (code, signal) = match record.status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
        ExitStatus::OutOfMemory => (None, Some(SIGKILL)),
    };
    Ended {
        exit: InstanceExit {
            code,
            signal,
            message: Some(record.status.to_string()),
        },
        ending: if record.requested {
            Ending::Stopped
        } else {
            Ending::Failed
        },
        killed: record.killed,
        leftovers: Vec::new(),
    }
}

fn unseen(killed: bool, leftovers: Vec<String>) -> Ended {
    let message = match leftovers.len() {
        0 => None,
        1 => Some("its supervisor was killed; one process that it left was ended".to_owned()),
        count => Some(format!(
            "its supervisor was killed; {count} processes that it left were ended"
        )),
    };
    Ended {
        exit: InstanceExit {
            message,
            ..InstanceExit::default()
        },
        ending: Ending::Lost,
        killed,
        leftovers,
    }
}

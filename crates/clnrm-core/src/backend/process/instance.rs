//! Process trees as instances: found by what their shim wrote into their folder.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::ProcessBackend;
use super::error::StopError;
use super::stop::{Found, find, stop, watch_again};
use super::{abandoned, command, leftover, shim_protocol};
use crate::backend::command::{CommandRequest, CommandResult};
use crate::backend::contract::Backend;
use crate::backend::error::BackendError;
use crate::backend::instance::{
    Condition, Ended, FetchedLog, InstancePlace, Loss, Observed, Patience, Running, Survey,
};
use crate::backend::port_owner::Tree;
use crate::backend::probe::Probe;
use crate::backend::root::Root;
use crate::backend::start::{Intent, PrepareError, StartOrder};
use crate::config::definition::{Launch, ServiceDefinition};
use crate::config::placeholder::Where;
use crate::folder::log_path;
use crate::procfs::{ProcessIdentity, ProcessStat, ProcessTable};

#[async_trait]
impl Backend for ProcessBackend {
    fn name(&self) -> &'static str {
        "process"
    }

    fn starts(&self, definition: &ServiceDefinition) -> bool {
        matches!(definition.launch, Launch::Process(_))
    }

    fn has_inside(&self) -> bool {
        false
    }

    async fn prepare(self: Arc<Self>, order: StartOrder<'_>) -> Result<Intent, PrepareError> {
        self.intent(order)
    }

    fn port_probe(&self, address: String, own: &Where, running: &Running) -> Probe {
        match (&running.root, own.port) {
            (Root::ProcessTree(shim), Some(port)) => Probe::OwnPort {
                address,
                port,
                tree: Tree {
                    shim_pid: shim.pid,
                    main_pid: running.main_pid,
                },
            },
            _ => Probe::Tcp(address),
        }
    }

    async fn survey(&self, places: &[InstancePlace]) -> Survey {
        let observed = |place: &InstancePlace| {
            Ok(match look(&place.dir)? {
                Found::Alive(_) => Observed::Alive(Condition::Serving),
                Found::Ended(record) => Observed::Ended(record),
                Found::Lost(_) => Observed::Lost(Loss::SupervisorKilled),
                Found::NeverStarted => Observed::NeverStarted,
            })
        };
        Survey {
            observed: places.iter().map(observed).collect(),
            ids: Ok(Vec::new()),
        }
    }

    async fn adopt(&self, place: &InstancePlace) -> Result<Option<Running>, BackendError> {
        match look(&place.dir)? {
            Found::Alive(record) => Ok(watch_again(&place.id, &place.dir, record)?),
            Found::Ended(_) | Found::Lost(_) | Found::NeverStarted => Ok(None),
        }
    }

    async fn has_gone(&self, _place: &InstancePlace, running: &Running, is_own: bool) -> bool {
        match (&running.root, running.main_pid) {
            // Of one that was taken over, the main process may have left long ago.
            (Root::ProcessTree(shim), Some(main_pid)) if is_own => is_empty(shim, main_pid),
            _ => false,
        }
    }

    async fn end(&self, place: &InstancePlace, patience: &Patience) -> Result<Ended, BackendError> {
        match look(&place.dir)? {
            Found::Alive(record) => Ok(stop(&place.id, &place.dir, &record.shim, patience).await?),
            Found::Ended(exit) => Ok(Ended::as_recorded(exit)),
            Found::Lost(record) => {
                let leftovers = leftover::end_leftovers(&place.id, record.shim.pid).await?;
                Ok(Ended {
                    exit: None,
                    killed: !leftovers.is_empty(),
                    leftovers,
                })
            }
            Found::NeverStarted => give_up(place, patience).await,
        }
    }

    async fn end_survivors(&self, ids: &[String]) -> Result<Vec<String>, BackendError> {
        Ok(leftover::end_survivors(ids).await)
    }

    async fn end_unknown(
        &self,
        place: &InstancePlace,
        patience: &Patience,
    ) -> Result<bool, BackendError> {
        // What cannot be read is none of ours.
        let lives = matches!(look(&place.dir), Ok(Found::Alive(_) | Found::Lost(_)));
        if lives {
            self.end(place, patience).await?;
        }
        Ok(lives)
    }

    /// A process has no inside: the command runs beside it.
    async fn run_in(
        &self,
        _place: &InstancePlace,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, BackendError> {
        command::run_command(&self.shim_program, request, cancel).await
    }

    async fn fetch_log(
        &self,
        place: &InstancePlace,
        _lines: usize,
    ) -> Result<FetchedLog, BackendError> {
        Ok(FetchedLog::at(log_path(&place.dir)))
    }

    async fn end_forgotten(
        &self,
        _is_forgotten: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<String>, BackendError> {
        Ok(abandoned::end_abandoned(&self.instances_dir).await)
    }
}

/// A shim may be about to begin.
async fn give_up(place: &InstancePlace, patience: &Patience) -> Result<Ended, BackendError> {
    match shim_protocol::give_up(&place.dir) {
        Ok(()) => {}
        // Its folder may have been deleted under it; then its mark is all there is to go by.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let leftovers = leftover::end_leftovers(&place.id, 0).await?;
            return Ok(Ended {
                killed: !leftovers.is_empty(),
                leftovers,
                ..Ended::nothing()
            });
        }
        Err(source) => return Err(folder(&place.dir, source)),
    }
    Ok(match look(&place.dir)? {
        Found::Alive(record) => Ended {
            killed: stop(&place.id, &place.dir, &record.shim, patience)
                .await?
                .killed,
            ..Ended::nothing()
        },
        _ => Ended::nothing(),
    })
}

fn look(dir: &Path) -> Result<Found, BackendError> {
    find(dir).map_err(|source| folder(dir, source))
}

fn folder(dir: &Path, source: io::Error) -> BackendError {
    StopError::Folder {
        path: dir.to_owned(),
        source,
    }
    .into()
}

/// Whether its processes are gone from this machine, so that news of its end is on the way.
fn is_empty(shim: &ProcessIdentity, main_pid: i32) -> bool {
    let main = ProcessStat::read(main_pid).ok().flatten();
    if main.is_some_and(|main| main.is_alive()) {
        return false;
    }
    ProcessTable::scan().is_ok_and(|table| {
        let tree = table.descendants(shim.pid);
        !tree.iter().any(|process| process.is_alive())
    })
}

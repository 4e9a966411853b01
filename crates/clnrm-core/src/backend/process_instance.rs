//! Process trees as instances: found by what their shim wrote into their folder.

use std::fs;
use std::io;
use std::path::Path;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::command::{CommandError, CommandRequest, CommandResult};
use super::docker::EngineError;
use super::instance::{
    Condition, Ended, FetchedLog, Health, InstanceError, InstancePlace, Loss, Observed, Patience,
    Running, Runtime,
};
use super::process::{Found, ProcessRuntime, log_path};
use super::recovery;
use super::shim_protocol::ExitRecord;

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn observe(&self, places: &[InstancePlace]) -> Vec<Result<Observed, InstanceError>> {
        let observed = |place: &InstancePlace| {
            Ok(match find(&place.dir)? {
                Found::Alive(_) => Observed::Alive(Condition::Serving),
                Found::Ended(record) => Observed::Ended(record),
                Found::Lost(_) => Observed::Lost(Loss::SupervisorKilled),
                Found::NeverStarted => Observed::NeverStarted,
            })
        };
        places.iter().map(observed).collect()
    }

    async fn adopt(&self, place: &InstancePlace) -> Result<Option<Running>, InstanceError> {
        match find(&place.dir)? {
            Found::Alive(record) => Ok(Self::watch_again(&place.id, &place.dir, record)?),
            Found::Ended(_) | Found::Lost(_) | Found::NeverStarted => Ok(None),
        }
    }

    async fn end(
        &self,
        place: &InstancePlace,
        patience: &Patience,
    ) -> Result<Ended, InstanceError> {
        match find(&place.dir)? {
            Found::Alive(record) => {
                let stopped = Self::stop(&place.id, &place.dir, &record.shim, patience).await?;
                Ok(Ended {
                    exit: stopped.exit,
                    killed: stopped.killed,
                    leftovers: Vec::new(),
                })
            }
            Found::Ended(exit) => Ok(Ended::as_recorded(exit)),
            Found::Lost(record) => {
                let leftovers = recovery::end_leftovers(&place.id, record.shim.pid).await?;
                Ok(Ended {
                    exit: None,
                    killed: !leftovers.is_empty(),
                    leftovers,
                })
            }
            Found::NeverStarted => take_away(place, patience).await,
        }
    }

    async fn end_survivors(&self, ids: &[String]) -> Result<Vec<String>, EngineError> {
        Ok(recovery::end_survivors(ids).await)
    }

    /// A process has no inside: the command runs beside it.
    async fn run_in(
        &self,
        _place: &InstancePlace,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, CommandError> {
        self.run_command(request, cancel).await
    }

    async fn health(
        &self,
        _place: &InstancePlace,
        _cancel: &CancellationToken,
    ) -> Result<Health, CommandError> {
        Ok(Health::NotChecked)
    }

    /// The shim writes it.
    async fn fetch_log(
        &self,
        place: &InstancePlace,
        _lines: usize,
    ) -> Result<FetchedLog, EngineError> {
        Ok(FetchedLog::at(log_path(&place.dir)))
    }

    /// The shim writes it.
    async fn follow_log(
        &self,
        _place: &InstancePlace,
        _fetched: &FetchedLog,
        _cancel: &CancellationToken,
    ) -> Result<(), EngineError> {
        Ok(())
    }
}

impl Ended {
    /// What ended before anybody asked it to.
    pub(super) fn as_recorded(exit: ExitRecord) -> Self {
        Self {
            killed: exit.killed,
            exit: Some(exit),
            leftovers: Vec::new(),
        }
    }

    /// Nothing was there.
    pub(super) fn nothing() -> Self {
        Self {
            exit: None,
            killed: false,
            leftovers: Vec::new(),
        }
    }
}

/// A shim may be about to begin: it dies when it cannot write its record, so its folder is moved away first.
async fn take_away(place: &InstancePlace, patience: &Patience) -> Result<Ended, InstanceError> {
    let aside = place.dir.with_extension("gone");
    if let Err(source) = fs::rename(&place.dir, &aside) {
        if source.kind() == io::ErrorKind::NotFound {
            // Its folder may have been deleted under it; then its mark is all there is to go by.
            let leftovers = recovery::end_leftovers(&place.id, 0).await?;
            return Ok(Ended {
                killed: !leftovers.is_empty(),
                leftovers,
                ..Ended::nothing()
            });
        }
        return Err(folder(&place.dir, source));
    }
    let ended = match find(&aside)? {
        Found::Alive(record) => Ended {
            killed: ProcessRuntime::stop(&place.id, &aside, &record.shim, patience)
                .await?
                .killed,
            ..Ended::nothing()
        },
        _ => Ended::nothing(),
    };
    // Back again, for its log.
    let _ = fs::rename(&aside, &place.dir);
    Ok(ended)
}

fn find(dir: &Path) -> Result<Found, InstanceError> {
    ProcessRuntime::find(dir).map_err(|source| folder(dir, source))
}

fn folder(dir: &Path, source: io::Error) -> InstanceError {
    InstanceError::Folder {
        path: dir.to_owned(),
        source,
    }
}

//! What a backend can do: the one way in which the rest of clnrm starts, watches and ends instances.
//!
//! What only some backends have (networks, images, an inside) is a question with an answer for those that have it not.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::command::{CommandRequest, CommandResult};
use super::error::BackendError;
use super::instance::{
    Ended, FetchedLog, Health, InstancePlace, Observed, Patience, Running, Survey,
};
use super::probe::Probe;
use super::start::{Intent, PrepareError, StartOrder};
use super::stats::StatsStream;
use crate::clock::Timestamp;
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::Where;

#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// What the history calls it.
    fn name(&self) -> &'static str;

    /// Whether it is the one for services of that definition.
    fn starts(&self, definition: &ServiceDefinition) -> bool;

    /// Whether its instances have an inside, in which commands run that see names and folders of their own; else they run
    /// beside the instance, on this machine.
    fn has_inside(&self) -> bool;

    // A start is three steps: it is prepared, its intent is put on record, and then it is done.

    /// Chooses and fills in everything that a start takes. Nothing exists yet when this returns.
    async fn prepare(self: Arc<Self>, order: StartOrder<'_>) -> Result<Intent, PrepareError>;

    /// What says that something of the instance's own listens on its main port, at `address`.
    fn port_probe(&self, address: String, own: &Where, running: &Running) -> Probe;

    /// What the name of a service's image means now; `None` = it needs none.
    async fn image_id(
        &self,
        _definition: &ServiceDefinition,
    ) -> Result<Option<String>, BackendError> {
        Ok(None)
    }

    /// What really ran where that is not what the file seems to say, e.g. `httpd sh -c …`.
    async fn what_ran(&self, _definition: &ServiceDefinition) -> Option<String> {
        None
    }

    /// What an instance uses, told again and again, where the kernel of this machine cannot be asked: by what its engine
    /// knows it by. `None` = it is not of this backend.
    fn follow_stats(&self, _container_id: &str) -> Option<watch::Receiver<StatsStream>> {
        None
    }

    /// What is there of each instance, and of which others there is something.
    async fn survey(&self, places: &[InstancePlace]) -> Survey;

    /// What is there of each instance, in the same order.
    async fn observe(&self, places: &[InstancePlace]) -> Vec<Result<Observed, BackendError>> {
        if places.is_empty() {
            return Vec::new();
        }
        self.survey(places).await.observed
    }

    /// Takes over the watch of an instance that another command started; `None` = it does not live.
    async fn adopt(&self, place: &InstancePlace) -> Result<Option<Running>, BackendError>;

    /// A living instance that somebody has started again since its main process was `main_pid`: where it is now, and it was
    /// `before`. `None` = it is the same, or cannot be looked at.
    async fn started_anew(
        &self,
        _place: &InstancePlace,
        _main_pid: Option<i32>,
        _before: &Where,
    ) -> Option<Running> {
        None
    }

    /// Whether it has ended though nobody who watches it may have said so yet. `is_own` = this command started it.
    async fn has_gone(&self, place: &InstancePlace, running: &Running, is_own: bool) -> bool;

    /// Ends whatever there is of an instance: asked first, killed when `patience` is over. Nothing is left when
    /// this returns; its log stays.
    async fn end(&self, place: &InstancePlace, patience: &Patience) -> Result<Ended, BackendError>;

    /// Ends whatever still carries the marks of instances that are recorded as ended; names each with its instance.
    async fn end_survivors(&self, ids: &[String]) -> Result<Vec<String>, BackendError>;

    /// Ends what lives in a folder that the history does not know; `false` = nothing of this backend does.
    async fn end_unknown(
        &self,
        _place: &InstancePlace,
        _patience: &Patience,
    ) -> Result<bool, BackendError> {
        Ok(false)
    }

    /// Runs a command in the instance's place, to its end, to its time-out, or until `cancel`.
    async fn run_in(
        &self,
        place: &InstancePlace,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, BackendError>;

    /// Ends what a step of a killed run still does inside; beside a process it ended with its run.
    async fn end_commands_in(&self, _place: &InstancePlace) {}

    /// What a command has left running inside that could not be ended.
    async fn left_running_in(&self, _place: &InstancePlace) -> Option<String> {
        None
    }

    /// What the instance's own health check says, now.
    async fn health(
        &self,
        _place: &InstancePlace,
        _cancel: &CancellationToken,
    ) -> Result<Health, BackendError> {
        Ok(Health::NotChecked)
    }

    /// A file with the last `lines` of the log as it is now; its own for every command, so that none disturbs another's
    /// reading.
    async fn fetch_log(
        &self,
        place: &InstancePlace,
        lines: usize,
    ) -> Result<FetchedLog, BackendError>;

    /// Appends what has come since to a fetched log, until `cancel`.
    async fn follow_log(
        &self,
        _place: &InstancePlace,
        _fetched: &FetchedLog,
        _cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        Ok(())
    }

    /// Whether it may have something of this project that no row of the history leads to.
    fn may_hold_strays(&self) -> bool {
        false
    }

    /// Instances will be started: until [`Backend::end_use`], nothing that they share is removed.
    fn begin_use(&self) {}

    /// Makes what the instances share before anybody asks for it.
    async fn make_ready(&self) {}

    /// What the instances share may go again, once none of them is left.
    async fn end_use(&self) {}

    /// Removes what the instances shared: none of them is left.
    async fn tidy(&self) {}

    /// Removes what deleted projects left here; names it.
    async fn end_abandoned(&self, _now: Timestamp) -> Vec<String> {
        Vec::new()
    }

    /// Ends what runs of a project whose history was deleted, and says so in a sentence each. `is_forgotten` is asked once
    /// more when it is known what there is.
    async fn end_forgotten(
        &self,
        is_forgotten: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<String>, BackendError>;
}

//! A backend that fails on purpose: nothing runs, everything is as the test says.
//!
//! One [`Stage`] is what really is there, whatever clnrm's history says of it; it outlives the commands that act on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use clnrm_core::backend::probe::Probe;
use clnrm_core::backend::root::{ContainerRoot, Root};
use clnrm_core::backend::start::{Deed, Intent, PrepareError, StartOrder};
use clnrm_core::backend::stats::{EngineStats, StatsStream};
use clnrm_core::backend::{
    Backend, BackendError, CommandOutcome, CommandRequest, CommandResult, Condition, Ended,
    ErrorKind, ExitRecord, ExitStatus, FetchedLog, Health, InstancePlace, Loss, Observed, OnPull,
    Patience, RecordedContainer, Running, Survey, TreeState,
};
use clnrm_core::clock::Timestamp;
use clnrm_core::config::definition::ServiceDefinition;
use clnrm_core::config::placeholder::{Inside, Where};
use clnrm_core::folder::log_path;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the history calls it: the schema knows no third name yet.
const NAME: &str = "container";

/// How the next start of a service goes; those that nothing is said of succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Succeeds,
    Refused,
    PortTaken,
    Dies(i32),
    NeverReady,
    /// It is never done, until whoever wants it gives up.
    Hangs,
}

/// How a service ends when it is asked to; one that nothing is said of does so at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It has to be killed.
    IgnoresTheSignal,
    /// Whoever would do it refuses.
    Refused,
}

/// What a command does that runs inside; the first word of its arguments says which is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Says(&'static str),
    Fails(i32),
    Hangs,
    /// The instance that it runs in dies of it.
    Kills(i32),
}

#[derive(Debug, Error)]
#[error("{0}")]
struct Fault(&'static str);

fn fault(words: &'static str, kind: ErrorKind) -> BackendError {
    BackendError::new(Fault(words), kind, None)
}

#[derive(Debug, Default)]
pub(crate) struct Stage {
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    living: BTreeMap<String, Living>,
    ended: BTreeMap<String, ExitRecord>,
    starts: BTreeMap<String, VecDeque<Start>>,
    ends: BTreeMap<String, End>,
    answers: BTreeMap<String, VecDeque<Answer>>,
    /// Cores that each instance of a service uses.
    loads: BTreeMap<String, f64>,
    /// Whom nobody reaches.
    is_away: bool,
    started: usize,
}

#[derive(Debug)]
struct Living {
    condition: Condition,
    is_ready: bool,
    state: watch::Sender<TreeState>,
}

impl Stage {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap()
    }

    /// The next starts of a service, in this order.
    pub(crate) fn next_starts(&self, service: &str, starts: &[Start]) {
        let mut all = self.all();
        all.starts
            .entry(service.to_owned())
            .or_default()
            .extend(starts);
    }

    /// How every instance of a service ends from now on.
    pub(crate) fn ends(&self, service: &str, end: Option<End>) {
        match end {
            Some(end) => self.all().ends.insert(service.to_owned(), end),
            None => self.all().ends.remove(service),
        };
    }

    /// The next answers of a command, in this order; after them it succeeds without a word.
    pub(crate) fn answers(&self, command: &str, answers: &[Answer]) {
        let mut all = self.all();
        let queue = all.answers.entry(command.to_owned()).or_default();
        queue.extend(answers);
    }

    /// Each instance of a service uses so many cores from now on, and its use can be measured.
    pub(crate) fn uses(&self, service: &str, cores: f64) {
        self.all().loads.insert(service.to_owned(), cores);
    }

    fn load_of(&self, id: &str) -> Option<f64> {
        let all = self.all();
        let load = all.loads.get(service_of(id)).copied();
        load.filter(|_| all.living.contains_key(id))
    }

    /// Nobody reaches it any more, or again.
    pub(crate) fn is_away(&self, is_away: bool) {
        self.all().is_away = is_away;
    }

    /// An instance dies by itself.
    pub(crate) fn dies(&self, id: &str, code: i32) {
        self.all().end(id, ended_with(code, false));
    }

    /// It is not there any more, and nobody says why.
    pub(crate) fn vanishes(&self, id: &str) {
        let living = self.all().living.remove(id);
        if let Some(living) = living {
            living
                .state
                .send_replace(TreeState::Lost(Loss::ContainerRemoved));
        }
    }

    pub(crate) fn condition(&self, id: &str, condition: Condition) {
        self.all().living.get_mut(id).unwrap().condition = condition;
    }

    /// Something that no row of the history knows.
    pub(crate) fn has_a_stray(&self, id: &str) {
        self.all().live(id, true);
    }

    /// What lives, by its id.
    pub(crate) fn living(&self) -> Vec<String> {
        self.all().living.keys().cloned().collect()
    }

    /// How often something was started, whatever became of it.
    pub(crate) fn started(&self) -> usize {
        self.all().started
    }
}

impl All {
    fn live(&mut self, id: &str, is_ready: bool) -> watch::Receiver<TreeState> {
        let (state, seen) = watch::channel(TreeState::Running);
        let living = Living {
            condition: Condition::Serving,
            is_ready,
            state,
        };
        self.living.insert(id.to_owned(), living);
        seen
    }

    fn end(&mut self, id: &str, exit: ExitRecord) {
        if let Some(living) = self.living.remove(id) {
            self.ended.insert(id.to_owned(), exit);
            living.state.send_replace(TreeState::Ended(exit));
        }
    }

    fn observed(&self, place: &InstancePlace) -> Observed {
        match (self.living.get(&place.id), self.ended.get(&place.id)) {
            _ if self.is_away => Observed::Unknown(away()),
            (Some(living), _) => Observed::Alive(living.condition),
            (None, Some(exit)) => Observed::Ended(*exit),
            (None, None) if place.container.is_some() => Observed::Lost(Loss::ContainerRemoved),
            (None, None) => Observed::NeverStarted,
        }
    }
}

fn away() -> BackendError {
    fault("nobody answers on the stage", ErrorKind::Unreachable)
}

fn ended_with(code: i32, requested: bool) -> ExitRecord {
    ExitRecord {
        status: ExitStatus::Code(code),
        requested,
        killed: false,
        at_ms: 0,
        log_bytes_lost: 0,
    }
}

/// An id is the name of its service and a number.
fn service_of(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(service, _)| service)
}

fn running(place: &InstancePlace, state: watch::Receiver<TreeState>) -> Running {
    let root = Root::Container(ContainerRoot {
        container_id: place.id.clone(),
        main_pid: None,
    });
    Running {
        container: Some(RecordedContainer {
            id: place.id.clone(),
            engine: None,
        }),
        ..Running::of(root, None, &place.dir, state)
    }
}

/// A command's way to the stage.
#[derive(Debug)]
pub(crate) struct StageBackend(pub(crate) Arc<Stage>);

#[derive(Debug)]
struct Appear {
    stage: Arc<Stage>,
    place: InstancePlace,
}

#[async_trait]
impl Deed for Appear {
    async fn start(
        self: Box<Self>,
        _on_pull: &OnPull,
        cancel: &CancellationToken,
    ) -> Result<Running, BackendError> {
        let Self { stage, place } = *self;
        let how = {
            let mut all = stage.all();
            all.started += 1;
            let planned = all.starts.get_mut(service_of(&place.id));
            planned.and_then(VecDeque::pop_front)
        };
        if stage.all().is_away {
            return Err(away());
        }
        match how.unwrap_or(Start::Succeeds) {
            Start::Refused => return Err(fault("the stage refused it", ErrorKind::Refused)),
            Start::PortTaken => return Err(fault("its port is taken", ErrorKind::PortTaken)),
            Start::Hangs => {
                cancel.cancelled().await;
                return Err(fault("it was given up", ErrorKind::GivenUp));
            }
            Start::Succeeds | Start::Dies(_) | Start::NeverReady => {}
        }
        let state = stage.all().live(&place.id, how != Some(Start::NeverReady));
        if let Some(Start::Dies(code)) = how {
            stage.dies(&place.id, code);
        }
        Ok(running(&place, state))
    }
}

#[async_trait]
impl Backend for StageBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn starts(&self, _definition: &ServiceDefinition) -> bool {
        true
    }

    fn has_inside(&self) -> bool {
        true
    }

    async fn prepare(self: Arc<Self>, order: StartOrder<'_>) -> Result<Intent, PrepareError> {
        let mut bindings = order.bindings;
        let name = order.definition.name.clone();
        bindings.own = Some(name.clone());
        let own = Where {
            host: "127.0.0.1".to_owned(),
            inside: Some(Inside::default()),
            ..Where::default()
        };
        bindings.services.insert(name, own);
        Ok(Intent {
            bindings,
            env: BTreeMap::new(),
            deed: Box::new(Appear {
                stage: Arc::clone(&self.0),
                place: order.place,
            }),
        })
    }

    fn port_probe(&self, _address: String, _own: &Where, _running: &Running) -> Probe {
        Probe::Healthy
    }

    async fn survey(&self, places: &[InstancePlace]) -> Survey {
        let all = self.0.all();
        Survey {
            observed: places.iter().map(|place| Ok(all.observed(place))).collect(),
            ids: match all.is_away {
                true => Err(away()),
                false => Ok(all.living.keys().cloned().collect()),
            },
        }
    }

    async fn adopt(&self, place: &InstancePlace) -> Result<Option<Running>, BackendError> {
        let all = self.0.all();
        if all.is_away {
            return Err(away());
        }
        let living = all.living.get(&place.id);
        Ok(living.map(|living| running(place, living.state.subscribe())))
    }

    async fn has_gone(&self, place: &InstancePlace, _running: &Running, _is_own: bool) -> bool {
        !self.0.all().living.contains_key(&place.id)
    }

    async fn end(&self, place: &InstancePlace, patience: &Patience) -> Result<Ended, BackendError> {
        let (how, is_away) = {
            let all = self.0.all();
            (all.ends.get(service_of(&place.id)).copied(), all.is_away)
        };
        if is_away {
            return Err(away());
        }
        if how == Some(End::Refused) {
            return Err(fault("the stage does not let it go", ErrorKind::Refused));
        }
        let is_stubborn = how == Some(End::IgnoresTheSignal);
        if is_stubborn {
            let grace = tokio::time::sleep(patience.grace);
            let _ = patience.hurry.run_until_cancelled(grace).await;
        }
        let mut all = self.0.all();
        let exit = ExitRecord {
            killed: is_stubborn,
            ..ended_with(if is_stubborn { 137 } else { 0 }, true)
        };
        all.end(&place.id, exit);
        let exit = all.ended.get(&place.id).copied();
        Ok(Ended {
            killed: exit.is_some_and(|exit| exit.killed),
            exit,
            leftovers: Vec::new(),
        })
    }

    async fn end_survivors(&self, ids: &[String]) -> Result<Vec<String>, BackendError> {
        let mut all = self.0.all();
        if all.is_away {
            return Err(away());
        }
        let survivors = ids.iter().filter(|id| all.living.contains_key(*id));
        let survivors: Vec<String> = survivors.cloned().collect();
        for id in &survivors {
            all.end(id, ended_with(0, true));
        }
        Ok(survivors)
    }

    async fn run_in(
        &self,
        place: &InstancePlace,
        request: &CommandRequest,
        cancel: &CancellationToken,
    ) -> Result<CommandResult, BackendError> {
        let answer = {
            let mut all = self.0.all();
            if !all.living.contains_key(&place.id) {
                return Err(fault("there is no such instance", ErrorKind::Refused));
            }
            let planned = request
                .argv
                .first()
                .and_then(|word| all.answers.get_mut(word));
            planned.and_then(VecDeque::pop_front)
        };
        let result = |outcome, output: &str| CommandResult {
            outcome,
            output: output.as_bytes().to_vec(),
            output_dropped: 0,
        };
        let exited = |code| CommandOutcome::Exited(ExitStatus::Code(code));
        Ok(match answer.unwrap_or(Answer::Says("")) {
            Answer::Says(output) => result(exited(0), output),
            Answer::Fails(code) => result(exited(code), ""),
            Answer::Kills(code) => {
                self.0.dies(&place.id, code);
                result(exited(137), "")
            }
            Answer::Hangs => tokio::select! {
                () = cancel.cancelled() => result(CommandOutcome::Cancelled, ""),
                () = tokio::time::sleep(request.timeout) => result(CommandOutcome::TimedOut, ""),
            },
        })
    }

    async fn health(
        &self,
        place: &InstancePlace,
        _cancel: &CancellationToken,
    ) -> Result<Health, BackendError> {
        let all = self.0.all();
        Ok(match all.living.get(&place.id) {
            Some(living) if !living.is_ready => Health::NotYet("not yet".to_owned()),
            _ => Health::NotChecked,
        })
    }

    async fn fetch_log(
        &self,
        place: &InstancePlace,
        _lines: usize,
    ) -> Result<FetchedLog, BackendError> {
        Ok(FetchedLog::at(log_path(&place.dir)))
    }

    /// An item a second, as engines send them.
    fn follow_stats(&self, container_id: &str) -> Option<watch::Receiver<StatsStream>> {
        self.0.load_of(container_id)?;
        let (sender, receiver) = watch::channel(StatsStream::Waiting);
        let (stage, id) = (Arc::clone(&self.0), container_id.to_owned());
        tokio::spawn(async move {
            let (mut cpu_seconds, begun) = (0.0, Instant::now());
            while !sender.is_closed() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let Some(cores) = stage.load_of(&id) else {
                    sender.send_replace(StatsStream::Ended);
                    return;
                };
                cpu_seconds += cores;
                sender.send_replace(StatsStream::Newest(EngineStats {
                    // Its clock shows another time than ours.
                    read_at: Some(Timestamp::default() + begun.elapsed()),
                    arrived: Some(Instant::now()),
                    cpu_seconds: Some(cpu_seconds),
                    memory_bytes: Some(50_000_000),
                    network_bytes: Some(0),
                    ..EngineStats::default()
                }));
            }
        });
        Some(receiver)
    }

    fn may_hold_strays(&self) -> bool {
        true
    }

    async fn end_forgotten(
        &self,
        _is_forgotten: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<String>, BackendError> {
        Ok(Vec::new())
    }
}

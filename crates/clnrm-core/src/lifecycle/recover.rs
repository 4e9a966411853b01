//! Brings the history in line with reality, at the start of every command.
//!
//! Whoever was killed, and wherever: an intent that was journalled, a shim without its starter, orphans without
//! their shim, a folder without a row. Each is found here and either accounted for or ended.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use thiserror::Error;

use super::project::{Project, place};
use super::stop::{DEFAULT_GRACE, EndError};
use crate::backend::docker::ContainerList;
use crate::backend::{
    Condition, EngineError, InstanceError, InstancePlace, Loss, Observed, Runtime,
};
use crate::clock::Timestamp;
use crate::exit::Fatal;
use crate::store::{
    Ending, InstanceId, InstanceRow, InstanceState, RunRow, RuntimeKind, StoreError,
};
use crate::text::one_line;

/// Why the state of the project could not be established.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The history failed.
    #[error("cannot read or write the history")]
    Store(#[from] StoreError),
    /// An instance could not be looked at or ended.
    #[error("cannot bring an instance in order")]
    Instance(#[from] EndError),
}

impl Fatal for RecoverError {
    fn behind(&self) -> Option<&dyn Fatal> {
        match self {
            Self::Store(error) | Self::Instance(EndError::Store { source: error, .. }) => {
                Some(error)
            }
            Self::Instance(EndError::Stop { .. }) => None,
        }
    }
}

/// Live instances that are not [`Condition::Serving`].
pub type Conditions = BTreeMap<InstanceId, Condition>;

/// What had to be put in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// One sentence each, for the user.
    pub notes: Vec<String>,
    /// The live instances that do not serve, and why.
    pub conditions: Conditions,
}

impl Recovered {
    pub(super) fn note_condition(&mut self, row: &InstanceRow, observed: &Observed) {
        if let Observed::Alive(condition) = observed
            && *condition != Condition::Serving
        {
            self.conditions.insert(row.start.id.clone(), *condition);
        }
    }

    pub(super) fn note_once(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// What is to be done with one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as recorded.
    Leave,
    /// It has ended (or must), and the row must say so.
    End(&'static str),
    /// The same, unless somebody takes it while we look.
    Retire(Retirement),
}

/// Why an instance of a pool goes that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retirement {
    Expired,
    RunKilled,
    HolderKilled,
    NotServing,
}

impl Retirement {
    fn why(self) -> &'static str {
        match self {
            Self::Expired => "its time in the pool was up",
            Self::NotServing => "it was free, and did not serve",
            Self::RunKilled => "its run was killed before it could stop it",
            Self::HolderKilled => "whoever held it was killed, so nobody knows what state it is in",
        }
    }
}

impl Project {
    /// Accounts for every instance of the project; ends what nobody is responsible for any more.
    pub async fn recover(&self) -> Result<Recovered, RecoverError> {
        if self.looks_only {
            return self.look_over().await;
        }
        // Folders before rows: a row is always written before its folder, so a folder seen now without a row then
        // has none at all.
        let folders = self.instance_folders();
        let looked_at = folders.clone();
        let instances_dir = self.instances_dir();
        let had_network = self.containers.had_network();
        let (rows, runs, known, knows_containers) = self
            .store
            .call(move |store| {
                store.follow_moved_folders(&instances_dir)?;
                let mut known = HashSet::new();
                for id in folders {
                    if store.instance(&id)?.is_some() {
                        known.insert(id);
                    }
                }
                let knows_containers = had_network || store.has_containers()?;
                Ok((
                    store.live_instances()?,
                    store.unfinished_runs()?,
                    known,
                    knows_containers,
                ))
            })
            .await?;
        let mut recovered = Recovered::default();
        let mut ended_containers = false;
        // Rows before containers, which are asked for once: what runs, and what must not.
        let containers = match knows_containers {
            true => Some(self.containers.containers().await),
            false => None,
        };
        for (row, observed) in self.look_at(rows, containers.as_ref()).await {
            let observed = observed.map_err(|source| unreadable(&row, source))?;
            if let Observed::Unknown(error) = &observed {
                recovered.note_once(format!("{error}; its instances are shown as recorded"));
            }
            recovered.note_condition(&row, &observed);
            if matches!(observed, Observed::Alive(_)) {
                self.follow_restarted(&row, &mut recovered).await?;
            }
            if matches!(observed, Observed::Alive(_)) && of_a_killed_run(&row, &runs) {
                self.end_commands_in(&row).await;
            }
            let why = match judge(&row, &observed, &runs, self.now()) {
                Verdict::Leave => continue,
                Verdict::End(why) => why,
                Verdict::Retire(retirement) if self.retire(&row, retirement).await? => {
                    retirement.why()
                }
                // Somebody was quicker, and ends it or uses it.
                Verdict::Retire(_) => continue,
            };
            ended_containers |= row.start.runtime == RuntimeKind::Container;
            self.end_row(&row, why, &mut recovered).await?;
        }
        if let Some(containers) = containers {
            ended_containers |= self
                .end_stray_containers(containers, &mut recovered)
                .await?;
        }
        if ended_containers {
            self.tidy_containers().await?;
        }
        self.end_unknown_folders(
            looked_at.into_iter().filter(|id| !known.contains(id)),
            &mut recovered,
        )
        .await?;
        Ok(recovered)
    }

    /// What there is of every instance, with one question to each runtime, if `containers` are not known already.
    pub(super) async fn look_at(
        &self,
        rows: Vec<InstanceRow>,
        containers: Option<&Result<ContainerList, EngineError>>,
    ) -> Vec<(InstanceRow, Result<Observed, InstanceError>)> {
        let mut looked_at = Vec::with_capacity(rows.len());
        for kind in [RuntimeKind::Process, RuntimeKind::Container] {
            let mine: Vec<InstanceRow> = rows
                .iter()
                .filter(|row| row.start.runtime == kind)
                .cloned()
                .collect();
            let places: Vec<_> = mine.iter().map(place).collect();
            let observed = match containers {
                Some(listed) if kind == RuntimeKind::Container => {
                    self.containers.observe_in(listed.as_ref(), &places).await
                }
                _ => self.runtime(kind).observe(&places).await,
            };
            looked_at.extend(mine.into_iter().zip(observed));
        }
        looked_at
    }

    /// A container without a live row: whoever made it was killed before it could remove it, or while it was created.
    async fn end_stray_containers(
        &self,
        containers: Result<ContainerList, EngineError>,
        recovered: &mut Recovered,
    ) -> Result<bool, RecoverError> {
        // Containers before rows: a row is always written before its container is made.
        let found = match containers {
            Ok(containers) => containers.instance_ids(),
            // Without an engine there is nothing that could be ended; live instances have said so already.
            Err(error) if error.is_unreachable() => return Ok(false),
            Err(error) => {
                recovered.note_once(error.to_string());
                return Ok(false);
            }
        };
        let live = self.store.call(|store| store.live_instances()).await?;
        let is_live = |id: &String| live.iter().any(|row| row.start.id.0 == *id);
        // A network without containers is of a run that was killed in between.
        let is_idle = found.is_empty();
        let stray: Vec<String> = found.into_iter().filter(|id| !is_live(id)).collect();
        if stray.is_empty() {
            return Ok(is_idle);
        }
        match self.containers.end_survivors(&stray).await {
            Ok(ended) => recovered.notes.extend(
                ended
                    .into_iter()
                    .map(|container| format!("{container}: nobody needed it, and it was removed")),
            ),
            Err(error) => recovered.note_once(error.to_string()),
        }
        Ok(true)
    }

    /// Removes what deleted projects left in the engine; one sentence each. Not that of every command: it asks for
    /// everything that any project has there.
    pub async fn end_abandoned_containers(&self) -> Vec<String> {
        // Best effort: whoever needs the engine is told what is wrong with it.
        let ended = self.containers.end_abandoned(self.now()).await;
        let ended = ended.unwrap_or_default().into_iter();
        ended
            .map(|container| format!("{container}: it had expired, and was removed"))
            .collect()
    }

    /// What a step of a killed run still does inside a container; beside a process it ended with its run.
    async fn end_commands_in(&self, row: &InstanceRow) {
        if row.start.runtime == RuntimeKind::Container {
            // Best effort: what cannot be ended ends with its container.
            let _ = self.containers.end_commands_in(&place(row)).await;
        }
    }

    /// Takes an instance out of its pool; `false` = somebody was quicker.
    async fn retire(
        &self,
        row: &InstanceRow,
        retirement: Retirement,
    ) -> Result<bool, RecoverError> {
        let (id, holder, now) = (row.start.id.clone(), row.start.owner.clone(), self.now());
        self.store
            .call(move |store| match retirement {
                Retirement::Expired => store.retire_warm(&id, Some(now)),
                Retirement::RunKilled | Retirement::NotServing => store.retire_warm(&id, None),
                Retirement::HolderKilled => store.take_back(&id, &holder),
            })
            .await
            .map_err(RecoverError::Store)
    }

    async fn end_row(
        &self,
        row: &InstanceRow,
        why: &str,
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        let id = row.start.id.clone();
        let ended = self
            .end_instance(row.start.runtime, &place(row), DEFAULT_GRACE)
            .await;
        let mut ended = match ended {
            Ok(ended) => ended,
            // One that cannot be ended must not keep every other command from its work.
            Err(error) => {
                recovered.note_once(one_line(&error));
                return Ok(());
            }
        };
        if row.state == InstanceState::Stopping && ended.ending == Ending::Failed {
            // It was asked to, by a command that was killed before it could say so.
            ended.ending = Ending::Stopped;
        }
        ended.exit.message = match ended.exit.message {
            Some(message) if why == ENGINE_RESTARTED => Some(format!("{message}: {why}")),
            message => message.or_else(|| Some(why.to_owned())),
        };
        recovered.notes.push(match ended.leftovers.as_slice() {
            [] => format!("{id}: {why}"),
            leftovers => format!("{id}: {why}; ended {}", leftovers.join(", ")),
        });
        let now = self.now();
        self.store
            .call(move |store| {
                store
                    .record_ended(&id, ended.ending, &ended.exit, now)
                    .map(drop)
            })
            .await
            .map_err(RecoverError::Store)
    }

    async fn end_unknown_folders(
        &self,
        unknown: impl Iterator<Item = InstanceId>,
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        for id in unknown {
            let dir = self.instance_dir(&id);
            let place = InstancePlace {
                id: id.0.clone(),
                dir: dir.clone(),
                container: None,
            };
            let looked = self.processes.observe(std::slice::from_ref(&place)).await;
            if matches!(
                looked.first(),
                Some(Ok(Observed::Alive(_) | Observed::Lost(_)))
            ) {
                self.end_instance(RuntimeKind::Process, &place, DEFAULT_GRACE)
                    .await?;
                recovered
                    .notes
                    .push(format!("{id}: it was not in the history, and was ended"));
            }
            // Best effort: a folder that stays is looked at again next time.
            let _ = fs::remove_dir_all(&dir);
        }
        Ok(())
    }

    fn instance_folders(&self) -> Vec<InstanceId> {
        let Ok(entries) = fs::read_dir(self.instances_dir()) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| Some(InstanceId(entry.ok()?.file_name().to_str()?.to_owned())))
            .collect()
    }
}

const ENGINE_RESTARTED: &str = "the container engine was restarted, which ended it";

pub(super) fn judge(
    row: &InstanceRow,
    observed: &Observed,
    unfinished_runs: &[RunRow],
    now: Timestamp,
) -> Verdict {
    let owner_lives = row.start.owner.is_alive();
    match observed {
        Observed::Unknown(_) => Verdict::Leave,
        Observed::Alive(condition)
            if *condition != Condition::Serving && row.warm_until.is_some() =>
        {
            Verdict::Retire(Retirement::NotServing)
        }
        Observed::Alive(_) if row.start.pooled && row.state == InstanceState::Running => {
            judge_pooled(row, owner_lives, unfinished_runs, now)
        }
        Observed::Alive(_) if owner_lives => Verdict::Leave,
        Observed::Alive(_) => match row.state {
            InstanceState::Starting => {
                Verdict::End("the command that started it was killed before it was ready")
            }
            InstanceState::Stopping => Verdict::End("a stop had begun, and is finished now"),
            _ if of_a_killed_run_that_would_stop_it(row, unfinished_runs) => {
                Verdict::End("its run was killed before it could stop it")
            }
            _ => Verdict::Leave,
        },
        Observed::Ended(_) | Observed::Lost(Loss::EngineRestarted)
            if owner_lives && row.state != InstanceState::Running =>
        {
            Verdict::Leave
        }
        Observed::Lost(Loss::EngineRestarted) => Verdict::End(ENGINE_RESTARTED),
        Observed::Ended(record) if record.requested || row.state == InstanceState::Stopping => {
            Verdict::End("the command that stopped it was killed")
        }
        Observed::Ended(_) => Verdict::End("it ended by itself"),
        // Its folder is made just before its container is.
        Observed::Lost(Loss::ContainerRemoved)
            if owner_lives && row.state != InstanceState::Running =>
        {
            Verdict::Leave
        }
        Observed::Lost(Loss::ContainerRemoved) => Verdict::End("its container was removed"),
        Observed::Lost(_) => Verdict::End("its supervisor was killed"),
        Observed::NeverStarted if row.state == InstanceState::Running => {
            Verdict::End("its folder was deleted")
        }
        Observed::NeverStarted if owner_lives => Verdict::Leave,
        Observed::NeverStarted => Verdict::End("the command that was to start it was killed"),
    }
}

/// One that lives in a pool: free until its time is up, or held by a command that lives.
fn judge_pooled(
    row: &InstanceRow,
    owner_lives: bool,
    unfinished_runs: &[RunRow],
    now: Timestamp,
) -> Verdict {
    match row.warm_until {
        Some(until) if until <= now => Verdict::Retire(Retirement::Expired),
        Some(_) if of_a_killed_run_that_would_stop_it(row, unfinished_runs) => {
            Verdict::Retire(Retirement::RunKilled)
        }
        Some(_) => Verdict::Leave,
        None if owner_lives => Verdict::Leave,
        None => Verdict::Retire(Retirement::HolderKilled),
    }
}

fn unreadable(row: &InstanceRow, source: InstanceError) -> RecoverError {
    RecoverError::Instance(EndError::Stop {
        id: row.start.id.clone(),
        source,
    })
}

fn of_a_killed_run_that_would_stop_it(row: &InstanceRow, unfinished_runs: &[RunRow]) -> bool {
    killed_run(row, unfinished_runs).is_some_and(|run| !run.keep)
}

fn of_a_killed_run(row: &InstanceRow, unfinished_runs: &[RunRow]) -> bool {
    killed_run(row, unfinished_runs).is_some()
}

fn killed_run<'a>(row: &InstanceRow, unfinished_runs: &'a [RunRow]) -> Option<&'a RunRow> {
    let run = unfinished_runs
        .iter()
        .find(|run| Some(run.id) == row.start.run)?;
    (!run.owner.is_alive()).then_some(run)
}

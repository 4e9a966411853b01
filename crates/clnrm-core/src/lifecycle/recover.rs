//! Brings the history in line with reality, at the start of every command.
//!
//! Whoever was killed, and wherever: an intent that was journalled, a shim without its starter, orphans without
//! their shim, a folder without a row. Each is found here and either accounted for or ended.

use std::collections::BTreeMap;
use std::fs;

use thiserror::Error;

use super::project::{Project, place};
use super::stop::{DEFAULT_GRACE, EndError, Ended};
use super::verdict::{ENGINE_RESTARTED, Retirement, Verdict, judge};
use crate::backend::{Backend, BackendError, Condition, ErrorKind, InstancePlace, Observed};
use crate::exit::Fatal;
use crate::store::{Ending, InstanceId, InstanceRow, InstanceState, RunId, RunRow, StoreError};
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

impl Project {
    /// Accounts for every instance of the project; ends what nobody is responsible for any more. Where the history cannot
    /// be written, it only tells what lives and what does not, and that is recorded in this command's copy alone.
    pub async fn recover(&self) -> Result<Recovered, RecoverError> {
        // Folders before rows: a row is always written before its folder, so a folder seen now without a row then
        // has none at all.
        let folders = match self.looks_only {
            true => Vec::new(),
            false => self.instance_folders(),
        };
        let instances_dir = self.instances_dir();
        let (rows, runs, unknown, used) = self
            .store
            .call(move |store| {
                store.follow_moved_folders(&instances_dir)?;
                let mut unknown = Vec::new();
                for id in folders {
                    if store.instance(&id)?.is_none() {
                        unknown.push(id);
                    }
                }
                Ok((
                    store.live_instances()?,
                    store.unfinished_runs()?,
                    unknown,
                    store.backends_used()?,
                ))
            })
            .await?;
        self.record_killed(&runs).await?;
        let mut recovered = Recovered::default();
        for backend in self.backends.iter() {
            if used.contains(backend.name()) || backend.may_hold_strays() {
                self.recover_in(&**backend, &rows, &runs, &mut recovered)
                    .await?;
            }
        }
        self.end_unknown_folders(unknown, &mut recovered).await?;
        Ok(recovered)
    }

    /// Says of runs whose command was killed that they did not come to their end.
    async fn record_killed(&self, runs: &[RunRow]) -> Result<(), RecoverError> {
        let is_killed = |run: &&RunRow| run.verdict.is_none() && !run.owner.is_alive();
        let killed: Vec<RunId> = runs.iter().filter(is_killed).map(|run| run.id).collect();
        if killed.is_empty() {
            return Ok(());
        }
        let recorded = self
            .store
            .call(move |store| store.record_unfinished(&killed));
        recorded.await.map_err(RecoverError::Store)
    }

    /// One look at everything that a backend has: what runs, and what must not.
    async fn recover_in(
        &self,
        backend: &dyn Backend,
        rows: &[InstanceRow],
        runs: &[RunRow],
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        let mine = rows.iter();
        let mine: Vec<&InstanceRow> = mine
            .filter(|row| row.start.runtime == backend.name())
            .collect();
        let places: Vec<InstancePlace> = mine.iter().map(|row| place(row)).collect();
        let survey = backend.survey(&places).await;
        let mut has_ended = false;
        for (row, observed) in mine.into_iter().zip(survey.observed) {
            let observed = match observed {
                Ok(observed) => observed,
                Err(error) if self.looks_only => {
                    recovered.note_once(one_line(&error));
                    continue;
                }
                Err(source) => return Err(unended(&row.start.id, source)),
            };
            let found = Found {
                row,
                observed: &observed,
                killed_run: killed_run(row, runs),
            };
            has_ended |= self.recover_one(backend, found, recovered).await?;
        }
        if self.looks_only {
            return Ok(());
        }
        if self.end_strays(backend, survey.ids, recovered).await? || has_ended {
            self.tidy_one(backend).await?;
        }
        Ok(())
    }

    /// Whether it was ended.
    async fn recover_one(
        &self,
        backend: &dyn Backend,
        found: Found<'_>,
        recovered: &mut Recovered,
    ) -> Result<bool, RecoverError> {
        let Found {
            row,
            observed,
            killed_run,
        } = found;
        if let Observed::Unknown(error) = observed {
            recovered.note_once(format!("{error}; its instances are shown as recorded"));
        }
        recovered.note_condition(row, observed);
        let is_alive = matches!(observed, Observed::Alive(_));
        if is_alive {
            self.follow_restarted(backend, row, recovered).await?;
        }
        if is_alive && !self.looks_only && killed_run.is_some() {
            backend.end_commands_in(&place(row)).await;
        }
        let owner_lives = row.start.owner.is_alive();
        let why = match judge(row, observed, owner_lives, killed_run, self.now()) {
            Verdict::Leave => return Ok(false),
            // Then what lives is shown as living, whoever should end it.
            _ if self.looks_only && is_alive => return Ok(false),
            Verdict::End(why) => why,
            Verdict::Retire(retirement) if self.retire(row, retirement).await? => retirement.why(),
            // Somebody was quicker, and ends it or uses it.
            Verdict::Retire(_) => return Ok(false),
        };
        let ended = match self.looks_only {
            true => Ok(Ended::found(observed)),
            false => {
                let place = place(row);
                self.end_instance(backend, &place, DEFAULT_GRACE).await
            }
        };
        match ended {
            Ok(ended) => self.record_end(row, ended, why, recovered).await?,
            // One that cannot be ended must not keep every other command from its work.
            Err(error) => recovered.note_once(one_line(&error)),
        }
        Ok(true)
    }

    /// What has no live row: whoever made it was killed before it could remove it, or while it was created. `true` = there
    /// was something, or nothing at all is left.
    async fn end_strays(
        &self,
        backend: &dyn Backend,
        found: Result<Vec<String>, BackendError>,
        recovered: &mut Recovered,
    ) -> Result<bool, RecoverError> {
        // Instances before rows: a row is always written before its instance is made.
        let found = match found {
            Ok(found) => found,
            // Without an engine there is nothing that could be ended; live instances have said so already.
            Err(error) if error.kind() == ErrorKind::Unreachable => return Ok(false),
            Err(error) => {
                recovered.note_once(error.to_string());
                return Ok(false);
            }
        };
        if found.is_empty() {
            // What is shared without anybody to share it is of a run that was killed in between.
            return Ok(true);
        }
        let live = self.store.call(|store| store.live_instances()).await?;
        let is_live = |id: &String| live.iter().any(|row| row.start.id.0 == *id);
        let stray: Vec<String> = found.into_iter().filter(|id| !is_live(id)).collect();
        if stray.is_empty() {
            return Ok(false);
        }
        match backend.end_survivors(&stray).await {
            Ok(ended) => recovered.notes.extend(
                ended
                    .into_iter()
                    .map(|one| format!("{one}: nobody needed it, and it was removed")),
            ),
            Err(error) => recovered.note_once(error.to_string()),
        }
        Ok(true)
    }

    /// Takes an instance out of its pool; `false` = somebody was quicker.
    async fn retire(&self, row: &InstanceRow, retirement: Retirement) -> Result<bool, StoreError> {
        let (id, holder, now) = (row.start.id.clone(), row.start.owner.clone(), self.now());
        self.store
            .call(move |store| match retirement {
                Retirement::Expired => store.retire_warm(&id, Some(now)),
                Retirement::RunKilled | Retirement::NotServing => store.retire_warm(&id, None),
                Retirement::HolderKilled => store.take_back(&id, &holder),
            })
            .await
    }

    async fn record_end(
        &self,
        row: &InstanceRow,
        mut ended: Ended,
        why: &str,
        recovered: &mut Recovered,
    ) -> Result<(), StoreError> {
        let id = row.start.id.clone();
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
    }

    async fn end_unknown_folders(
        &self,
        unknown: Vec<InstanceId>,
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        for id in unknown {
            let place = InstancePlace {
                id: id.0.clone(),
                dir: self.instance_dir(&id),
                container: None,
            };
            for backend in self.backends.iter() {
                let patience = self.patience(DEFAULT_GRACE);
                let ended = backend.end_unknown(&place, &patience).await;
                if ended.map_err(|source| unended(&id, source))? {
                    recovered
                        .notes
                        .push(format!("{id}: it was not in the history, and was ended"));
                }
            }
            // Best effort: a folder that stays is looked at again next time.
            let _ = fs::remove_dir_all(&place.dir);
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

fn unended(id: &InstanceId, source: BackendError) -> RecoverError {
    RecoverError::Instance(EndError::Stop {
        id: id.clone(),
        source,
    })
}

/// An instance on record, and what there is of it.
struct Found<'a> {
    row: &'a InstanceRow,
    observed: &'a Observed,
    /// Of which it is, where that run's command is gone and had not finished.
    killed_run: Option<&'a RunRow>,
}

fn killed_run<'a>(row: &InstanceRow, unfinished_runs: &'a [RunRow]) -> Option<&'a RunRow> {
    let run = unfinished_runs
        .iter()
        .find(|run| Some(run.id) == row.start.run)?;
    (!run.owner.is_alive()).then_some(run)
}

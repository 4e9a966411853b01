//! Brings the history in line with reality, at the start of every command.
//!
//! Whoever was killed, and wherever: an intent that was journalled, a shim without its starter, orphans without
//! their shim, a folder without a row. Each is found here and either accounted for or ended.

use std::collections::HashSet;
use std::fs;

use thiserror::Error;

use super::project::Project;
use super::stop::{DEFAULT_GRACE, EndError, observe};
use crate::runtime::process::Observed;
use crate::store::{InstanceId, InstanceRow, InstanceState, RunRow, StoreError};

/// Why the state of the project could not be established.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The history failed.
    #[error("cannot read or write the history")]
    Store(#[source] StoreError),
    /// An instance could not be looked at or ended.
    #[error("cannot bring an instance in order")]
    Instance(#[source] EndError),
}

/// What had to be put in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// One sentence each, for the user.
    pub notes: Vec<String>,
}

/// What is to be done with one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is as recorded.
    Leave,
    /// It has ended (or must), and the row must say so.
    End(&'static str),
}

impl Project {
    /// Accounts for every instance of the project; ends what nobody is responsible for any more.
    pub async fn recover(&self) -> Result<Recovered, RecoverError> {
        // Folders before rows: a row is always written before its folder, so a folder seen now without a row then
        // has none at all.
        let folders = self.instance_folders();
        let looked_at = folders.clone();
        let (rows, runs, known) = self
            .store
            .call(move |store| {
                let mut known = HashSet::new();
                for id in folders {
                    if store.instance(&id)?.is_some() {
                        known.insert(id);
                    }
                }
                Ok((store.live_instances()?, store.unfinished_runs()?, known))
            })
            .await
            .map_err(RecoverError::Store)?;
        let mut recovered = Recovered::default();
        for row in &rows {
            if let Verdict::End(why) = judge(row, &runs).map_err(RecoverError::Instance)? {
                self.end_row(row, why, &mut recovered).await?;
            }
        }
        self.end_unknown_folders(
            looked_at.into_iter().filter(|id| !known.contains(id)),
            &mut recovered,
        )
        .await?;
        Ok(recovered)
    }

    async fn end_row(
        &self,
        row: &InstanceRow,
        why: &str,
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        let id = row.start.id.clone();
        let ended = self
            .end_instance_at(&id, &row.start.dir, DEFAULT_GRACE)
            .await
            .map_err(RecoverError::Instance)?;
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
            let observed = observe(&dir).map_err(RecoverError::Instance)?;
            if matches!(observed, Observed::Alive(_) | Observed::Lost(_)) {
                self.end_instance_at(&id, &dir, DEFAULT_GRACE)
                    .await
                    .map_err(RecoverError::Instance)?;
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

fn judge(row: &InstanceRow, unfinished_runs: &[RunRow]) -> Result<Verdict, EndError> {
    let owner_lives = row.start.owner.is_alive();
    Ok(match observe(&row.start.dir)? {
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
        Observed::Ended(_) if owner_lives && row.state != InstanceState::Running => Verdict::Leave,
        Observed::Ended(record) if record.requested => {
            Verdict::End("the command that stopped it was killed")
        }
        Observed::Ended(_) => Verdict::End("it ended by itself"),
        Observed::Lost(_) => Verdict::End("its supervisor was killed"),
        Observed::NeverStarted if owner_lives => Verdict::Leave,
        Observed::NeverStarted => Verdict::End("the command that was to start it was killed"),
    })
}

fn of_a_killed_run_that_would_stop_it(row: &InstanceRow, unfinished_runs: &[RunRow]) -> bool {
    unfinished_runs
        .iter()
        .any(|run| Some(run.id) == row.start.run && !run.keep && !run.owner.is_alive())
}

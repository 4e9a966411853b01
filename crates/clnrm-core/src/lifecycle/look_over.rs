//! What [`Project::recover`] does where the history cannot be written: it tells what lives and what does not.
//!
//! Deliberately absent: deeds. Nothing is ended, whoever should have done it, and nothing is removed.

use super::project::Project;
use super::recover::{RecoverError, Recovered, Verdict, judge};
use super::stop::Ended;
use crate::backend::Observed;
use crate::text::one_line;

impl Project {
    /// What can be said of the instances without ending any; it is recorded in this command's copy of the history alone.
    pub(super) async fn look_over(&self) -> Result<Recovered, RecoverError> {
        let (rows, runs) = self
            .store
            .call(|store| Ok((store.live_instances()?, store.unfinished_runs()?)))
            .await?;
        let mut recovered = Recovered::default();
        for (row, observed) in self.look_at(rows, None).await {
            let observed = match observed {
                Ok(observed) => observed,
                Err(error) => {
                    recovered.note_once(one_line(&error));
                    continue;
                }
            };
            if let Observed::Unknown(error) = &observed {
                recovered.note_once(format!("{error}; its instances are shown as recorded"));
            }
            recovered.note_condition(&row, &observed);
            if matches!(observed, Observed::Alive(_)) {
                self.follow_restarted(&row, &mut recovered).await?;
            }
            // What lives is shown as living, whoever should end it.
            let Verdict::End(why) = judge(&row, &observed, &runs, self.now()) else {
                continue;
            };
            if matches!(observed, Observed::Alive(_)) {
                continue;
            }
            let (id, ended, now) = (row.start.id, Ended::found(&observed, why), self.now());
            recovered.notes.push(format!("{id}: {why}"));
            self.store
                .call(move |store| {
                    store
                        .record_ended(&id, ended.ending, &ended.exit, now)
                        .map(drop)
                })
                .await?;
        }
        Ok(recovered)
    }
}

//! An instance that somebody restarted is another process, at another port: its row follows it.

use super::project::{Project, place};
use super::recover::Recovered;
use super::start::started;
use crate::backend::Backend;
use crate::store::{InstanceRow, StoreError};

impl Project {
    /// Records where a living instance is now, if that is another place or process than the recorded one.
    pub(super) async fn follow_restarted(
        &self,
        backend: &dyn Backend,
        row: &InstanceRow,
        recovered: &mut Recovered,
    ) -> Result<(), StoreError> {
        let (before, place) = (&row.start.reached, place(row));
        let anew = backend.started_anew(&place, row.main_pid, before);
        let Some(running) = anew.await else {
            return Ok(());
        };
        let now = started(&running, running.reached.as_ref().unwrap_or(before));
        let id = &row.start.id;
        recovered.note_once(match now.reached.address() {
            Some(address) if Some(&address) != before.address().as_ref() => {
                format!("{id}: its container was restarted, and is at {address} now")
            }
            _ => format!("{id}: its container was restarted"),
        });
        let id = id.clone();
        self.store
            .call(move |store| store.record_started(&id, &now).map(drop))
            .await
    }
}

//! A container that somebody restarted is another process, at another port: its row follows it.

use super::container::{at_its_own_address, located};
use super::project::{Project, place};
use super::recover::Recovered;
use crate::backend::Running;
use crate::store::{InstanceRow, RuntimeKind, StoreError};

impl Project {
    /// Records where a living container is now, if that is another place or process than the recorded one.
    pub(super) async fn follow_restarted(
        &self,
        row: &InstanceRow,
        recovered: &mut Recovered,
    ) -> Result<(), StoreError> {
        if row.start.runtime != RuntimeKind::Container {
            return Ok(());
        }
        let Some(inside) = &row.start.ports.inside else {
            return Ok(());
        };
        // What cannot be looked at more closely stays as recorded: that it lives is known.
        let place = place(row);
        let anew = self.containers.started_anew(&place, row.main_pid);
        let Some(running) = anew.await.ok().flatten() else {
            return Ok(());
        };
        let Some(now) = located(inside, &as_reached_before(row, running)) else {
            return Ok(());
        };
        let id = &row.start.id;
        recovered.note_once(match &now.address {
            Some(address) if now.address != row.start.address => {
                format!("{id}: its container was restarted, and is at {address} now")
            }
            _ => format!("{id}: its container was restarted"),
        });
        let id = id.clone();
        self.store
            .call(move |store| store.record_container(&id, &now).map(drop))
            .await
    }
}

/// One that was reached at its own address still is.
fn as_reached_before(row: &InstanceRow, running: Running) -> Running {
    let host = |address: &str| address.rsplit_once(':').map(|(host, _)| host.to_owned());
    let before = row.start.address.as_deref().and_then(host);
    let published = running.published.as_ref();
    match published.map(|published| &published.host) {
        Some(now) if before.as_ref().is_some_and(|before| before != now) => {
            at_its_own_address(&running).unwrap_or(running)
        }
        _ => running,
    }
}

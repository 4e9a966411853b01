//! What earlier runs left up.

use super::result::KeptService;
use crate::lifecycle::Project;
use crate::store::{InstanceRow, InstanceState, RunRow, ServiceId, Store, StoreError};

/// What earlier runs kept of services that are not `mine`. What a pool holds says of itself when it goes.
pub(super) async fn kept_by_earlier_runs(
    project: &Project,
    mine: Vec<ServiceId>,
) -> Result<Vec<KeptService>, StoreError> {
    let kept = move |store: &mut Store| {
        let unfinished = store.unfinished_runs()?;
        let services = store.services()?;
        let rows = store.live_instances()?.into_iter().filter(|row| {
            row.state == InstanceState::Running
                && row.warm_until.is_none()
                && !mine.contains(&row.start.service)
                && !in_use(row, &unfinished)
        });
        let kept = rows.filter_map(|row| {
            let mut services = services.iter();
            Some(KeptService {
                service: (services.find(|service| service.id == row.start.service)?)
                    .name
                    .clone(),
                address: row.start.reached.address(),
                warm_until: None,
            })
        });
        Ok(kept.collect())
    };
    project.store.call(kept).await
}

/// Whether a command that still runs has it.
pub(super) fn in_use(row: &InstanceRow, unfinished: &[RunRow]) -> bool {
    let is_unfinished = |run| unfinished.iter().any(|other| other.id == run);
    row.start.owner.is_alive() && row.start.run.is_none_or(is_unfinished)
}

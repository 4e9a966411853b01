//! How many instances a pool is to hold, from how it was used.

use crate::config::definition::PoolSpec;
use crate::services::service_manager::PoolDemand;
use crate::services::service_manager::pool::usual_start_time;
use crate::store::{ServiceId, Store, StoreError};

/// Past leases and starts that are looked at.
pub(crate) const LOOK_BACK: u32 = 200;

/// How many instances a pool is to hold: as its file says, or as the measured use advises.
pub fn pool_size(store: &Store, service: ServiceId, pool: &PoolSpec) -> Result<u32, StoreError> {
    if pool.auto.is_none() {
        return Ok(pool.wanted(None));
    }
    let spans = store.lease_spans(service, LOOK_BACK)?;
    let start_time = usual_start_time(store.start_durations(service, LOOK_BACK)?);
    Ok(pool.wanted(PoolDemand::of(&spans, start_time).advised_size()))
}

//! Processes that were killed for lack of memory, as long as that says something about now.

use std::time::Duration;

use rusqlite::params;

use super::rows::{InstanceId, ServiceId};
use super::sql_types::optional_time;
use super::{Store, StoreError};
use crate::clock::Timestamp;

const KEPT: Duration = Duration::from_secs(60 * 60);

/// How many processes of one instance were killed between two readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemoryKills {
    pub service: ServiceId,
    pub instance: InstanceId,
    /// The earlier reading.
    pub from: Timestamp,
    /// The later one.
    pub at: Timestamp,
    /// How many; at least 1.
    pub kills: u64,
}

/// How many processes of one service were killed, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryKillCount {
    pub kills: u64,
    /// The reading before the first.
    pub from: Timestamp,
}

impl Store {
    pub fn record_memory_kills(&mut self, kills: &[NewMemoryKills]) -> Result<(), StoreError> {
        if kills.is_empty() {
            return Ok(());
        }
        self.write("record kills for lack of memory", |transaction| {
            for new in kills {
                transaction
                    .prepare_cached(
                        "INSERT INTO memory_kills (service_id, instance_id, from_at, at, kills) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![
                        new.service,
                        new.instance,
                        new.from.as_millis(),
                        new.at.as_millis(),
                        new.kills.cast_signed()
                    ])?;
                transaction
                    .prepare_cached("DELETE FROM memory_kills WHERE service_id = ?1 AND at < ?2")?
                    .execute(params![new.service, (new.at - KEPT).as_millis()])?;
            }
            Ok(())
        })
    }

    /// The kills that were seen since then; `None` = there were none.
    pub fn memory_kills(
        &self,
        service: ServiceId,
        since: Timestamp,
    ) -> Result<Option<MemoryKillCount>, StoreError> {
        self.read("read kills for lack of memory", |connection| {
            connection
                .prepare_cached(
                    "SELECT sum(kills), min(from_at) FROM memory_kills WHERE service_id = ?1 AND at >= ?2",
                )?
                .query_row(params![service, since.as_millis()], |row| {
                    let kills: Option<i64> = row.get(0)?;
                    let from = optional_time(row, 1)?;
                    Ok(kills.zip(from).map(|(kills, from)| MemoryKillCount {
                        kills: kills.cast_unsigned(),
                        from,
                    }))
                })
        })
    }
}

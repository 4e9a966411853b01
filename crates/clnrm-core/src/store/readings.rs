//! What was last read of each live instance: a rate needs two readings, and the second may come from another command.

use std::collections::BTreeMap;

use rusqlite::params;

use super::rows::InstanceId;
use super::sql_types::time;
use super::{Store, StoreError};
use crate::clock::Timestamp;

/// The raw counters that were last read of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReading {
    /// When they were read.
    pub read_at: Timestamp,
    /// JSON of whoever measured.
    pub json: String,
}

impl Store {
    /// Records the last raw readings of live instances; readings of others are passed over.
    pub fn record_readings(
        &mut self,
        readings: &[(InstanceId, StoredReading)],
    ) -> Result<(), StoreError> {
        self.write("record readings", |transaction| {
            let mut record = transaction.prepare_cached(
                "INSERT INTO readings (instance_id, read_at, reading)
                 SELECT id, ?2, ?3 FROM instances WHERE id = ?1 AND stopped_at IS NULL
                 ON CONFLICT (instance_id) DO UPDATE SET read_at = excluded.read_at, reading = excluded.reading",
            )?;
            for (instance, reading) in readings {
                record.execute(params![instance, reading.read_at.as_millis(), reading.json])?;
            }
            Ok(())
        })
    }

    /// The last raw reading of every live instance that has one.
    pub fn readings(&self) -> Result<BTreeMap<InstanceId, StoredReading>, StoreError> {
        self.read("read the last readings", |connection| {
            connection
                .prepare_cached("SELECT instance_id, read_at, reading FROM readings")?
                .query_map([], |row| {
                    let reading = StoredReading {
                        read_at: time(row, "read_at")?,
                        json: row.get("reading")?,
                    };
                    Ok((row.get("instance_id")?, reading))
                })?
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Ending, InstanceExit};
    use super::super::tests::{at, journalled, service, store};
    use super::*;

    #[test]
    fn readings_belong_to_live_instances() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = journalled(&mut store, service, "cache-1", 0).id;
        let reading = |read_at, json: &str| StoredReading {
            read_at: at(read_at),
            json: json.into(),
        };
        let ghost = InstanceId("ghost-1".into());
        store
            .record_readings(&[(id.clone(), reading(1, "{}")), (ghost, reading(1, "{}"))])
            .unwrap();
        store
            .record_readings(&[(id.clone(), reading(2, "[1]"))])
            .unwrap();
        assert_eq!(
            store.readings().unwrap(),
            BTreeMap::from([(id.clone(), reading(2, "[1]"))])
        );
        store
            .record_ended(&id, Ending::Stopped, &InstanceExit::default(), at(3))
            .unwrap();
        assert!(store.readings().unwrap().is_empty());
    }
}

//! Leases: a test has an instance for itself.

use rusqlite::{OptionalExtension as _, Row, params};

use super::rings::RING_LENGTH;
use super::rows::{LeaseId, LeaseRow, NewLease, ServiceId};
use super::sql_types::{optional_time, owner, time};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::services::service_manager::LeaseSpan;

impl Store {
    /// Leases a running instance. `None` = somebody else has it, or it is not running (any more).
    /// Only the newest 1000 leases of a service are kept, besides open ones.
    pub fn acquire_lease(&mut self, lease: &NewLease) -> Result<Option<LeaseId>, StoreError> {
        self.write("lease an instance", |transaction| {
            let acquired: Option<(LeaseId, ServiceId)> = transaction
                .prepare_cached(
                    "INSERT INTO leases (instance_id, service_id, run_id, test,
                                         owner_pid, owner_start_ticks, owner_boot_id, acquired_at)
                     SELECT id, service_id, ?2, ?3, ?4, ?5, ?6, ?7 FROM instances WHERE id = ?1 AND state = 'running' AND warm_until IS NULL
                     ON CONFLICT (instance_id) WHERE released_at IS NULL DO NOTHING RETURNING id, service_id",
                )?
                .query_row(
                    params![
                        lease.instance,
                        lease.run,
                        lease.test,
                        lease.owner.pid,
                        lease.owner.start_ticks.cast_signed(),
                        lease.owner.boot_id,
                        lease.acquired_at.as_millis(),
                    ],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((id, service)) = acquired else {
                return Ok(None);
            };
            transaction
                .prepare_cached(
                    "DELETE FROM leases WHERE service_id = ?1 AND released_at IS NOT NULL AND id <=
                         (SELECT id FROM leases WHERE service_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![service, RING_LENGTH])?;
            Ok(Some(id))
        })
    }

    /// Ends a lease. `false` = it has already ended.
    pub fn release_lease(&mut self, lease: LeaseId, at: Timestamp) -> Result<bool, StoreError> {
        self.write("release an instance", |transaction| {
            transaction
                .prepare_cached(
                    "UPDATE leases SET released_at = ?2 WHERE id = ?1 AND released_at IS NULL",
                )?
                .execute(params![lease, at.as_millis()])
                .map(|changed| changed > 0)
        })
    }

    /// Every open lease, oldest first. The owner of one may have been killed.
    pub fn open_leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        self.read("read the leases", |connection| {
            connection
                .prepare_cached("SELECT * FROM leases WHERE released_at IS NULL ORDER BY id")?
                .query_map([], lease_row)?
                .collect()
        })
    }

    /// When the newest leases of a service were held, newest first: how many tests wanted it at once.
    pub fn lease_spans(
        &self,
        service: ServiceId,
        limit: u32,
    ) -> Result<Vec<LeaseSpan>, StoreError> {
        self.read("read the leases", |connection| {
            connection
                .prepare_cached(
                    "SELECT acquired_at, released_at FROM leases WHERE service_id = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map(params![service, limit], |row| {
                    Ok(LeaseSpan {
                        acquired_at: time(row, 0)?,
                        released_at: optional_time(row, 1)?,
                    })
                })?
                .collect()
        })
    }
}

fn lease_row(row: &Row<'_>) -> rusqlite::Result<LeaseRow> {
    Ok(LeaseRow {
        id: row.get("id")?,
        service: row.get("service_id")?,
        lease: NewLease {
            instance: row.get("instance_id")?,
            run: row.get("run_id")?,
            test: row.get("test")?,
            owner: owner(row)?,
            acquired_at: time(row, "acquired_at")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Ending, InstanceExit, InstanceId, InstanceState};
    use super::super::tests::{at, identity, journalled, service, store};
    use super::*;

    fn lease(instance: &InstanceId, acquired_at: i64) -> NewLease {
        NewLease {
            instance: instance.clone(),
            run: None,
            test: "api".into(),
            owner: identity(9),
            acquired_at: at(acquired_at),
        }
    }

    #[test]
    fn an_instance_has_one_lease_at_a_time() {
        let (dir, mut one) = store();
        let mut two = Store::open(dir.path()).unwrap();
        let service = service(&mut one, "cache");
        let id = journalled(&mut one, service, "cache-1", 0).id;
        assert_eq!(
            one.acquire_lease(&lease(&id, 1)).unwrap(),
            None,
            "it is not ready yet"
        );
        one.record_ready(&id, at(1)).unwrap();

        let first = one.acquire_lease(&lease(&id, 2)).unwrap().unwrap();
        assert_eq!(two.acquire_lease(&lease(&id, 3)).unwrap(), None);
        let open = two.open_leases().unwrap();
        assert_eq!(
            open,
            [LeaseRow {
                id: first,
                service,
                lease: lease(&id, 2)
            }]
        );

        assert!(two.release_lease(first, at(4)).unwrap());
        assert!(!one.release_lease(first, at(9)).unwrap());
        assert!(two.acquire_lease(&lease(&id, 5)).unwrap().is_some());
        let span = |acquired_at, released_at: Option<i64>| LeaseSpan {
            acquired_at: at(acquired_at),
            released_at: released_at.map(at),
        };
        assert_eq!(
            one.lease_spans(service, 9).unwrap(),
            [span(5, None), span(2, Some(4))]
        );
    }

    #[test]
    fn scale_in_and_leases_exclude_each_other() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = journalled(&mut store, service, "cache-1", 0).id;
        store.record_ready(&id, at(1)).unwrap();
        let held = store.acquire_lease(&lease(&id, 2)).unwrap().unwrap();
        assert!(!store.record_stopping_if_idle(&id).unwrap());
        store.release_lease(held, at(3)).unwrap();
        assert!(store.record_stopping_if_idle(&id).unwrap());
        assert_eq!(store.acquire_lease(&lease(&id, 4)).unwrap(), None);
        assert_eq!(
            store.instance(&id).unwrap().unwrap().state,
            InstanceState::Stopping
        );
    }

    #[test]
    fn a_lease_ends_with_its_instance() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = journalled(&mut store, service, "cache-1", 0).id;
        store.record_ready(&id, at(1)).unwrap();
        store.acquire_lease(&lease(&id, 2)).unwrap().unwrap();
        store
            .record_ended(&id, Ending::Failed, &InstanceExit::default(), at(7))
            .unwrap();
        assert!(store.open_leases().unwrap().is_empty());
        assert_eq!(
            store.lease_spans(service, 1).unwrap()[0].released_at,
            Some(at(7))
        );
        // How long it was held outlives the instance.
        store.forget_instances(&[id]).unwrap();
        assert_eq!(store.lease_spans(service, 9).unwrap().len(), 1);
    }

    #[test]
    fn only_the_newest_thousand_are_kept() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let (held, used) = (
            journalled(&mut store, service, "cache-1", 0).id,
            journalled(&mut store, service, "cache-2", 0).id,
        );
        for id in [&held, &used] {
            store.record_ready(id, at(1)).unwrap();
        }
        store.acquire_lease(&lease(&held, 1)).unwrap().unwrap();
        for number in 0..1_005 {
            let id = store.acquire_lease(&lease(&used, number)).unwrap().unwrap();
            store.release_lease(id, at(number + 1)).unwrap();
        }
        assert_eq!(store.lease_spans(service, 2_000).unwrap().len(), 1_001);
        assert_eq!(store.open_leases().unwrap()[0].lease.instance, held);
    }
}

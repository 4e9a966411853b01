//! Leases: a test has an instance for itself, or a service together with other tests.

use rusqlite::{OptionalExtension as _, Row, ToSql, params};

use super::rings::RING_LENGTH;
use super::rows::{LeaseId, LeaseRow, Leased, NewLease, ServiceId};
use super::sql_types::{optional_time, owner, time};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::services::service_manager::LeaseSpan;

const RUNNING_INSTANCE: &str = "SELECT id AS instance_id, service_id FROM instances
    WHERE id = ?1 AND state = 'running' AND warm_until IS NULL";
const SERVICE: &str = "SELECT NULL AS instance_id, id AS service_id FROM services WHERE id = ?1";

impl Store {
    /// Leases a running instance, or a service. `None` = somebody else has the instance, or it is not running (any more).
    /// Only the newest 1000 leases of a service are kept, besides open ones.
    pub fn acquire_lease(&mut self, lease: &NewLease) -> Result<Option<LeaseId>, StoreError> {
        self.write("lease an instance", |transaction| {
            let (wanted, key): (_, &dyn ToSql) = match &lease.leased {
                Leased::Instance(instance) => (RUNNING_INSTANCE, instance),
                Leased::Service(service) => (SERVICE, service),
            };
            let acquired: Option<(LeaseId, ServiceId)> = transaction
                .prepare_cached(&format!(
                    "INSERT INTO leases (instance_id, service_id, run_id, test,
                                         owner_pid, owner_start_ticks, owner_boot_id, acquired_at)
                     SELECT instance_id, service_id, ?2, ?3, ?4, ?5, ?6, ?7 FROM ({wanted}) WHERE TRUE
                     ON CONFLICT (instance_id) WHERE released_at IS NULL DO NOTHING RETURNING id, service_id"
                ))?
                .query_row(
                    params![
                        key,
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
    let (instance, service) = (row.get("instance_id")?, row.get("service_id")?);
    Ok(LeaseRow {
        id: row.get("id")?,
        service,
        lease: NewLease {
            leased: Option::map_or(instance, Leased::Service(service), Leased::Instance),
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
            leased: Leased::Instance(instance.clone()),
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
    fn many_tests_lease_a_service_and_its_instances_stay_their_own() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "api");
        let shared = |acquired_at| NewLease {
            leased: Leased::Service(service),
            ..lease(&InstanceId(String::new()), acquired_at)
        };
        // Before its first instance runs, too: who wants it starts it.
        let first = store.acquire_lease(&shared(1)).unwrap().unwrap();
        let id = journalled(&mut store, service, "api-1", 0).id;
        store.record_ready(&id, at(2)).unwrap();
        let second = store.acquire_lease(&shared(3)).unwrap().unwrap();
        let open = store.open_leases().unwrap();
        assert_eq!(
            open.iter().map(|row| row.id).collect::<Vec<_>>(),
            [first, second]
        );
        assert!(
            open.iter()
                .all(|row| row.lease.leased == Leased::Service(service))
        );

        assert!(store.acquire_lease(&lease(&id, 4)).unwrap().is_some());
        assert_eq!(store.acquire_lease(&lease(&id, 5)).unwrap(), None);
        // An instance ends; the service is still wanted, and may have others.
        store
            .record_ended(&id, Ending::Stopped, &InstanceExit::default(), at(6))
            .unwrap();
        assert_eq!(store.open_leases().unwrap(), open);
        assert!(store.release_lease(first, at(7)).unwrap());
        assert!(!store.release_lease(first, at(8)).unwrap());
        assert_eq!(store.open_leases().unwrap().len(), 1);
        let unknown = NewLease {
            leased: Leased::Service(ServiceId(99)),
            ..shared(9)
        };
        assert_eq!(store.acquire_lease(&unknown).unwrap(), None);
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
        let oldest = store.open_leases().unwrap().remove(0);
        assert_eq!(oldest.lease.leased, Leased::Instance(held));
    }
}

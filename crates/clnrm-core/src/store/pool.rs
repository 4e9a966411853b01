//! Warm instances: handed out once each, and given back clean by whoever holds them.
//!
//! An instance is free exactly while it is running and has a time until which it stays warm. Its owner columns name the
//! command that holds it, or held it last.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::instances::instance_row;
use super::rows::{InstanceId, InstanceRow, LeaseId, PastLease, PoolUse, RunId, ServiceId};
use super::sql_types::{micros, time};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::config::identity::Digest;
use crate::procfs::ProcessIdentity;
use crate::services::service_manager::PoolSlots;

/// Who wants a warm instance, and of what.
#[derive(Debug, Clone)]
pub struct WarmRequest {
    /// The service.
    pub service: ServiceId,
    /// The definition that the instance must have been started from.
    pub digest: Digest,
    /// Of a container: the image that it must have been started from.
    pub image_id: Option<String>,
    /// The run that wants it.
    pub run: RunId,
    /// The test.
    pub test: String,
    /// The command.
    pub owner: ProcessIdentity,
    /// Now: what is past its time is not handed out.
    pub at: Timestamp,
}

/// A warm instance that is now leased.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmLease {
    /// The instance.
    pub instance: InstanceRow,
    /// Its lease.
    pub lease: LeaseId,
}

/// A clean instance that may be handed out from now on.
#[derive(Debug, Clone)]
pub struct CleanInstance {
    /// The instance.
    pub instance: InstanceId,
    /// The lease that ends with this; `None` = it has not served yet.
    pub lease: Option<LeaseId>,
    /// Now.
    pub at: Timestamp,
    /// It is stopped then, unless somebody leases it before.
    pub warm_until: Timestamp,
    /// Free instances that the pool may have with it.
    pub size: u32,
    /// How long its reset and verification took; `None` = it is fresh.
    pub cleaned_in: Option<Duration>,
}

/// What became of a clean instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenBack {
    /// It is free.
    Free,
    /// The pool has enough: its holder must stop it.
    Surplus,
    /// It is not the giver's any more: somebody has stopped it.
    Gone,
}

impl Store {
    /// Leases a warm instance: the one that was freed last, because its caches are warm. `None` = none is free.
    pub fn claim_warm(&mut self, request: &WarmRequest) -> Result<Option<WarmLease>, StoreError> {
        self.write("lease a warm instance", |transaction| {
            let owner = &request.owner;
            let instance = transaction
                .prepare_cached(
                    "UPDATE instances SET warm_until = NULL, run_id = ?4,
                                          owner_pid = ?5, owner_start_ticks = ?6, owner_boot_id = ?7
                     WHERE id = (SELECT id FROM instances WHERE service_id = ?1 AND digest = ?2 AND state = 'running'
                                 AND warm_until > ?3 AND (?8 IS NULL OR image_id = ?8) ORDER BY warm_until DESC, id LIMIT 1)
                     RETURNING *",
                )?
                .query_row(
                    params![
                        request.service,
                        request.digest,
                        request.at.as_millis(),
                        request.run,
                        owner.pid,
                        owner.start_ticks.cast_signed(),
                        owner.boot_id,
                        request.image_id
                    ],
                    instance_row,
                )
                .optional()?;
            let Some(instance) = instance else {
                return Ok(None);
            };
            // The unique index refuses a second open lease: a double hand-out would be an error here.
            let lease = transaction
                .prepare_cached(
                    "INSERT INTO leases (instance_id, service_id, run_id, test, owner_pid, owner_start_ticks,
                                         owner_boot_id, acquired_at, warm)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1) RETURNING id",
                )?
                .query_row(
                    params![
                        instance.start.id,
                        request.service,
                        request.run,
                        request.test,
                        owner.pid,
                        owner.start_ticks.cast_signed(),
                        owner.boot_id,
                        request.at.as_millis()
                    ],
                    |row| row.get(0),
                )?;
            Ok(Some(WarmLease { instance, lease }))
        })
    }

    /// Makes a clean instance free, and ends the lease under which it was cleaned.
    pub fn give_back_warm(&mut self, clean: &CleanInstance) -> Result<GivenBack, StoreError> {
        self.write("give an instance back", |transaction| {
            if !still_held(transaction, &clean.instance, clean.lease)? {
                return Ok(GivenBack::Gone);
            }
            let made_free = transaction
                .prepare_cached(
                    "UPDATE instances SET warm_until = ?2, uses = uses + ?3, cleaned_us = ?4
                     WHERE id = ?1 AND (SELECT count(*) FROM instances AS free
                         WHERE free.service_id = instances.service_id AND free.digest = instances.digest
                         AND free.state = 'running' AND free.warm_until > ?5) < ?6",
                )?
                .execute(params![
                    clean.instance,
                    clean.warm_until.as_millis(),
                    clean.lease.is_some(),
                    clean.cleaned_in.map(micros),
                    clean.at.as_millis(),
                    clean.size
                ])?;
            if made_free == 0 {
                return Ok(GivenBack::Surplus);
            }
            if let Some(lease) = clean.lease {
                transaction
                    .prepare_cached("UPDATE leases SET released_at = ?2 WHERE id = ?1")?
                    .execute(params![lease, clean.at.as_millis()])?;
            }
            Ok(GivenBack::Free)
        })
    }

    /// Takes a free instance out of its pool, to be stopped: one whose time was up before `expired_at`, or (`None`) any.
    /// `false` = it is not free (any more), or has time left.
    pub fn retire_warm(
        &mut self,
        instance: &InstanceId,
        expired_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.change(
            instance,
            "UPDATE instances SET state = 'stopping', warm_until = NULL
             WHERE id = ?1 AND state = 'running' AND warm_until IS NOT NULL AND (?2 IS NULL OR warm_until <= ?2)",
            params![instance, expired_at.map(Timestamp::as_millis)],
        )
    }

    /// Takes an instance from a holder that is gone, to be stopped: nobody knows what state it is in.
    /// `false` = somebody else has it, or it is free.
    pub fn take_back(
        &mut self,
        instance: &InstanceId,
        holder: &ProcessIdentity,
    ) -> Result<bool, StoreError> {
        self.change(
            instance,
            "UPDATE instances SET state = 'stopping'
             WHERE id = ?1 AND state = 'running' AND warm_until IS NULL
             AND owner_pid = ?2 AND owner_start_ticks = ?3 AND owner_boot_id = ?4",
            params![
                instance,
                holder.pid,
                holder.start_ticks.cast_signed(),
                holder.boot_id
            ],
        )
    }

    /// Records what the verification of a fresh instance gave.
    pub fn record_fresh_output(
        &mut self,
        instance: &InstanceId,
        output: &str,
    ) -> Result<bool, StoreError> {
        self.change(
            instance,
            "UPDATE instances SET fresh_output = ?2 WHERE id = ?1 AND stopped_at IS NULL",
            params![instance, output],
        )
    }

    /// What the verification of an instance gave when it was fresh; `None` = that is not known.
    pub fn fresh_output(&self, instance: &InstanceId) -> Result<Option<String>, StoreError> {
        self.read("read an instance", |connection| {
            let found = connection
                .prepare_cached("SELECT fresh_output FROM instances WHERE id = ?1")?
                .query_row([instance], |row| row.get(0))
                .optional()?;
            Ok(found.flatten())
        })
    }

    /// The live instances of a pool.
    pub fn pool_slots(
        &self,
        service: ServiceId,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<PoolSlots, StoreError> {
        self.read("read a pool", |connection| {
            connection
                .prepare_cached(
                    "SELECT count(*) FILTER (WHERE state = 'running' AND warm_until > ?3),
                            count(*) FILTER (WHERE state = 'starting'),
                            count(*) FILTER (WHERE state = 'running' AND warm_until IS NULL)
                     FROM instances WHERE service_id = ?1 AND digest = ?2 AND pooled = 1 AND stopped_at IS NULL",
                )?
                .query_row(params![service, digest, at.as_millis()], |row| {
                    Ok(PoolSlots {
                        free: row.get(0)?,
                        starting: row.get(1)?,
                        held: row.get(2)?,
                    })
                })
        })
    }

    /// Records how long a test waited for its instance.
    pub fn record_wait(&mut self, lease: LeaseId, wait: Duration) -> Result<(), StoreError> {
        self.write("record a lease", |transaction| {
            transaction
                .prepare_cached("UPDATE leases SET wait_us = ?2 WHERE id = ?1")?
                .execute(params![lease, micros(wait)])
                .map(drop)
        })
    }

    /// The tests that held an instance, newest first.
    pub fn lease_history(
        &self,
        instance: &InstanceId,
        limit: u32,
    ) -> Result<Vec<PastLease>, StoreError> {
        self.read("read the leases", |connection| {
            connection
                .prepare_cached(
                    "SELECT id, run_id, test, acquired_at FROM leases WHERE instance_id = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map(params![instance, limit], |row| {
                    Ok(PastLease {
                        id: row.get(0)?,
                        run: row.get(1)?,
                        test: row.get(2)?,
                        acquired_at: time(row, 3)?,
                    })
                })?
                .collect()
        })
    }

    /// How the newest leases of a service were served.
    pub fn pool_use(&self, service: ServiceId, limit: u32) -> Result<PoolUse, StoreError> {
        self.read("read the leases", |connection| {
            connection
                .prepare_cached(
                    "SELECT count(*), count(*) FILTER (WHERE warm), sum(wait_us) FILTER (WHERE warm),
                            count(wait_us) FILTER (WHERE warm)
                     FROM (SELECT warm, wait_us FROM leases WHERE service_id = ?1 ORDER BY id DESC LIMIT ?2)",
                )?
                .query_row(params![service, limit], |row| {
                    let total: Option<i64> = row.get(2)?;
                    Ok(PoolUse {
                        leases: row.get(0)?,
                        warm: row.get(1)?,
                        waited: total
                            .and_then(|total| u64::try_from(total).ok())
                            .map(Duration::from_micros),
                        waits: row.get(3)?,
                    })
                })
        })
    }
}

/// Whether the instance runs, is not free, and is held under this lease (under none, where none is given).
fn still_held(
    transaction: &Transaction<'_>,
    instance: &InstanceId,
    lease: Option<LeaseId>,
) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached(
            "SELECT 1 FROM instances WHERE id = ?1 AND state = 'running' AND warm_until IS NULL
             AND ?2 IS (SELECT id FROM leases WHERE instance_id = ?1 AND released_at IS NULL)",
        )?
        .exists(params![instance, lease])
}

#[cfg(test)]
mod tests {
    use super::super::rows::{
        Ending, InstanceExit, InstanceState, Leased, NewLease, StartedInstance,
    };
    use super::super::tests::{at, identity, journalled, service, store};
    use super::*;

    const DIGEST: &str = "0011223344556677";

    fn request(store: &mut Store, service: ServiceId, now: i64) -> WarmRequest {
        let owner = identity(9);
        WarmRequest {
            service,
            digest: Digest(DIGEST.to_owned()),
            image_id: None,
            run: store.begin_run(&owner, true, at(0)).unwrap(),
            test: "api".into(),
            owner,
            at: at(now),
        }
    }

    fn clean(instance: &InstanceId, lease: Option<LeaseId>, now: i64) -> CleanInstance {
        CleanInstance {
            instance: instance.clone(),
            lease,
            at: at(now),
            warm_until: at(now + 100),
            size: 2,
            cleaned_in: lease.map(|_| Duration::from_micros(800)),
        }
    }

    fn warm(store: &mut Store, service: ServiceId, id: &str, now: i64) -> InstanceId {
        let id = journalled(store, service, id, 0).id;
        store.record_ready(&id, at(1)).unwrap();
        let given = store.give_back_warm(&clean(&id, None, now)).unwrap();
        assert_eq!(given, GivenBack::Free);
        id
    }

    #[test]
    fn a_free_instance_is_handed_out_once_and_comes_back() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = warm(&mut store, service, "cache-1", 5);
        let request = request(&mut store, service, 10);
        let leased = store.claim_warm(&request).unwrap().unwrap();
        assert_eq!(leased.instance.start.id, id);
        assert_eq!(
            (&leased.instance.start.owner, leased.instance.start.run),
            (&request.owner, Some(request.run)),
            "it is the claimer's now"
        );
        assert_eq!(
            (leased.instance.uses, leased.instance.warm_until),
            (0, None)
        );
        assert_eq!(store.claim_warm(&request).unwrap(), None);
        let open = store.open_leases().unwrap();
        assert_eq!((open.len(), open[0].id), (1, leased.lease));
        assert!(!store.retire_warm(&id, None).unwrap(), "it is not free");

        let given = store.give_back_warm(&clean(&id, Some(leased.lease), 20));
        assert_eq!(given.unwrap(), GivenBack::Free);
        assert!(store.open_leases().unwrap().is_empty());
        let again = store.claim_warm(&request).unwrap().unwrap();
        assert_eq!(again.instance.uses, 1);
        assert_eq!(again.instance.cleaned_in, Some(Duration::from_micros(800)));
        let history = store.lease_history(&id, 9).unwrap();
        assert_eq!(
            history.iter().map(|past| past.id).collect::<Vec<_>>(),
            [again.lease, leased.lease]
        );
    }

    #[test]
    fn what_is_past_its_time_changed_or_stopping_is_not_handed_out() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = warm(&mut store, service, "cache-1", 5);
        let wanted = request(&mut store, service, 105);
        assert_eq!(store.claim_warm(&wanted).unwrap(), None, "its time is up");
        let edited = WarmRequest {
            digest: Digest("other".to_owned()),
            at: at(10),
            ..wanted.clone()
        };
        assert_eq!(store.claim_warm(&edited).unwrap(), None);
        assert!(!store.retire_warm(&id, Some(at(104))).unwrap());
        assert!(store.retire_warm(&id, Some(at(105))).unwrap());
        let early = WarmRequest {
            at: at(10),
            ..wanted
        };
        assert_eq!(store.claim_warm(&early).unwrap(), None, "it is stopping");
        let given = store.give_back_warm(&clean(&id, None, 11)).unwrap();
        assert_eq!(given, GivenBack::Gone);
    }

    #[test]
    fn an_instance_of_an_older_image_is_not_handed_out() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "app");
        let id = warm(&mut store, service, "app-1", 1_000);
        let of_image = |store: &mut Store, image: &str| WarmRequest {
            image_id: Some(image.to_owned()),
            ..request(store, service, 10)
        };
        let started = StartedInstance {
            container_id: Some("c1".to_owned()),
            image_id: Some("old".to_owned()),
            ..StartedInstance::default()
        };
        store.record_started(&id, &started).unwrap();
        let new = of_image(&mut store, "new");
        assert_eq!(store.claim_warm(&new).unwrap(), None);
        let old = of_image(&mut store, "old");
        assert!(store.claim_warm(&old).unwrap().is_some());
    }

    #[test]
    fn only_the_holder_gives_back_and_only_up_to_the_size() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = warm(&mut store, service, "cache-1", 5);
        let request = request(&mut store, service, 10);
        let leased = store.claim_warm(&request).unwrap().unwrap();
        for wrong in [None, Some(LeaseId(leased.lease.0 + 1))] {
            let given = store.give_back_warm(&clean(&id, wrong, 11)).unwrap();
            assert_eq!(given, GivenBack::Gone, "{wrong:?}");
        }
        warm(&mut store, service, "cache-2", 6);
        warm(&mut store, service, "cache-3", 6);
        let given = store.give_back_warm(&clean(&id, Some(leased.lease), 12));
        assert_eq!(given.unwrap(), GivenBack::Surplus);
        assert_eq!(store.open_leases().unwrap().len(), 1, "it stays held");
        let slots = store
            .pool_slots(service, &Digest(DIGEST.to_owned()), at(12))
            .unwrap();
        assert_eq!((slots.free, slots.held, slots.starting), (2, 1, 0));
    }

    #[test]
    fn only_a_holder_that_did_not_change_is_taken_from() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = warm(&mut store, service, "cache-1", 5);
        let starter = store.instance(&id).unwrap().unwrap().start.owner;
        assert!(!store.take_back(&id, &starter).unwrap(), "it is free");
        let request = request(&mut store, service, 10);
        store.claim_warm(&request).unwrap().unwrap();
        assert!(!store.take_back(&id, &starter).unwrap(), "it was claimed");
        assert!(store.take_back(&id, &request.owner).unwrap());
        let row = store.instance(&id).unwrap().unwrap();
        assert_eq!(row.state, InstanceState::Stopping);
        store
            .record_ended(&id, Ending::Lost, &InstanceExit::default(), at(20))
            .unwrap();
        assert!(store.open_leases().unwrap().is_empty());
    }

    #[test]
    fn use_counts_warm_leases_and_their_waits() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        assert_eq!(store.pool_use(service, 9).unwrap(), PoolUse::default());
        let id = warm(&mut store, service, "cache-1", 5);
        let request = request(&mut store, service, 10);
        let leased = store.claim_warm(&request).unwrap().unwrap();
        let wait = Duration::from_micros(700);
        store.record_wait(leased.lease, wait).unwrap();
        let cold = journalled(&mut store, service, "cache-2", 0).id;
        store.record_ready(&cold, at(1)).unwrap();
        let cold = NewLease {
            leased: Leased::Instance(cold),
            run: None,
            test: "api".into(),
            owner: identity(9),
            acquired_at: at(3),
        };
        store.acquire_lease(&cold).unwrap().unwrap();
        store.record_fresh_output(&id, "empty").unwrap();
        assert_eq!(store.fresh_output(&id).unwrap().as_deref(), Some("empty"));
        assert_eq!(
            store.pool_use(service, 9).unwrap(),
            PoolUse {
                leases: 2,
                warm: 1,
                waited: Some(wait),
                waits: 1
            }
        );
    }
}

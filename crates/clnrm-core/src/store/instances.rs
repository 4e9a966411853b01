//! Instances: journalled before they are spawned, forgotten after their directory is gone.
//!
//! Every change says whether it happened: an instance that has ended stays ended, whatever a slower command reports.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Params, Row, Transaction, params};

use super::rows::{
    Ending, InstanceExit, InstanceId, InstanceRow, InstanceState, NewInstance, PrunableInstance,
    RecordedEngine, RunId, ServiceId, StartedInstance,
};
use super::sql_types::{json, optional_time, owner, path, shim, time, to_json};
use super::{Store, StoreError, path_text};
use crate::clock::Timestamp;
use crate::config::placeholder::{HOST, Where};
use crate::folder::data_dir;

impl Store {
    /// Records an instance that is about to be spawned, so that a crash in between loses nothing.
    pub fn journal_instance(&mut self, new: &NewInstance) -> Result<(), StoreError> {
        let dir = path_text(&new.dir)?;
        self.write("record an instance", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO instances (id, service_id, run_id, digest, state, runtime, dir, ports, address,
                                            owner_pid, owner_start_ticks, owner_boot_id, created_at, pooled)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                )?
                .execute(params![
                    new.id,
                    new.service,
                    new.run,
                    new.digest,
                    InstanceState::Starting,
                    new.runtime,
                    dir,
                    to_json(&new.reached)?,
                    new.reached.address(),
                    new.owner.pid,
                    new.owner.start_ticks.cast_signed(),
                    new.owner.boot_id,
                    new.created_at.as_millis(),
                    new.pooled,
                ])
                .map(drop)
        })
    }

    /// Records an instance that runs, and where it turned out to be. `false` = it has already ended: somebody must end it.
    pub fn record_started(
        &mut self,
        instance: &InstanceId,
        started: &StartedInstance,
    ) -> Result<bool, StoreError> {
        let ports = to_json(&started.reached)
            .map_err(|error| StoreError::from_sqlite(&self.path, "record an instance", error))?;
        let (shim, engine) = (started.shim.as_ref(), started.engine.as_ref());
        self.change(
            instance,
            "UPDATE instances SET container_id = ?2, main_pid = ?3, ports = ?4, address = ?5,
                                  engine_id = ?6, engine_address = ?7, image_id = ?8, cpus = ?9,
                                  shim_pid = ?10, shim_start_ticks = ?11, shim_boot_id = ?12
             WHERE id = ?1 AND stopped_at IS NULL",
            params![
                instance,
                started.container_id,
                started.main_pid,
                ports,
                started.reached.address(),
                engine.map(|engine| &engine.id),
                engine.map(|engine| &engine.address),
                started.image_id,
                started.cpus,
                shim.map(|shim| shim.pid),
                shim.map(|shim| shim.start_ticks.cast_signed()),
                shim.map(|shim| &shim.boot_id),
            ],
        )
    }

    /// Lets the rows follow their folders after the project was moved or renamed: every command does so before it reads
    /// them. `false` = they are where they were.
    pub fn follow_moved_folders(&mut self, instances_dir: &Path) -> Result<bool, StoreError> {
        let dir = path_text(instances_dir)?;
        let has_moved = self.read("read the instances", |connection| {
            connection
                .prepare_cached("SELECT 1 FROM instances WHERE dir <> ?1 || '/' || id LIMIT 1")?
                .exists([dir])
        })?;
        if has_moved {
            self.write("record an instance", |transaction| {
                transaction
                    .prepare_cached("UPDATE instances SET dir = ?1 || '/' || id")?
                    .execute([dir])
                    .map(drop)
            })?;
        }
        Ok(has_moved)
    }

    /// The backends of all instances on record, ended ones included.
    pub fn backends_used(&self) -> Result<BTreeSet<String>, StoreError> {
        self.read("read the instances", |connection| {
            connection
                .prepare_cached("SELECT DISTINCT runtime FROM instances")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Records that a starting instance is ready. `false` = somebody has stopped it meanwhile.
    pub fn record_ready(
        &mut self,
        instance: &InstanceId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change(
            instance,
            "UPDATE instances SET state = 'running', ready_at = ?2 WHERE id = ?1 AND state = 'starting'",
            params![instance, at.as_millis()],
        )
    }

    /// Records that an instance is asked to stop, leased or not. `false` = it has already ended.
    pub fn record_stopping(&mut self, instance: &InstanceId) -> Result<bool, StoreError> {
        self.change(
            instance,
            "UPDATE instances SET state = 'stopping' WHERE id = ?1 AND stopped_at IS NULL",
            [instance],
        )
    }

    /// Claims a running instance for being stopped, unless a test has leased it: what scale-in may take.
    /// `false` = it is leased, or not running.
    pub fn record_stopping_if_idle(&mut self, instance: &InstanceId) -> Result<bool, StoreError> {
        self.change(
            instance,
            "UPDATE instances SET state = 'stopping' WHERE id = ?1 AND state = 'running'
             AND NOT EXISTS (SELECT 1 FROM leases WHERE instance_id = ?1 AND released_at IS NULL)",
            [instance],
        )
    }

    /// Records that nothing of an instance is left; its lease ends and its last reading goes with it.
    /// `false` = its end was already recorded, and that first record stands.
    pub fn record_ended(
        &mut self,
        instance: &InstanceId,
        ending: Ending,
        exit: &InstanceExit,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self.write("record the end of an instance", |transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE instances SET state = ?2, exit_code = ?3, exit_signal = ?4, exit_message = ?5, stopped_at = ?6
                     WHERE id = ?1 AND stopped_at IS NULL",
                )?
                .execute(params![
                    instance,
                    InstanceState::from(ending),
                    exit.code,
                    exit.signal,
                    exit.message,
                    at.as_millis()
                ])?;
            if changed == 0 {
                return is_known(transaction, instance);
            }
            transaction
                .prepare_cached("UPDATE leases SET released_at = ?2 WHERE instance_id = ?1 AND released_at IS NULL")?
                .execute(params![instance, at.as_millis()])?;
            transaction
                .prepare_cached("DELETE FROM readings WHERE instance_id = ?1")?
                .execute([instance])?;
            Ok(Changed::Yes)
        })?;
        self.settle(changed, instance)
    }

    /// Every instance of which something may still run, oldest first.
    pub fn live_instances(&self) -> Result<Vec<InstanceRow>, StoreError> {
        self.instances("WHERE stopped_at IS NULL ORDER BY created_at, id", [])
    }

    /// The live instances of one service, oldest first.
    pub fn live_instances_of(&self, service: ServiceId) -> Result<Vec<InstanceRow>, StoreError> {
        self.instances(
            "WHERE service_id = ?1 AND stopped_at IS NULL ORDER BY created_at, id",
            [service],
        )
    }

    /// The newest instances of one service, ended ones included, newest first.
    pub fn newest_instances(
        &self,
        service: ServiceId,
        limit: u32,
    ) -> Result<Vec<InstanceRow>, StoreError> {
        self.instances(
            "WHERE service_id = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2",
            params![service, limit],
        )
    }

    /// The instances that a run started, ended ones included, oldest first.
    pub fn instances_of_run(&self, run: RunId) -> Result<Vec<InstanceRow>, StoreError> {
        self.instances("WHERE run_id = ?1 ORDER BY created_at, id", [run])
    }

    /// One instance; `None` = unknown or forgotten.
    pub fn instance(&self, instance: &InstanceId) -> Result<Option<InstanceRow>, StoreError> {
        self.instances("WHERE id = ?1", [instance])
            .map(|mut rows| rows.pop())
    }

    /// How long the newest instances of a service took from the decision to ready, newest first.
    pub fn start_durations(
        &self,
        service: ServiceId,
        limit: u32,
    ) -> Result<Vec<Duration>, StoreError> {
        self.read("read start times", |connection| {
            connection
                .prepare_cached(
                    "SELECT created_at, ready_at FROM instances WHERE service_id = ?1 AND ready_at IS NOT NULL
                     ORDER BY created_at DESC, id DESC LIMIT ?2",
                )?
                .query_map(params![service, limit], |row| {
                    Ok(time(row, 1)?.since(time(row, 0)?))
                })?
                .collect()
        })
    }

    /// Ended instances beyond the newest `keep_per_service` of their service. Remove the directory of each, then
    /// [`Store::forget_instances`]: in this order a crash in between leaves nothing behind that nobody knows of.
    pub fn prunable_instances(
        &self,
        keep_per_service: u32,
    ) -> Result<Vec<PrunableInstance>, StoreError> {
        self.read("read ended instances", |connection| {
            connection
                .prepare_cached(
                    "SELECT id, dir FROM (
                         SELECT id, dir, row_number() OVER (
                             PARTITION BY service_id ORDER BY created_at DESC, id DESC) AS age
                         FROM instances WHERE stopped_at IS NOT NULL)
                     WHERE age > ?1",
                )?
                .query_map([keep_per_service], |row| {
                    Ok(PrunableInstance {
                        id: row.get("id")?,
                        dir: path(row, "dir")?,
                    })
                })?
                .collect()
        })
    }

    /// Forgets ended instances. Live ones stay.
    pub fn forget_instances(&mut self, instances: &[InstanceId]) -> Result<(), StoreError> {
        self.write("forget ended instances", |transaction| {
            let mut forget = transaction
                .prepare_cached("DELETE FROM instances WHERE id = ?1 AND stopped_at IS NOT NULL")?;
            for instance in instances {
                forget.execute([instance])?;
            }
            Ok(())
        })
    }

    fn instances(
        &self,
        condition: &str,
        parameters: impl Params,
    ) -> Result<Vec<InstanceRow>, StoreError> {
        self.read("read the instances", |connection| {
            connection
                .prepare_cached(&format!("SELECT * FROM instances {condition}"))?
                .query_map(parameters, instance_row)?
                .collect()
        })
    }

    pub(super) fn change(
        &mut self,
        instance: &InstanceId,
        update: &str,
        parameters: impl Params,
    ) -> Result<bool, StoreError> {
        let changed = self.write("record an instance", |transaction| {
            match transaction.prepare_cached(update)?.execute(parameters)? {
                0 => is_known(transaction, instance),
                _ => Ok(Changed::Yes),
            }
        })?;
        self.settle(changed, instance)
    }

    fn settle(&self, changed: Changed, instance: &InstanceId) -> Result<bool, StoreError> {
        match changed {
            Changed::Yes => Ok(true),
            Changed::No => Ok(false),
            Changed::Unknown => Err(StoreError::UnknownInstance {
                path: self.path.clone(),
                instance: instance.0.clone(),
            }),
        }
    }
}

#[derive(Clone, Copy)]
enum Changed {
    Yes,
    /// Its state did not allow it.
    No,
    /// There is no such instance.
    Unknown,
}

fn is_known(transaction: &Transaction<'_>, instance: &InstanceId) -> rusqlite::Result<Changed> {
    let known = transaction
        .prepare_cached("SELECT 1 FROM instances WHERE id = ?1")?
        .exists([instance])?;
    Ok(if known { Changed::No } else { Changed::Unknown })
}

fn engine(row: &Row<'_>) -> rusqlite::Result<Option<RecordedEngine>> {
    let id: Option<String> = row.get("engine_id")?;
    let address: Option<String> = row.get("engine_address")?;
    Ok(id
        .zip(address)
        .map(|(id, address)| RecordedEngine { id, address }))
}

/// Old rows have the host in the address alone.
fn reached(row: &Row<'_>, dir: &Path) -> rusqlite::Result<Where> {
    let mut reached: Where = json(row, "ports")?;
    if reached.host.is_empty() {
        let address: Option<String> = row.get("address")?;
        let host = address
            .as_deref()
            .and_then(|address| address.rsplit_once(':'));
        host.map_or(HOST, |(host, _)| host)
            .clone_into(&mut reached.host);
    }
    reached.data_dir = data_dir(dir);
    Ok(reached)
}

pub(super) fn instance_row(row: &Row<'_>) -> rusqlite::Result<InstanceRow> {
    let dir = path(row, "dir")?;
    Ok(InstanceRow {
        start: NewInstance {
            id: row.get("id")?,
            service: row.get("service_id")?,
            run: row.get("run_id")?,
            digest: row.get("digest")?,
            runtime: row.get("runtime")?,
            pooled: row.get("pooled")?,
            reached: reached(row, &dir)?,
            dir,
            owner: owner(row)?,
            created_at: time(row, "created_at")?,
        },
        state: row.get("state")?,
        shim: shim(row)?,
        container_id: row.get("container_id")?,
        engine: engine(row)?,
        image_id: row.get("image_id")?,
        cpus: row.get("cpus")?,
        main_pid: row.get("main_pid")?,
        ready_at: optional_time(row, "ready_at")?,
        stopped_at: optional_time(row, "stopped_at")?,
        exit: InstanceExit {
            code: row.get("exit_code")?,
            signal: row.get("exit_signal")?,
            message: row.get("exit_message")?,
        },
        warm_until: optional_time(row, "warm_until")?,
        uses: row.get("uses")?,
        cleaned_in: row
            .get::<_, Option<i64>>("cleaned_us")?
            .map(|micros| Duration::from_micros(micros.unsigned_abs())),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, identity, journalled, service, store};
    use super::*;

    #[test]
    fn rows_follow_their_folders() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let new = journalled(&mut store, service, "cache-1", 1_000);
        let dir = |store: &Store| store.instance(&new.id).unwrap().unwrap().start.dir;
        let moved = Path::new("/moved/.clnrm/instances");
        assert!(store.follow_moved_folders(moved).unwrap());
        assert_eq!(dir(&store), moved.join("cache-1"));
        assert!(!store.follow_moved_folders(moved).unwrap());
    }

    #[test]
    fn what_is_recorded_of_a_container_is_read() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let new = journalled(&mut store, service, "cache-1", 1_000);
        let engine = RecordedEngine {
            id: "e1".to_owned(),
            address: "unix:///engine.sock".to_owned(),
        };
        let started = StartedInstance {
            container_id: Some("c1".to_owned()),
            engine: Some(engine.clone()),
            image_id: Some("sha256:1".to_owned()),
            ..StartedInstance::default()
        };
        assert!(store.record_started(&new.id, &started).unwrap());
        let row = store.instance(&new.id).unwrap().unwrap();
        assert_eq!(
            (row.container_id, row.engine, row.image_id),
            (Some("c1".to_owned()), Some(engine), started.image_id)
        );
    }

    #[test]
    fn where_an_instance_of_an_older_clnrm_is_reached_is_read() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let new = journalled(&mut store, service, "cache-1", 1_000);
        let mut read = |ports: &str, address: Option<&str>| {
            let change = "UPDATE instances SET ports = ?2, address = ?3 WHERE id = ?1";
            let changed = store.change(&new.id, change, params![new.id, ports, address]);
            assert!(changed.unwrap());
            store.instance(&new.id).unwrap().unwrap().start.reached
        };
        let process = read(
            r#"{"main":6379,"named":{"admin":9000}}"#,
            Some("127.0.0.1:6379"),
        );
        assert_eq!(process, new.reached);
        let inside = r#"{"name":"c","ip":"172.18.0.2","port":80,"named_ports":{},"data_dir":"/d"}"#;
        let remote = read(
            &format!(r#"{{"main":40001,"named":{{}},"inside":{inside}}}"#),
            Some("builder:40001"),
        );
        assert_eq!(remote.address().as_deref(), Some("builder:40001"));
        assert_eq!(remote.inside.unwrap().port, Some(80));
        let nowhere = read(r#"{"main":null,"named":{}}"#, None);
        assert_eq!((nowhere.host.as_str(), nowhere.port), ("127.0.0.1", None));
    }

    #[test]
    fn an_instance_lives_and_ends() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let new = journalled(&mut store, service, "cache-1", 1_000);
        let id = &new.id;
        assert_eq!(
            store.instance(id).unwrap().unwrap().state,
            InstanceState::Starting
        );

        let started = StartedInstance {
            shim: Some(identity(21)),
            main_pid: Some(22),
            reached: new.reached.clone(),
            ..StartedInstance::default()
        };
        assert!(store.record_started(id, &started).unwrap());
        assert!(store.record_ready(id, at(1_030)).unwrap());
        let row = store.live_instances_of(service).unwrap().remove(0);
        assert_eq!(row.start, new);
        assert_eq!(
            (row.state, row.main_pid),
            (InstanceState::Running, Some(22))
        );
        assert_eq!(row.shim, Some(identity(21)));
        assert_eq!(
            store.start_durations(service, 9).unwrap(),
            [Duration::from_millis(30)]
        );

        assert!(store.record_stopping(id).unwrap());
        let exit = InstanceExit {
            signal: Some(15),
            ..InstanceExit::default()
        };
        assert!(
            store
                .record_ended(id, Ending::Stopped, &exit, at(2_000))
                .unwrap()
        );
        assert!(store.live_instances().unwrap().is_empty());
        let row = store.newest_instances(service, 1).unwrap().remove(0);
        assert_eq!(
            (row.state, row.exit, row.stopped_at),
            (InstanceState::Stopped, exit, Some(at(2_000)))
        );
    }

    #[test]
    fn what_has_ended_stays_ended() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let id = journalled(&mut store, service, "cache-1", 1_000).id;
        let exit = InstanceExit {
            code: Some(3),
            ..InstanceExit::default()
        };
        assert!(
            store
                .record_ended(&id, Ending::Failed, &exit, at(1_500))
                .unwrap()
        );
        assert!(!store.record_ready(&id, at(1_600)).unwrap());
        assert!(
            !store
                .record_started(&id, &StartedInstance::default())
                .unwrap()
        );
        assert!(!store.record_stopping(&id).unwrap());
        assert!(
            !store
                .record_ended(&id, Ending::Lost, &InstanceExit::default(), at(9_000))
                .unwrap()
        );
        let row = store.instance(&id).unwrap().unwrap();
        assert_eq!(
            (row.state, row.exit.code, row.stopped_at),
            (InstanceState::Failed, Some(3), Some(at(1_500)))
        );
    }

    #[test]
    fn an_unknown_instance_is_an_error() {
        let (_dir, mut store) = store();
        let ghost = InstanceId("ghost-1".into());
        let error = store.record_ready(&ghost, at(1)).unwrap_err();
        assert!(
            matches!(error, StoreError::UnknownInstance { ref instance, .. } if instance == "ghost-1")
        );
    }

    #[test]
    fn retention_keeps_the_newest_and_everything_alive() {
        let (_dir, mut store) = store();
        let run = store.begin_run(&identity(1), false, at(0)).unwrap();
        store.finish_run(run, at(1)).unwrap();
        let (cache, web) = (service(&mut store, "cache"), service(&mut store, "web"));
        for number in 0..5 {
            let id = journalled(&mut store, cache, &format!("cache-{number}"), number).id;
            if number != 0 {
                store
                    .record_ended(&id, Ending::Stopped, &InstanceExit::default(), at(9))
                    .unwrap();
            }
        }
        let only = journalled(&mut store, web, "web-0", 0).id;
        store
            .record_ended(&only, Ending::Failed, &InstanceExit::default(), at(9))
            .unwrap();

        let mut prunable: Vec<_> = store
            .prunable_instances(2)
            .unwrap()
            .into_iter()
            .map(|p| p.id)
            .collect();
        prunable.sort();
        assert_eq!(
            prunable,
            [InstanceId("cache-1".into()), InstanceId("cache-2".into())]
        );
        prunable.push(InstanceId("cache-0".into()));
        store.forget_instances(&prunable).unwrap();
        assert!(store.prunable_instances(2).unwrap().is_empty());
        assert_eq!(store.newest_instances(cache, 9).unwrap().len(), 3);
        assert!(
            store
                .instance(&InstanceId("cache-0".into()))
                .unwrap()
                .is_some(),
            "it is alive"
        );
    }
}

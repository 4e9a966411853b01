//! Services and the runs that use them.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{OptionalExtension as _, Row, params};

use super::rows::{RunId, RunRow, ServiceId, ServiceRow};
use super::sql_types::{json, optional_time, owner, path, time, to_json};
use super::{Store, StoreError, path_text};
use crate::clock::Timestamp;
use crate::config::definition::ServiceDefinition;
use crate::procfs::ProcessIdentity;
use crate::services::service_manager::Sources;

impl Store {
    /// Finds or records a service. The same name and definition is the same service, whatever the file; the same name in
    /// the same file is the same service, edited; anything else is another service.
    pub fn register_service(
        &mut self,
        definition: &ServiceDefinition,
        file: &Path,
        now: Timestamp,
    ) -> Result<ServiceId, StoreError> {
        let file = path_text(file)?;
        let digest = definition.digest();
        self.write("record a service", |transaction| {
            let same: Option<ServiceId> = transaction
                .prepare_cached(
                    "SELECT id FROM services WHERE name = ?1 AND (digest = ?2 OR file = ?3)
                     ORDER BY digest = ?2 DESC LIMIT 1",
                )?
                .query_row(params![definition.name, digest, file], |row| row.get(0))
                .optional()?;
            let definition_json = to_json(definition)?;
            if let Some(id) = same {
                transaction
                    .prepare_cached(
                        "UPDATE services SET digest = ?2, definition = ?3, updated_at = ?4 WHERE id = ?1",
                    )?
                    .execute(params![id, digest, definition_json, now.as_millis()])?;
                return Ok(id);
            }
            transaction
                .prepare_cached(
                    "INSERT INTO services (name, file, digest, definition, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
                )?
                .query_row(
                    params![definition.name, file, digest, definition_json, now.as_millis()],
                    |row| row.get(0),
                )
        })
    }

    /// Every service, by name, then file.
    pub fn services(&self) -> Result<Vec<ServiceRow>, StoreError> {
        self.read("read the services", |connection| {
            connection
                .prepare_cached("SELECT * FROM services ORDER BY name, file")?
                .query_map([], service_row)?
                .collect()
        })
    }

    /// Where the metrics of each service come from; a service of which that was never recorded is left out.
    pub fn sources(&self) -> Result<BTreeMap<ServiceId, Sources>, StoreError> {
        self.read("read the sources of metrics", |connection| {
            connection
                .prepare_cached("SELECT id, sources FROM services WHERE sources IS NOT NULL")?
                .query_map([], |row| Ok((row.get("id")?, json(row, "sources")?)))?
                .collect()
        })
    }

    /// Records where each metric of a service comes from, or why it is absent.
    pub fn record_sources(
        &mut self,
        service: ServiceId,
        sources: &Sources,
    ) -> Result<(), StoreError> {
        self.write("record the sources of metrics", |transaction| {
            transaction
                .prepare_cached("UPDATE services SET sources = ?2 WHERE id = ?1")?
                .execute(params![service, to_json(sources)?])
                .map(drop)
        })
    }

    /// Records that a run begins.
    pub fn begin_run(
        &mut self,
        owner: &ProcessIdentity,
        keep: bool,
        now: Timestamp,
    ) -> Result<RunId, StoreError> {
        self.write("record a run", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO runs (owner_pid, owner_start_ticks, owner_boot_id, keep, started_at)
                     VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
                )?
                .query_row(
                    params![owner.pid, owner.start_ticks.cast_signed(), owner.boot_id, keep, now.as_millis()],
                    |row| row.get(0),
                )
        })
    }

    /// Records that a run ended; a run that has already ended keeps its first end.
    pub fn finish_run(&mut self, run: RunId, now: Timestamp) -> Result<(), StoreError> {
        self.write("record the end of a run", |transaction| {
            transaction
                .prepare_cached(
                    "UPDATE runs SET finished_at = ?2 WHERE id = ?1 AND finished_at IS NULL",
                )?
                .execute(params![run, now.as_millis()])
                .map(drop)
        })
    }

    /// Runs without an end, oldest first: each still runs, or was killed.
    pub fn unfinished_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.read("read the runs", |connection| {
            connection
                .prepare_cached("SELECT * FROM runs WHERE finished_at IS NULL ORDER BY id")?
                .query_map([], run_row)?
                .collect()
        })
    }

    /// Every run that is not forgotten, oldest first.
    pub fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.read("read the runs", |connection| {
            connection
                .prepare_cached("SELECT * FROM runs ORDER BY id")?
                .query_map([], run_row)?
                .collect()
        })
    }

    /// One run; `None` = unknown, or forgotten with its results.
    pub fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.read("read a run", |connection| {
            connection
                .prepare_cached("SELECT * FROM runs WHERE id = ?1")?
                .query_row([run], run_row)
                .optional()
        })
    }
}

fn service_row(row: &Row<'_>) -> rusqlite::Result<ServiceRow> {
    Ok(ServiceRow {
        id: row.get("id")?,
        name: row.get("name")?,
        file: path(row, "file")?,
        digest: row.get("digest")?,
        definition: json(row, "definition")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: row.get("id")?,
        owner: owner(row)?,
        keep: row.get("keep")?,
        started_at: time(row, "started_at")?,
        finished_at: optional_time(row, "finished_at")?,
        verdict: row.get("verdict")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, definition, identity, store};
    use super::*;
    use crate::services::service_manager::{Absent, Metric, Source};

    #[test]
    fn same_definition_in_two_files_is_one_service() {
        let (_dir, mut store) = store();
        let cache = definition("cache");
        let first = store
            .register_service(&cache, Path::new("/a"), at(1))
            .unwrap();
        let second = store
            .register_service(&cache, Path::new("/b"), at(2))
            .unwrap();
        assert_eq!(first, second);
        let rows = store.services().unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].definition, cache);
        assert_eq!(
            (rows[0].file.as_path(), rows[0].updated_at),
            (Path::new("/a"), at(2))
        );
    }

    #[test]
    fn an_edited_definition_keeps_its_service() {
        let (_dir, mut store) = store();
        let mut cache = definition("cache");
        let first = store
            .register_service(&cache, Path::new("/a"), at(1))
            .unwrap();
        let mut recorded = Sources::default();
        recorded.set(Metric::CpuPercent, Ok(Source::Procfs));
        recorded.set(Metric::ErrorRate, Err(Absent::NoRequests));
        store.record_sources(first, &recorded).unwrap();
        cache.cpus = Some(2.0);
        assert_eq!(
            store
                .register_service(&cache, Path::new("/a"), at(2))
                .unwrap(),
            first
        );
        let row = store.services().unwrap().remove(0);
        assert_eq!(row.digest, cache.digest());
        assert_eq!(row.definition.cpus, Some(2.0));

        let (other, file) = (definition("other"), Path::new("/a"));
        store.register_service(&other, file, at(3)).unwrap();
        assert_eq!(store.sources().unwrap(), [(first, recorded)].into());
    }

    #[test]
    fn sources_that_were_damaged_are_not_taken_for_absent() {
        let (_dir, mut store) = store();
        let service = store
            .register_service(&definition("cache"), Path::new("/a"), at(1))
            .unwrap();
        assert_eq!(store.sources().unwrap(), BTreeMap::new());
        store
            .write("damage", |transaction| {
                let damaged = r#"{"cpu_percent":{"Err":"gone"}}"#;
                transaction.execute(
                    "UPDATE services SET sources = ?2 WHERE id = ?1",
                    params![service, damaged],
                )
            })
            .unwrap();
        assert!(matches!(
            store.sources(),
            Err(StoreError::Unreadable { .. })
        ));
    }

    /// As a version of clnrm wrote it whose digests held absolute paths.
    #[test]
    fn a_history_under_an_old_digest_is_taken_over() {
        let (_dir, mut store) = store();
        let (cache, file) = (definition("cache"), Path::new("/a"));
        let first = store.register_service(&cache, file, at(1)).unwrap();
        store
            .write("make it old", |transaction| {
                transaction.execute(
                    "UPDATE services SET digest = 'old', definition = json_remove(definition, '$.folder')",
                    [],
                )
            })
            .unwrap();
        assert_eq!(
            store.services().unwrap()[0].definition.folder,
            Path::new("")
        );
        assert_eq!(store.register_service(&cache, file, at(2)).unwrap(), first);
        assert_eq!(store.services().unwrap()[0].digest, cache.digest());
    }

    #[test]
    fn other_definition_in_another_file_is_another_service() {
        let (_dir, mut store) = store();
        let mut cache = definition("cache");
        let first = store
            .register_service(&cache, Path::new("/a"), at(1))
            .unwrap();
        cache.cpus = Some(2.0);
        let second = store
            .register_service(&cache, Path::new("/b"), at(1))
            .unwrap();
        assert_ne!(first, second);
        // Both the edited one of its own file and the equal one of another would fit: equal wins.
        assert_eq!(
            store
                .register_service(&cache, Path::new("/a"), at(2))
                .unwrap(),
            second
        );
    }

    #[test]
    fn a_run_without_an_end_stays_visible() {
        let (_dir, mut store) = store();
        let (killed, ended) = (
            store.begin_run(&identity(7), true, at(1)).unwrap(),
            store.begin_run(&identity(8), false, at(2)).unwrap(),
        );
        store.finish_run(ended, at(3)).unwrap();
        store.finish_run(ended, at(9)).unwrap();
        let unfinished = store.unfinished_runs().unwrap();
        assert_eq!(unfinished.len(), 1);
        assert_eq!(
            (unfinished[0].id, &unfinished[0].owner),
            (killed, &identity(7))
        );
        assert_eq!(store.run(ended).unwrap().unwrap().finished_at, Some(at(3)));
    }
}

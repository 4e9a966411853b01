//! Opening, damage and limits; and what the tests of the other files share.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::exit::Fatal as _;
use crate::procfs::ProcessIdentity;
use crate::services::service_manager::ServiceMetrics;

#[path = "../../tests/fixtures/definition.rs"]
mod fixture;
pub(crate) use fixture::definition;

pub(crate) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn identity(pid: i32) -> ProcessIdentity {
    ProcessIdentity {
        pid,
        start_ticks: u64::MAX - 5,
        boot_id: "5f1c".into(),
    }
}

pub(crate) fn service(store: &mut Store, name: &str) -> ServiceId {
    store
        .register_service(&definition(name), Path::new("/project/a.clnrm.toml"), at(0))
        .unwrap()
}

pub(crate) fn journalled(
    store: &mut Store,
    service: ServiceId,
    id: &str,
    created_at: i64,
) -> NewInstance {
    let run = store.unfinished_runs().unwrap().first().map(|run| run.id);
    let new = NewInstance {
        id: InstanceId(id.into()),
        service,
        run,
        digest: crate::config::identity::Digest("0011223344556677".into()),
        runtime: "process".to_owned(),
        pooled: true,
        dir: PathBuf::from("/project/.clnrm/instances").join(id),
        reached: crate::config::placeholder::Where {
            host: "127.0.0.1".into(),
            port: Some(6379),
            named_ports: BTreeMap::from([("admin".into(), 9000)]),
            data_dir: PathBuf::from("/project/.clnrm/instances")
                .join(id)
                .join("data"),
            inside: None,
        },
        owner: identity(11),
        created_at: at(created_at),
    };
    store.journal_instance(&new).unwrap();
    new
}

/// Every file in `dir` that holds data, with its bytes: SQLite's shared memory is none, nor is an empty log.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().ends_with("-shm"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .filter(|(path, bytes)| !bytes.is_empty() || path.ends_with("state.db"))
        .collect()
}

#[test]
fn a_new_history_is_private_and_ignored_by_git() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join(".clnrm");
    assert!(Store::open_existing(&state_dir).unwrap().is_none());
    assert!(!state_dir.exists(), "looking creates nothing");

    let store = Store::open(&state_dir).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state_dir), 0o700);
    assert_eq!(mode(store.path()), 0o600);
    assert_eq!(
        fs::read_to_string(state_dir.join(".gitignore")).unwrap(),
        "*\n"
    );
    assert!(!state_dir.join("state.db.new").exists());

    let setting = |name| -> String {
        let value = |row: &rusqlite::Row<'_>| row.get_ref(0).map(|value| format!("{value:?}"));
        store
            .connection
            .pragma_query_value(None, name, value)
            .unwrap()
    };
    assert!(setting("journal_mode").contains("Text") && setting("synchronous") == "Integer(1)");
    assert_eq!(setting("foreign_keys"), "Integer(1)");
    assert_eq!(setting("busy_timeout"), "Integer(30000)");
    let mode: String = store
        .connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    assert!(Store::open_existing(&state_dir).unwrap().is_some());
}

#[test]
fn a_directory_of_the_user_gets_no_gitignore() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("main.rs"), "").unwrap();
    Store::open(dir.path()).unwrap();
    assert!(!dir.path().join(".gitignore").exists());
}

#[test]
fn leftovers_of_a_killed_creator_and_of_a_deleted_database_do_no_harm() {
    let (dir, mut store) = store();
    service(&mut store, "old");
    let log = fs::read(dir.path().join("state.db-wal")).unwrap();
    assert!(!log.is_empty());
    drop(store);
    fs::remove_file(dir.path().join("state.db")).unwrap();
    fs::write(dir.path().join("state.db-wal"), log).unwrap();
    fs::write(dir.path().join("state.db.new"), "half").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.services().unwrap().is_empty());
}

#[test]
fn what_is_damaged_is_reported_and_left_untouched() {
    let (dir, mut store) = store();
    service(&mut store, "cache");
    drop(store);
    let path = dir.path().join("state.db");
    let sound = fs::read(&path).unwrap();
    let cut = |length: usize| sound[..length].to_vec();
    for damaged in [
        Vec::new(),
        cut(50),
        cut(5_000),
        cut(sound.len() / 2),
        b"some text that is longer than the smallest page".repeat(20),
        vec![0; sound.len()],
    ] {
        fs::write(&path, &damaged).unwrap();
        let before = contents(dir.path());
        for error in [
            Store::open(dir.path()).unwrap_err(),
            Store::open_existing(dir.path()).unwrap_err(),
        ] {
            assert!(
                matches!(error, StoreError::Damaged { .. }),
                "{} bytes: {error:?}",
                damaged.len()
            );
            assert!(error.hint().unwrap().contains("mv "));
        }
        assert!(
            contents(dir.path()) == before,
            "{} bytes were touched",
            damaged.len()
        );
    }
}

#[test]
fn a_broken_page_that_is_met_later_stops_all_writing() {
    let (dir, mut store) = store();
    let service = service(&mut store, "cache");
    let samples: Vec<_> = (0..900)
        .map(|second| (service, ServiceMetrics::at(at(second * 1_000), 1)))
        .collect();
    store.append_samples(&samples).unwrap();
    let root: i64 = store
        .connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'raw_samples'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(store);
    let path = dir.path().join("state.db");
    let mut bytes = fs::read(&path).unwrap();
    let start = usize::try_from(root - 1).unwrap() * 4_096;
    bytes[start..start + 4_096].fill(0xAA);
    fs::write(&path, &bytes).unwrap();

    let mut store = Store::open(dir.path()).unwrap();
    store.begin_run(&identity(1), false, at(1)).unwrap(); // in the log, for closing to write back
    let error = store.raw_samples(service).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    let error = store.begin_run(&identity(1), false, at(1)).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    drop(store);
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_newer_history_is_reported_and_left_untouched() {
    let (dir, mut store) = store();
    service(&mut store, "cache");
    // Not checkpointed: the version is in the write-ahead log only, as after a newer clnrm was killed.
    let newer = Connection::open(dir.path().join("state.db")).unwrap();
    let later = super::open::SCHEMA + 1;
    newer
        .execute_batch(&format!(
            "CREATE TABLE later (x); PRAGMA user_version = {later}"
        ))
        .unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let before = contents(copy.path());
    for error in [
        Store::open(copy.path()).unwrap_err(),
        Store::open_existing(copy.path()).unwrap_err(),
    ] {
        let path = copy.path().join("state.db");
        assert_eq!(
            error.to_string(),
            format!(
                "{} was written by a newer clnrm (schema {later}, this one knows {})",
                path.display(),
                super::open::SCHEMA
            )
        );
    }
    assert!(contents(copy.path()) == before);
}

#[test]
fn a_database_of_another_program_is_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = Connection::open(dir.path().join("state.db")).unwrap();
    foreign
        .execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
        .unwrap();
    drop(foreign);
    let before = contents(dir.path());
    let error = Store::open(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Foreign {
                application_id: 0,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(contents(dir.path()) == before);
}

#[test]
fn a_place_that_cannot_hold_a_history_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join(".clnrm")).unwrap_err();
    assert!(
        matches!(error, StoreError::NotWritable { ref path, .. } if path.starts_with(&file)),
        "{error:?}"
    );

    fs::create_dir_all(dir.path().join("odd/state.db")).unwrap();
    let error = Store::open(&dir.path().join("odd")).unwrap_err();
    assert!(
        matches!(error, StoreError::NotWritable { ref path, .. } if path.ends_with("odd/state.db")),
        "{error:?}"
    );
}

#[test]
fn permissions_that_forbid_writing_are_named() {
    let (dir, store) = store();
    drop(store);
    let path = dir.path().join("state.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        println!("skipped: this user may write what nobody may (root)");
        return;
    }
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");

    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    let error = Store::open(&locked).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
}

#[test]
fn a_full_disk_undoes_the_transaction_and_is_named() {
    let (_dir, mut store) = store();
    let service = service(&mut store, "cache");
    let pages: i64 = store
        .connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    store
        .connection
        .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
        .unwrap();
    let samples: Vec<_> = (0..900)
        .map(|second| (service, ServiceMetrics::at(at(second * 1_000), 1)))
        .collect();
    let error = store.append_samples(&samples).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert!(store.raw_samples(service).unwrap().is_empty());
    store.append_samples(&samples[..1]).unwrap();
}

#[test]
fn eight_threads_open_a_fresh_directory_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (dir, barrier) = (dir.path(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut store = Store::open(&dir.join(".clnrm")).unwrap();
                    service(&mut store, &format!("service-{number}"));
                });
            }
        });
        let store = Store::open(&dir.path().join(".clnrm")).unwrap();
        assert_eq!(store.services().unwrap().len(), 8);
    }
}

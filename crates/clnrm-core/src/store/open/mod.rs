//! Finding, checking, creating and migrating the database.
//!
//! A database that is not ours to write stays byte for byte as it is: it is looked at through a connection that does
//! not even check-point when it closes. A new one is built beside its place and moved there when it is complete, so
//! `state.db` is never half made; creators and migrators take turns through `state.lock`.
//!
//! Deliberately absent: reading the file's header directly. Closing any other descriptor of a file drops the POSIX
//! locks of every SQLite connection to it in this process (<https://sqlite.org/howtocorrupt.html>, 2.2).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags, Transaction, TransactionBehavior};

use crate::store::error::{BUSY_TIMEOUT, StoreError};
use crate::store::rollups::pack_wide_rollups;

/// The schema's steps; `user_version` counts how many were taken.
const MIGRATIONS: [&str; 10] = [
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_containers.sql"),
    include_str!("../migrations/0003_pools.sql"),
    include_str!("../migrations/0004_clock.sql"),
    include_str!("../migrations/0005_container_identity.sql"),
    include_str!("../migrations/0006_memory.sql"),
    include_str!("../migrations/0007_narrow_rollups.sql"),
    include_str!("../migrations/0008_decisions.sql"),
    include_str!("../migrations/0009_shared_services.sql"),
    include_str!("../migrations/0010_results.sql"),
];

/// The step that SQL alone cannot take.
const NARROW_ROLLUPS: usize = 6;

/// The version that this program writes.
pub(super) const SCHEMA: i32 = MIGRATIONS.len() as i32;

/// Marks the file as clnrm's: "clnr" in ASCII.
const APPLICATION_ID: i32 = 0x636c_6e72;

/// The smallest page of SQLite; a shorter file was cut off.
const SMALLEST_DATABASE: u64 = 512;

const OPENING: &str = "open the history";

/// What was found in the database's place.
pub(super) enum Found {
    /// Nothing.
    Missing,
    /// A database that older code wrote.
    Outdated,
    /// A database that can be used.
    Current(Connection),
}

/// The database of a state directory.
pub(super) fn database_path(state_dir: &Path) -> PathBuf {
    state_dir.join("state.db")
}

/// Looks at what is there, and changes nothing.
pub(super) fn look(path: &Path) -> Result<Found, StoreError> {
    if !check_size(path)? {
        return Ok(Found::Missing);
    }
    let failed = |error| StoreError::from_sqlite(path, OPENING, error);
    let connection = connect(path).map_err(failed)?;
    check_owner(&connection, path)?;
    if connection.is_readonly(MAIN_DB).map_err(failed)? {
        // Asked for write access, SQLite settles for less without a word.
        return Err(StoreError::from_io(
            path,
            OPENING,
            io::ErrorKind::PermissionDenied.into(),
        ));
    }
    if version(&connection).map_err(failed)? < SCHEMA {
        return Ok(Found::Outdated);
    }
    configure(&connection).map_err(failed)?;
    Ok(Found::Current(connection))
}

/// Errs on a database that was cut off; `false` = there is none.
pub(super) fn check_size(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() < SMALLEST_DATABASE => {
            Err(StoreError::Damaged {
                path: path.to_path_buf(),
                detail: format!("only {} bytes are left of it", metadata.len()),
            })
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::from_io(path, OPENING, error)),
    }
}

/// Creates or migrates what [`look`] did not find current, one process at a time, and returns what is there then.
pub(super) fn prepare(state_dir: &Path) -> Result<Found, StoreError> {
    create_directory(state_dir)?;
    let lock_path = state_dir.join("state.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| StoreError::from_io(&lock_path, OPENING, error))?;
    let path = database_path(state_dir);
    match look(&path)? {
        Found::Missing => create(state_dir, &path)?,
        Found::Outdated => {
            let failed = |error| StoreError::from_sqlite(&path, "migrate the history", error);
            let mut connection = connect(&path).map_err(failed)?;
            migrate(&mut connection).map_err(failed)?;
        }
        current @ Found::Current(_) => return Ok(current),
    }
    let found = look(&path);
    drop::<File>(lock);
    found
}

/// Errs on a damaged database, one of another program, and one from the future.
pub(super) fn check_owner(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlite(path, OPENING, error);
    let application_id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(failed)?;
    if application_id != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_path_buf(),
            application_id,
        });
    }
    let found = version(connection).map_err(failed)?;
    if found > SCHEMA {
        return Err(StoreError::Newer {
            path: path.to_path_buf(),
            found,
            known: SCHEMA,
        });
    }
    Ok(())
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Opens what is there. Nothing is read yet: even a schema that this program cannot parse may turn out to be newer.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Without it SQLite compiles a range query anew for every pair of bounds, in search of a better plan.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The settings of a connection that will be used.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // In WAL mode NORMAL can lose the last commits to a power cut, never to a killed process, and never consistency.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Builds a complete database beside `path` and moves it there. The caller holds the lock.
fn create(state_dir: &Path, path: &Path) -> Result<(), StoreError> {
    write_gitignore(state_dir)?;
    let unfinished = state_dir.join("state.db.new");
    // A write-ahead log that outlived its database would be replayed into the new one.
    for leftover in [&unfinished, path]
        .into_iter()
        .flat_map(|database| ["-journal", "-wal", "-shm"].map(|end| with_suffix(database, end)))
        .chain([unfinished.clone()])
    {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::from_io(&leftover, OPENING, error));
            }
            _ => {}
        }
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600) // definitions may hold passwords
        .open(&unfinished)
        .map_err(|error| StoreError::from_io(&unfinished, OPENING, error))?;
    build(&unfinished)
        .map_err(|error| StoreError::from_sqlite(path, "create the history", error))?;
    fs::rename(&unfinished, path).map_err(|error| StoreError::from_io(path, OPENING, error))
}

/// The schema goes in before the switch to WAL, so that all of it is in the file itself when that is moved.
fn build(path: &Path) -> rusqlite::Result<()> {
    let mut connection = connect(path)?;
    configure(&connection)?;
    migrate(&mut connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        row.get::<_, String>(0).map(drop)
    })?;
    connection.close().map_err(|(_, error)| error)
}

/// Takes every step that is missing, all or none. The caller holds the lock.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate_to(connection, SCHEMA)
}

/// The same, up to a version.
fn migrate_to(connection: &mut Connection, schema: i32) -> rusqlite::Result<()> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let as_count = |version| usize::try_from(version).unwrap_or_default();
    let (taken, wanted) = (as_count(version(&transaction)?), as_count(schema));
    for (number, step) in MIGRATIONS.iter().enumerate().take(wanted).skip(taken) {
        transaction.execute_batch(step)?;
        if number == NARROW_ROLLUPS {
            pack_wide_rollups(&transaction)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", schema)?;
    transaction.commit()
}

/// Only its owner may enter: definitions may hold passwords, logs anything.
fn create_directory(state_dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(|error| StoreError::from_io(state_dir, "create the state directory", error))
}

/// Keeps the state out of the user's repository. A directory that holds anything else is the user's, not ours.
fn write_gitignore(state_dir: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_io(state_dir, "create the state directory", error);
    for entry in fs::read_dir(state_dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !name.as_encoded_bytes().starts_with(b"state.") {
            return Ok(());
        }
    }
    fs::write(state_dir.join(".gitignore"), "*\n").map_err(failed)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;

//! The history: what was started, measured, scaled and leased, in SQLite.
//!
//! One [`Store`] is one connection, synchronous; [`StoreHandle`] bridges it to async code. Several commands may use the
//! same history at once: every write is one `BEGIN IMMEDIATE` transaction (a deferred one that turns from reading to
//! writing fails at once, whatever the busy timeout), and every read sees one snapshot.
//!
//! Deliberately absent: the time (callers pass it), whether a recorded process still lives, decisions of any kind.

mod actions;
mod addresses;
mod clocks;
mod copy;
mod decisions;
mod error;
mod handle;
mod history;
mod instances;
mod leases;
mod memory_kills;
mod open;
mod pool;
mod raw;
mod readings;
mod results;
mod rings;
mod rollups;
mod rows;
mod samples;
mod services;
mod sql_types;
#[cfg(test)]
pub(crate) mod tests;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use clocks::ClockSetting;
pub use error::{Cause, StoreError};
pub use handle::StoreHandle;
pub use memory_kills::{MemoryKillCount, NewMemoryKills};

pub use pool::{CleanInstance, GivenBack, WarmLease, WarmRequest};
pub use readings::StoredReading;
pub use results::{RunResults, TestResult};
pub use rings::{LEAST_SAMPLE_GAP, RING_LENGTH};
pub use rows::{
    ActionId, ActionOutcome, ActionRow, ActionStart, AddressId, DecisionId, DecisionRow, Ending,
    InstanceExit, InstanceId, InstanceRow, InstanceState, LeaseId, LeaseRow, Leased, NewAction,
    NewInstance, NewLease, PastLease, PoolUse, PrunableInstance, RecordedEngine, RunId, RunOrigin,
    RunRow, RunVerdict, ServiceAddress, ServiceId, ServiceRow, StartedInstance, TierSpan,
};

use open::Found;

/// A connection to the history of one project.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// What is broken, once it was met: nothing is written from then on.
    damage: OnceCell<String>,
    /// In memory: what is written is kept nowhere.
    is_copy: bool,
}

impl Store {
    /// Opens the history in `state_dir`; the directory (mode 0700, ignored by git) and the database are created where
    /// they are missing, and an older database is migrated.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Foreign`] and [`StoreError::Newer`] leave the database byte for byte as it
    /// is. [`StoreError::NotWritable`] and [`StoreError::DiskFull`] name what could not be written.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = open::database_path(state_dir);
        let mut found = open::look(&path)?;
        if !matches!(found, Found::Current(_)) {
            found = open::prepare(state_dir)?;
        }
        match found {
            Found::Current(connection) => Ok(Self {
                connection,
                path,
                damage: OnceCell::new(),
                is_copy: false,
            }),
            // Somebody deletes it as fast as it is made.
            Found::Missing | Found::Outdated => Err(StoreError::from_io(
                &path,
                "open the history",
                std::io::ErrorKind::NotFound.into(),
            )),
        }
    }

    /// Opens the history in `state_dir` for a command that must not create one; `None` = there is none.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_existing(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        match open::look(&open::database_path(state_dir))? {
            Found::Missing => Ok(None),
            Found::Outdated => Self::open(state_dir).map(Some),
            Found::Current(connection) => Ok(Some(Self {
                connection,
                path: open::database_path(state_dir),
                damage: OnceCell::new(),
                is_copy: false,
            })),
        }
    }

    /// A copy in memory of the history in `state_dir`, which is looked at and not touched; `None` = there is none.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::NeedsCopy`].
    pub fn open_copy(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = open::database_path(state_dir);
        let copied = copy::copy(&path)?;
        Ok(copied.map(|connection| Self::of_copy(connection, path)))
    }

    fn of_copy(connection: Connection, path: PathBuf) -> Self {
        Self {
            connection,
            path,
            damage: OnceCell::new(),
            is_copy: true,
        }
    }

    /// Whether there is a history in `state_dir`.
    pub fn exists(state_dir: &Path) -> bool {
        open::database_path(state_dir).exists()
    }

    /// Errs where the database was deleted: what is written then is kept nowhere, and SQLite does not say so.
    pub fn check_existence(&self) -> Result<(), StoreError> {
        if self.is_copy || self.path.exists() {
            return Ok(());
        }
        Err(StoreError::Deleted {
            path: self.path.clone(),
        })
    }

    /// A second connection to the same history.
    fn another(&self) -> Result<Self, StoreError> {
        if self.is_copy {
            let another = copy::copy_of(&self.connection);
            return another
                .map(|connection| Self::of_copy(connection, self.path.clone()))
                .map_err(|error| self.failed("copy the history", error));
        }
        Self::open(self.state_dir())
    }

    fn state_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on one snapshot. `operation` completes "cannot …".
    fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let snapshot = || {
            let transaction = self.connection.unchecked_transaction()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        snapshot().map_err(|error| self.failed(operation, error))
    }

    /// Runs `work` in one transaction that nobody else's write can interrupt. `operation` completes "cannot …".
    fn write<T>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if let Some(detail) = self.damage.get() {
            return Err(StoreError::Damaged {
                path: self.path.clone(),
                detail: detail.clone(),
            });
        }
        let connection = &mut self.connection;
        let attempt = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        attempt().map_err(|error| self.failed(operation, error))
    }

    /// Names what failed. Damage met along the way keeps the file as it is from here on: not even closing writes to it.
    fn failed(&self, operation: &'static str, error: rusqlite::Error) -> StoreError {
        let error = StoreError::from_sqlite(&self.path, operation, error);
        if let StoreError::Damaged { detail, .. } = &error {
            self.damage.get_or_init(|| detail.clone());
            // Failing to set it leaves SQLite's default; there is no better answer to give than the damage itself.
            let _ = self
                .connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        error
    }
}

/// A path as the text that is recorded of it.
fn path_text(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or_else(|| StoreError::NotUtf8 {
        path: path.to_path_buf(),
    })
}

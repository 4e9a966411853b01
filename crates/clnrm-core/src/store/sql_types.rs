//! How the types of the rows become columns and come back.

use std::path::PathBuf;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Row, RowIndex};
use serde::de::DeserializeOwned;

use super::rows::{
    ActionId, ActionOutcome, AddressId, DecisionId, InstanceId, InstanceState, LeaseId, RunId,
    RunVerdict, ServiceId,
};
use crate::clock::Timestamp;
use crate::config::identity::{Digest, TestId};
use crate::procfs::ProcessIdentity;
use crate::services::service_manager::Tier;

macro_rules! integer_column {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_i64().map(Self)
            }
        }
    )*};
}

integer_column!(ServiceId, RunId, ActionId, AddressId, DecisionId, LeaseId);

/// A state and its word; the words are also the CHECKs of the schema.
macro_rules! word_column {
    ($name:ident { $($variant:ident = $word:literal),* }) => {
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(match self { $(Self::$variant => $word),* }.into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Self::$variant),)*
                    other => Err(FromSqlError::Other(
                        format!("`{other}` is no {}", stringify!($name)).into(),
                    )),
                }
            }
        }
    };
}

word_column!(InstanceState {
    Starting = "starting",
    Running = "running",
    Stopping = "stopping",
    Stopped = "stopped",
    Failed = "failed",
    Lost = "lost"
});
word_column!(RunVerdict {
    Passed = "passed",
    Error = "error",
    Failed = "failed",
    Interrupted = "interrupted",
    Unfinished = "unfinished"
});
word_column!(ActionOutcome {
    Started = "started",
    Done = "done",
    Failed = "failed"
});

macro_rules! text_column {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                String::column_result(value).map(Self)
            }
        }
    )*};
}

text_column!(InstanceId, Digest, TestId);

/// A time column.
pub(super) fn time(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// A time column that may be NULL.
pub(super) fn optional_time(
    row: &Row<'_>,
    column: impl RowIndex,
) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

/// The word of a tier in the schema.
pub(super) const fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Raw => "raw",
        Tier::Minute => "minute",
        Tier::QuarterHour => "quarter_hour",
    }
}

/// A column with such a word.
pub(super) fn tier(row: &Row<'_>, column: usize) -> rusqlite::Result<Tier> {
    let word = row.get_ref(column)?.as_str()?;
    let tier = Tier::ALL.into_iter().find(|tier| tier_word(*tier) == word);
    tier.ok_or_else(|| unreadable(column, Type::Text, format!("`{word}` is no tier")))
}

/// A column that holds what this program cannot read.
pub(super) fn unreadable(
    column: usize,
    kind: Type,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, why.into())
}

/// A JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|source| {
        let index = row.as_ref().column_index(column).unwrap_or_default();
        unreadable(index, Type::Text, source)
    })
}

/// The text of a value whose serialization cannot fail: string keys, UTF-8, no custom serializers.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|source| rusqlite::Error::ToSqlConversionFailure(Box::new(source)))
}

/// A duration as the history keeps it.
pub(super) fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A path column.
pub(super) fn path(row: &Row<'_>, column: &str) -> rusqlite::Result<PathBuf> {
    row.get::<_, String>(column).map(PathBuf::from)
}

/// The three columns of the process that owns a row.
pub(super) fn owner(row: &Row<'_>) -> rusqlite::Result<ProcessIdentity> {
    Ok(ProcessIdentity {
        pid: row.get("owner_pid")?,
        start_ticks: row.get::<_, i64>("owner_start_ticks")?.cast_unsigned(),
        boot_id: row.get("owner_boot_id")?,
    })
}

/// The three columns of an instance's shim.
pub(super) fn shim(row: &Row<'_>) -> rusqlite::Result<Option<ProcessIdentity>> {
    let Some(pid) = row.get("shim_pid")? else {
        return Ok(None);
    };
    Ok(Some(ProcessIdentity {
        pid,
        start_ticks: row.get::<_, i64>("shim_start_ticks")?.cast_unsigned(),
        boot_id: row.get("shim_boot_id")?,
    }))
}

//! Rows of the table `rollups`: five columns for each metric.

use std::sync::LazyLock;

use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};

use super::rows::ServiceId;
use crate::services::service_manager::{Metric, Rollup, Summary, Tier};

/// The columns of one metric, in the order in which they are read and written.
const PARTS: [&str; 5] = ["min", "mean", "max", "last", "count"];

/// Columns before those of the metrics.
const FIXED: [&str; 3] = ["start_at", "samples", "instances_max"];

/// Every column but the key, in order.
static COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let metrics = Metric::ALL
        .into_iter()
        .flat_map(|metric| PARTS.map(|part| format!("{}_{part}", column(metric))));
    let columns: Vec<String> = FIXED.map(String::from).into_iter().chain(metrics).collect();
    columns.join(", ")
});

static SELECT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM rollups WHERE service_id = ?1 AND tier = ?2 AND slot BETWEEN ?3 AND ?4 ORDER BY slot",
        *COLUMNS
    )
});

static REPLACE: LazyLock<String> = LazyLock::new(|| {
    let values = 3 + FIXED.len() + PARTS.len() * Metric::ALL.len();
    let placeholders = vec!["?"; values].join(", ");
    format!(
        "INSERT OR REPLACE INTO rollups (service_id, tier, slot, {}) VALUES ({placeholders})",
        *COLUMNS
    )
});

fn column(metric: Metric) -> &'static str {
    match metric {
        Metric::CpuPercent => "cpu_percent",
        Metric::MemoryMb => "memory_mb",
        Metric::MemoryTotalMb => "memory_total_mb",
        Metric::NetworkMbPerS => "network_mb_per_s",
        Metric::ActiveConnections => "active_connections",
        Metric::RequestRate => "request_rate",
        Metric::ResponseTimeMs => "response_time_ms",
        Metric::ErrorRate => "error_rate",
    }
}

/// Appends the rollups in an inclusive range of slots to `rollups`.
pub(super) fn read_rollups(
    connection: &Connection,
    service: ServiceId,
    tier: Tier,
    (first, last): (i64, i64),
    rollups: &mut Vec<Rollup>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(&SELECT)?;
    let mut rows = statement.query(params![service, tier, first, last])?;
    while let Some(row) = rows.next()? {
        rollups.push(rollup(row)?);
    }
    Ok(())
}

fn rollup(row: &Row<'_>) -> rusqlite::Result<Rollup> {
    let mut rollup = Rollup::empty(row.get(0)?);
    rollup.count = row.get(1)?;
    rollup.instances_max = row.get(2)?;
    for (number, metric) in Metric::ALL.into_iter().enumerate() {
        let first = FIXED.len() + number * PARTS.len();
        let Some(count) = row.get(first + 4)? else {
            continue;
        };
        let summary = Summary {
            min: row.get(first)?,
            mean: row.get(first + 1)?,
            max: row.get(first + 2)?,
            last: row.get(first + 3)?,
            count,
        };
        rollup.set(metric, Some(summary));
    }
    Ok(rollup)
}

/// Puts a rollup into its slot.
pub(super) fn write_rollup(
    transaction: &Transaction<'_>,
    service: ServiceId,
    tier: Tier,
    slot: i64,
    rollup: &Rollup,
) -> rusqlite::Result<()> {
    let key: [&dyn ToSql; 6] = [
        &service,
        &tier,
        &slot,
        &rollup.start,
        &rollup.count,
        &rollup.instances_max,
    ];
    let metrics: Vec<Value> = Metric::ALL
        .into_iter()
        .flat_map(|metric| match rollup.get(metric) {
            Some(summary) => [
                summary.min.into(),
                summary.mean.into(),
                summary.max.into(),
                summary.last.into(),
                summary.count.into(),
            ],
            None => [const { Value::Null }; 5],
        })
        .collect();
    let values = metrics.iter().map(|value| value as &dyn ToSql);
    transaction
        .prepare_cached(&REPLACE)?
        .execute(params_from_iter(key.into_iter().chain(values)))
        .map(drop)
}

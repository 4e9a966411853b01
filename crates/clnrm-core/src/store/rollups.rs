//! Rows of the table `rollups`, five columns for each metric, and how minutes make a quarter of an hour.

use std::ops::Range;
use std::sync::LazyLock;

use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};

use super::rings::{slot, slots};
use super::rows::ServiceId;
use super::sql_types::{tier_word, time};
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

/// The rollups with these numbers, in their order.
pub(super) fn read_rollups(
    connection: &Connection,
    service: ServiceId,
    tier: Tier,
    numbers: Range<i64>,
) -> rusqlite::Result<Vec<Rollup>> {
    let mut rollups = Vec::new();
    let mut statement = connection.prepare_cached(&SELECT)?;
    for slots in slots(numbers) {
        let mut rows = statement.query(params![
            service,
            tier_word(tier),
            slots.start(),
            slots.end()
        ])?;
        while let Some(row) = rows.next()? {
            rollups.push(rollup(row)?);
        }
    }
    Ok(rollups)
}

/// Takes a later rollup into a coarser one.
pub(super) fn merge(into: &mut Rollup, later: &Rollup) {
    into.count += later.count;
    into.instances_max = into.instances_max.max(later.instances_max);
    for metric in Metric::ALL {
        let merged = match (into.get(metric), later.get(metric)) {
            (Some(one), Some(other)) => {
                let count = one.count + other.count;
                let share = f64::from(other.count) / f64::from(count);
                Some(Summary {
                    min: one.min.min(other.min),
                    mean: one.mean + (other.mean - one.mean) * share,
                    max: one.max.max(other.max),
                    last: other.last,
                    count,
                })
            }
            (one, other) => other.or(one),
        };
        into.set(metric, merged);
    }
}

fn rollup(row: &Row<'_>) -> rusqlite::Result<Rollup> {
    let mut rollup = Rollup::empty(time(row, 0)?);
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

/// Puts a rollup into the slot of its number.
pub(super) fn write_rollup(
    transaction: &Transaction<'_>,
    service: ServiceId,
    tier: Tier,
    number: i64,
    rollup: &Rollup,
) -> rusqlite::Result<()> {
    let slot = slot(number);
    let key: [&dyn ToSql; 6] = [
        &service,
        &tier_word(tier),
        &slot,
        &rollup.start.as_millis(),
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

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;
    use crate::services::service_manager::ServiceMetrics;

    #[test]
    fn merging_parts_is_folding_all() {
        let samples: Vec<_> = (0..100_i32)
            .map(|number| ServiceMetrics {
                cpu_percent: (number % 3 != 0).then(|| f64::from((number * 37) % 101)),
                request_rate: (number < 20).then_some(7.0),
                memory_mb: (number >= 20).then(|| f64::from(number)),
                ..ServiceMetrics::at(at(i64::from(number) * 1_000), number.unsigned_abs() % 4)
            })
            .collect();
        let folded = |samples: &[ServiceMetrics]| {
            let mut rollup = Rollup::empty(at(0));
            samples.iter().for_each(|sample| rollup.fold(sample));
            rollup
        };
        let (mut merged, all) = (Rollup::empty(at(0)), folded(&samples));
        for part in [&samples[..20], &samples[20..90], &samples[90..]] {
            merge(&mut merged, &folded(part));
        }
        assert_eq!(
            (merged.count, merged.instances_max),
            (all.count, all.instances_max)
        );
        for metric in Metric::ALL {
            let (merged, all) = (merged.get(metric), all.get(metric));
            assert_eq!(merged.is_some(), all.is_some(), "{metric:?}");
            let (Some(merged), Some(all)) = (merged, all) else {
                continue;
            };
            assert!((merged.mean - all.mean).abs() < 1e-9, "{metric:?}");
            assert_eq!(
                Summary {
                    mean: all.mean,
                    ..merged
                },
                all
            );
        }
    }
}

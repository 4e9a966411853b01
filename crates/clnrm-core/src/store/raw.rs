//! Rows of the table `raw_samples`, a column for each metric.

use std::ops::Range;
use std::sync::LazyLock;

use rusqlite::types::{ToSql, Type};
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};

use super::rings::{slot, slots};
use super::rows::ServiceId;
use super::sql_types::{time, unreadable};
use crate::services::service_manager::{Metric, ServiceMetrics};

fn columns() -> String {
    Metric::ALL.map(Metric::name).join(", ")
}

static SELECT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT sampled_at, instances, {} FROM raw_samples
         WHERE service_id = ?1 AND slot BETWEEN ?2 AND ?3 ORDER BY slot",
        columns()
    )
});

static REPLACE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT OR REPLACE INTO raw_samples (service_id, slot, sampled_at, instances, {})
         VALUES (?, ?, ?, ?{})",
        columns(),
        ", ?".repeat(Metric::ALL.len())
    )
});

/// Puts a sample into the slot of its number.
pub(super) fn write_raw(
    transaction: &Transaction<'_>,
    service: ServiceId,
    number: i64,
    sample: &ServiceMetrics,
) -> rusqlite::Result<()> {
    let (slot, at) = (slot(number), sample.sampled_at.as_millis());
    let values = Metric::ALL.map(|metric| sample.get(metric));
    let key: [&dyn ToSql; 4] = [&service, &slot, &at, &sample.instances];
    let values = values.iter().map(|value| value as &dyn ToSql);
    transaction
        .prepare_cached(&REPLACE)?
        .execute(params_from_iter(key.into_iter().chain(values)))
        .map(drop)
}

/// The raw samples with these numbers, in their order.
pub(super) fn read_raw(
    connection: &Connection,
    service: ServiceId,
    numbers: Range<i64>,
) -> rusqlite::Result<Vec<ServiceMetrics>> {
    let length = numbers.end - numbers.start;
    let mut samples = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let mut statement = connection.prepare_cached(&SELECT)?;
    for slots in slots(numbers) {
        let mut rows = statement.query(params![service, slots.start(), slots.end()])?;
        while let Some(row) = rows.next()? {
            samples.push(sample(row)?);
        }
    }
    Ok(samples)
}

fn sample(row: &Row<'_>) -> rusqlite::Result<ServiceMetrics> {
    let mut sample = ServiceMetrics::at(time(row, 0)?, row.get(1)?);
    for (column, metric) in (2..).zip(Metric::ALL) {
        sample
            .set(metric, row.get(column)?)
            .map_err(|error| unreadable(column, Type::Real, error))?;
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    #[test]
    fn every_metric_has_its_column_in_the_order_of_their_table() {
        let (_dir, store) = store();
        let columns: Vec<String> = store
            .connection
            .prepare("SELECT name FROM pragma_table_info('raw_samples') WHERE cid > 3 ORDER BY cid")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(columns, Metric::ALL.map(Metric::name));
    }
}

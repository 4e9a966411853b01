//! Old databases, built from the steps that there were then.

use std::process::Command;

use super::super::rows::{InstanceId, Leased, ServiceId};
use super::super::{Store, tests::at};
use super::*;
use crate::services::service_manager::{Metric, Rollup, ServiceMetrics, Summary, Tier};

/// The last version with five columns for each metric.
const WIDE: i32 = 6;
const LENGTH: usize = 1_000;

/// As many samples as fill every ring.
const FULL: i64 = 4_600;

/// Sample number `number` of a service: three within 14 s, then ten minutes without; not every metric was measured each
/// time.
fn sample(service: i64, number: i64) -> ServiceMetrics {
    let seconds = number / 3 * 614 + number % 3 * 7;
    let mut sample = ServiceMetrics::at(at(seconds * 1_000), (number % 4) as u32);
    for (place, metric) in (0..).zip(Metric::ALL) {
        if (number + place) % 3 != 0 {
            let value = ((number * 31 + place * 17 + service) % 101) as f64 / 7.0;
            sample.set(metric, Some(value)).unwrap();
        }
    }
    sample
}

/// What a service has recorded after `count` samples: every rollup, the open ones last.
fn rolled_up(service: i64, count: i64, tier: Tier) -> Vec<Rollup> {
    let mut rollups: Vec<Rollup> = Vec::new();
    for number in 0..count {
        let sample = sample(service, number);
        let start = Rollup::bucket_start(tier, sample.sampled_at);
        if rollups.last().is_none_or(|rollup| rollup.start != start) {
            rollups.push(Rollup::empty(start));
        }
        rollups.last_mut().unwrap().fold(&sample);
    }
    rollups
}

fn newest<T>(entries: Vec<T>) -> Vec<T> {
    let surplus = entries.len().saturating_sub(LENGTH);
    entries.into_iter().skip(surplus).collect()
}

/// Inserts a row; `columns` are those of metrics, with NULL where `value` has none.
fn insert(connection: &Connection, table: &str, key: &str, columns: &[(String, Option<f64>)]) {
    let names: String = columns
        .iter()
        .map(|(name, _)| format!(", {name}"))
        .collect();
    let values: String = columns
        .iter()
        .map(|(_, value)| value.map_or(", NULL".to_owned(), |value| format!(", {value:?}")))
        .collect();
    let (key_names, key_values) = key.split_once(" = ").unwrap();
    let sql = format!(
        "INSERT OR REPLACE INTO {table} ({key_names}{names}) VALUES ({key_values}{values})"
    );
    connection.execute_batch(&sql).unwrap();
}

/// Writes a service as version 6 and the five before it did.
fn record(connection: &Connection, service: i64, count: i64) {
    connection
        .execute_batch(&format!(
            "INSERT INTO services (id, name, file, digest, definition, updated_at)
             VALUES ({service}, 'service-{service}', '/a', 'd', '{{}}', 0)"
        ))
        .unwrap();
    for number in 0..count {
        let sample = sample(service, number);
        let key = format!(
            "service_id, slot, sampled_at, instances = {service}, {}, {}, {}",
            number % 1_000,
            sample.sampled_at.as_millis(),
            sample.instances
        );
        let columns = Metric::ALL.map(|metric| (metric.name().to_owned(), sample.get(metric)));
        insert(connection, "raw_samples", &key, &columns);
    }
    let (mut closed, mut open_from) = (Vec::new(), Vec::new());
    for (tier, word) in [
        (Tier::Minute, "minute"),
        (Tier::QuarterHour, "quarter_hour"),
    ] {
        let mut rollups = rolled_up(service, count, tier);
        let open = rollups.pop().unwrap();
        for (number, rollup) in rollups.iter().enumerate() {
            let key = format!(
                "service_id, tier, slot, start_at, samples, instances_max = {service}, '{word}', {}, {}, {}, {}",
                number % LENGTH,
                rollup.start.as_millis(),
                rollup.count,
                rollup.instances_max
            );
            let columns: Vec<_> = Metric::ALL
                .into_iter()
                .flat_map(|metric| {
                    let get = |part: fn(Summary) -> f64| rollup.get(metric).map(part);
                    [
                        ("min", get(|summary| summary.min)),
                        ("mean", get(|summary| summary.mean)),
                        ("max", get(|summary| summary.max)),
                        ("last", get(|summary| summary.last)),
                        ("count", get(|summary| f64::from(summary.count))),
                    ]
                    .map(|(part, value)| (format!("{}_{part}", metric.name()), value))
                })
                .collect();
            insert(connection, "rollups", &key, &columns);
        }
        closed.push(rollups.len());
        open_from.push(match tier {
            Tier::QuarterHour => {
                let minutes = rolled_up(service, count, Tier::Minute);
                minutes
                    .iter()
                    .filter(|minute| minute.start < open.start)
                    .count()
            }
            _ => (count - i64::from(open.count)) as usize,
        });
    }
    let newest_at = sample(service, count - 1).sampled_at.as_millis();
    connection
        .execute_batch(&format!(
            "INSERT INTO rings VALUES ({service}, {newest_at}, {count}, {}, {}, {}, {})",
            closed[0], open_from[0], closed[1], open_from[1]
        ))
        .unwrap();
}

/// A history of version `schema`: a service with full rings, one that has just begun, one without samples.
fn old_database(path: &Path, schema: i32) {
    let mut connection = Connection::open(path).unwrap();
    migrate_to(&mut connection, schema).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
        .unwrap();
    let transaction = connection.transaction().unwrap();
    record(&transaction, 1, FULL);
    record(&transaction, 2, 3);
    transaction
        .execute_batch(
            "INSERT INTO services (id, name, file, digest, definition, updated_at) VALUES (3, 'none', '/a', 'd', '{}', 0);
             INSERT INTO runs (id, owner_pid, owner_start_ticks, owner_boot_id, keep, started_at) VALUES (1, 1, 2, 'b', 0, 0);
             INSERT INTO instances (id, service_id, run_id, digest, state, runtime, dir, ports, owner_pid, owner_start_ticks,
                                    owner_boot_id, created_at)
             VALUES ('one', 1, 1, 'd', 'running', 'container', '/i/one', '{\"main\":7,\"named\":{}}', 1, 2, 'b', 5);
             INSERT INTO leases (id, instance_id, service_id, run_id, test, owner_pid, owner_start_ticks, owner_boot_id,
                                 acquired_at, released_at)
             VALUES (1, 'one', 1, 1, 'first', 1, 2, 'b', 6, 7), (2, 'one', 1, 1, 'second', 1, 2, 'b', 8, NULL);",
        )
        .unwrap();
    transaction.commit().unwrap();
}

/// The same with what was not kept: the variance of several values.
fn without_variance(mut rollup: Rollup) -> Rollup {
    for metric in Metric::ALL {
        let known = rollup.get(metric).map(|summary| Summary {
            variance: summary.variance.filter(|_| summary.count == 1),
            ..summary
        });
        rollup.set(metric, known);
    }
    rollup
}

/// Equal but for how sums were rounded: an open quarter of an hour is made of minutes.
fn assert_alike(found: &[Rollup], expected: &[Rollup], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let head = |rollup: &Rollup| (rollup.start, rollup.count, rollup.instances_max);
        assert_eq!(head(found), head(expected), "{what}");
        for metric in Metric::ALL {
            let (Some(found), Some(expected)) = (found.get(metric), expected.get(metric)) else {
                assert_eq!(found.get(metric), expected.get(metric), "{what} {metric:?}");
                continue;
            };
            assert!(
                (found.mean - expected.mean).abs() < 1e-9,
                "{what} {metric:?}"
            );
            let rounded = Summary {
                mean: found.mean,
                variance: found.variance,
                ..expected
            };
            assert_eq!(found, rounded, "{what} {metric:?}");
        }
    }
}

#[test]
fn a_history_of_every_version_keeps_all_that_it_recorded() {
    for schema in 1..=WIDE {
        let dir = tempfile::tempdir().unwrap();
        old_database(&database_path(dir.path()), schema);
        let store = Store::open_existing(dir.path()).unwrap().unwrap();
        assert_eq!(version(&store.connection).unwrap(), SCHEMA);
        for (service, count) in [(1, FULL), (2, 3)] {
            let what = format!("version {schema}, service {service}");
            let raw = newest((0..count).map(|number| sample(service, number)).collect());
            assert_eq!(
                store.raw_samples(ServiceId(service)).unwrap(),
                raw,
                "{what}"
            );
            for tier in Tier::ROLLED_UP {
                let found = store.rollups(ServiceId(service), tier).unwrap();
                let expected = newest(rolled_up(service, count, tier));
                let what = format!("{what}, {tier:?}");
                assert_alike(&found, &expected, &what);
                assert_eq!(found.len() == LENGTH, count == FULL, "{what}: full rings");
                let (_, closed) = found.split_last().unwrap();
                let kept: Vec<_> = expected.iter().copied().map(without_variance).collect();
                assert_eq!(closed, &kept[..closed.len()], "{what}: bit for bit");
                let span = store.tier_span(ServiceId(service), tier).unwrap().unwrap();
                assert_eq!(span.oldest, expected[0].start, "{what}");
                assert_eq!(span.samples as usize, expected.len(), "{what}");
            }
        }
        assert_eq!(store.tier_span(ServiceId(3), Tier::Raw).unwrap(), None);
        let open = store.open_leases().unwrap();
        let one = InstanceId("one".to_owned());
        assert_eq!((open.len(), open[0].id.to_string()), (1, "2".to_owned()));
        assert_eq!(open[0].lease.leased, Leased::Instance(one.clone()));
        assert_eq!(store.lease_history(&one, 9).unwrap().len(), 2);
        assert_eq!(store.lease_spans(ServiceId(1), 9).unwrap().len(), 2);
        let live = store.live_instances().unwrap();
        assert_eq!(
            (live.len(), live[0].start.runtime.as_str()),
            (1, "container")
        );
    }
}

#[test]
fn what_is_measured_after_the_migration_goes_on_where_the_old_history_ended() {
    let dir = tempfile::tempdir().unwrap();
    old_database(&database_path(dir.path()), WIDE);
    let mut store = Store::open(dir.path()).unwrap();
    let more: Vec<_> = (FULL..FULL + 100)
        .map(|number| (ServiceId(1), sample(1, number)))
        .collect();
    assert!(
        store
            .append_samples(&more)
            .unwrap()
            .into_iter()
            .all(|is_new| is_new)
    );
    for tier in Tier::ROLLED_UP {
        let found = store.rollups(ServiceId(1), tier).unwrap();
        assert_alike(
            &found,
            &newest(rolled_up(1, FULL + 100, tier)),
            &format!("{tier:?}"),
        );
        let is_known = |cpu: Summary| cpu.count > 1 && cpu.variance.is_some();
        let known = |rollup: &Rollup| rollup.get(Metric::CpuPercent).is_some_and(is_known);
        assert!(
            found.iter().any(known),
            "{tier:?}: what was measured since has its variance"
        );
    }
}

/// A page more each time: it fails at another point.
#[test]
fn a_migration_that_ends_halfway_leaves_the_history_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = database_path(dir.path());
    old_database(&path, WIDE);
    let mut connection = connect(&path).unwrap();
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    let contents = |connection: &Connection| -> Vec<String> {
        let sum = "SELECT group_concat(sql) || (SELECT group_concat(quote(slot) || cpu_percent_mean || start_at) FROM rollups)
                   || (SELECT group_concat(newest_at || raw_written) FROM rings) FROM sqlite_schema";
        let sum = connection.query_row(sum, [], |row| row.get(0)).unwrap();
        vec![sum, version(connection).unwrap().to_string()]
    };
    let before = contents(&connection);
    let mut failures = 0;
    for more in (0..).step_by(20) {
        connection
            .pragma_update_and_check(None, "max_page_count", pages + more, |_| Ok(()))
            .unwrap();
        if migrate(&mut connection).is_ok() {
            break;
        }
        failures += 1;
        assert!(contents(&connection) == before, "with {more} pages more");
        // Another process, as after a kill.
        assert!(contents(&connect(&path).unwrap()) == before);
    }
    assert!(failures > 3, "only {failures} times it failed");
    assert_eq!(version(&connection).unwrap(), SCHEMA);
}

#[test]
fn people_see_rollups_in_the_shell_of_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let service = super::super::tests::service(&mut store, "cache");
    let sample = |seconds: i64, cpu_percent| {
        let mut sample = ServiceMetrics::at(at(seconds * 1_000), 1);
        sample.cpu_percent = Some(cpu_percent);
        sample.error_rate = Some(0.25);
        (service, sample)
    };
    store
        .append_samples(&[sample(60, 1.5), sample(61, 2.5), sample(120, 9.0)])
        .unwrap();
    let shown = Command::new("sqlite3")
        .arg(store.path())
        .arg(
            "SELECT tier, start, metric, count, mean, variance, min, max, last FROM rollup_metrics",
        )
        .output();
    let Ok(shown) = shown else {
        assert!(std::env::var_os("CLNRM_TEST_REQUIRE_ALL").is_none());
        println!("skipped: sqlite3 is not installed");
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout),
        "minute|1970-01-01T00:01:00Z|cpu_percent|2|2.0|0.25|1.5|2.5|2.5\n\
         minute|1970-01-01T00:01:00Z|error_rate|2|0.25|0.0|0.25|0.25|0.25\n",
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
}

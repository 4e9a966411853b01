//! What runs and their tests came to.
//!
//! Deliberately absent: what a report or an event is. They come and go as values that serialize.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::{RunId, RunOrigin, RunVerdict};
use super::sql_types::{json, to_json};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::config::identity::{Digest, TestId};

/// Runs whose results are kept: a month of thirty runs a day, and about 50 MB of suites of 50 tests.
const KEPT_RUNS: u32 = 1_000;
/// Results of tests that are kept, whatever the number of runs: a thousand runs of suites of 50 tests.
const KEPT_TESTS: u32 = 50_000;

/// A test that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TestResult<T, S> {
    /// In the plan, from 0.
    pub number: u32,
    pub test: TestId,
    pub file_digest: Digest,
    pub service_digests: BTreeMap<String, Digest>,
    /// For its services, all attempts together.
    pub waited: Duration,
    pub finished_at: Timestamp,
    /// What is said of it, without its steps.
    pub report: T,
    /// The steps of each attempt; none = it was not run.
    pub attempts: Vec<Vec<S>>,
    /// The index in `attempts` of the one that the report is of.
    pub reported: u32,
}

/// A run as it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResults<E, T, S> {
    /// Of the run as a whole; none = it did not come to its end.
    pub events: Vec<E>,
    /// By number, with the steps of the attempt that is reported.
    pub tests: Vec<(u32, T, Vec<S>)>,
}

impl Store {
    /// Records what a run is of.
    pub fn record_run_origin(&mut self, run: RunId, origin: &RunOrigin) -> Result<(), StoreError> {
        self.write("record what a run is of", |transaction| {
            let RunOrigin {
                selection,
                revision,
            } = origin;
            transaction
                .prepare_cached(
                    "UPDATE runs SET selection = ?2, revision = ?3, branch = ?4 WHERE id = ?1",
                )?
                .execute(params![
                    run,
                    to_json(selection)?,
                    revision.commit,
                    revision.branch
                ])
                .map(drop)
        })
    }

    /// Records a test that has ended, with the steps of its attempts.
    pub fn record_test_result<T: Serialize, S: Serialize>(
        &mut self,
        run: RunId,
        result: &TestResult<T, S>,
    ) -> Result<(), StoreError> {
        self.write("record the result of a test", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO test_results (run_id, number, test_id, attempts, reported, waited_ms,
                                               file_digest, service_digests, finished_at, report)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute(params![
                    run,
                    result.number,
                    result.test,
                    u32::try_from(result.attempts.len()).unwrap_or(u32::MAX),
                    result.reported + 1,
                    result.waited.as_secs_f64() * 1e3,
                    result.file_digest,
                    to_json(&result.service_digests)?,
                    result.finished_at.as_millis(),
                    to_json(&result.report)?,
                ])?;
            let mut record = transaction.prepare_cached(
                "INSERT INTO step_results (run_id, test, attempt, number, report) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for (attempt, steps) in (1_u32..).zip(&result.attempts) {
                for (number, step) in (0_u32..).zip(steps) {
                    record.execute(params![run, result.number, attempt, number, to_json(step)?])?;
                }
            }
            Ok(())
        })
    }

    /// Records what a run came to, and forgets the results of runs that are too old.
    pub fn record_run_result(
        &mut self,
        run: RunId,
        verdict: RunVerdict,
        events: &impl Serialize,
    ) -> Result<(), StoreError> {
        self.write("record the result of a run", |transaction| {
            transaction
                .prepare_cached("UPDATE runs SET verdict = ?2, events = ?3 WHERE id = ?1")?
                .execute(params![run, verdict, to_json(events)?])?;
            let too_old: Option<RunId> = transaction
                .prepare_cached(
                    "SELECT max(id) FROM (
                         SELECT id, row_number() OVER newest AS run, sum(tests) OVER newest AS tests
                         FROM (SELECT id, (SELECT count(*) FROM test_results WHERE run_id = runs.id) AS tests FROM runs)
                         WINDOW newest AS (ORDER BY id DESC))
                     WHERE run > ?1 OR tests > ?2 AND run > 1",
                )?
                .query_row(params![KEPT_RUNS, KEPT_TESTS], |row| row.get(0))?;
            let Some(too_old) = too_old else { return Ok(()) };
            transaction
                .prepare_cached("DELETE FROM test_results WHERE run_id <= ?1")?
                .execute([too_old])?;
            transaction
                .prepare_cached(
                    "DELETE FROM runs WHERE id <= ?1 AND (finished_at IS NOT NULL OR verdict = 'unfinished')
                     AND NOT EXISTS (SELECT 1 FROM instances WHERE run_id = runs.id)",
                )?
                .execute([too_old])
                .map(drop)
        })
    }

    /// Records that these runs were killed before they came to their end.
    pub fn record_unfinished(&mut self, runs: &[RunId]) -> Result<(), StoreError> {
        self.write("record that runs were killed", |transaction| {
            let mut record = transaction.prepare_cached(
                "UPDATE runs SET verdict = 'unfinished' WHERE id = ?1 AND verdict IS NULL",
            )?;
            runs.iter()
                .try_for_each(|run| record.execute([run]).map(drop))
        })
    }

    /// What a run came to, as it was recorded; `None` = no such run.
    pub fn run_results<E: DeserializeOwned, T: DeserializeOwned, S: DeserializeOwned>(
        &self,
        run: RunId,
    ) -> Result<Option<RunResults<E, T, S>>, StoreError> {
        self.read("read the results of a run", |connection| {
            let events = connection
                .prepare_cached("SELECT coalesce(events, '[]') AS events FROM runs WHERE id = ?1")?
                .query_row([run], |row| json(row, "events"))
                .optional()?;
            let Some(events) = events else { return Ok(None) };
            let mut steps = connection.prepare_cached(
                "SELECT report FROM step_results WHERE run_id = ?1 AND test = ?2 AND attempt = ?3 ORDER BY number",
            )?;
            let tests = connection
                .prepare_cached("SELECT number, reported, report FROM test_results WHERE run_id = ?1 ORDER BY number")?
                .query_map([run], |row| {
                    let number: u32 = row.get("number")?;
                    let reported: i64 = row.get("reported")?;
                    let steps = steps
                        .query_map(params![run, number, reported], |row| json(row, "report"))?
                        .collect::<Result<_, _>>()?;
                    Ok((number, json(row, "report")?, steps))
                })?
                .collect::<Result<_, _>>()?;
            Ok(Some(RunResults { events, tests }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, identity, store};
    use super::*;

    fn result(number: u32, attempts: &[&[&str]]) -> TestResult<serde_json::Value, String> {
        let steps = |steps: &&[&str]| steps.iter().map(|step| (*step).to_owned()).collect();
        TestResult {
            number,
            test: TestId("tests/a.clnrm.toml::a".to_owned()),
            file_digest: Digest("f".to_owned()),
            service_digests: [("cache".to_owned(), Digest("d".to_owned()))].into(),
            waited: Duration::from_micros(1_500),
            finished_at: at(7),
            report: serde_json::json!({
                "name": "a", "status": "failed", "reason": {"why": "step_failed"}, "duration_ms": 2.5
            }),
            attempts: attempts.iter().map(steps).collect(),
            reported: 0,
        }
    }

    fn begun(store: &mut Store) -> RunId {
        store.begin_run(&identity(1), false, at(1)).unwrap()
    }

    #[test]
    fn what_is_recorded_is_read_and_its_columns_can_be_asked_for() {
        let (_dir, mut store) = store();
        let run = begun(&mut store);
        store
            .record_test_result(run, &result(1, &[&["a", "b"], &["a"]]))
            .unwrap();
        store.record_test_result(run, &result(0, &[])).unwrap();
        store
            .record_run_result(run, RunVerdict::Failed, &["told"])
            .unwrap();
        let read = store
            .run_results::<String, serde_json::Value, String>(run)
            .unwrap()
            .unwrap();
        assert_eq!(read.events, ["told"]);
        assert_eq!(read.tests[0].0, 0);
        assert_eq!(read.tests[1].2, ["a", "b"]);
        let row: (String, String, String, f64, f64) = store
            .connection
            .query_row(
                "SELECT name, verdict, cause, wall_ms, waited_ms FROM test_results WHERE number = 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
            )
            .unwrap();
        let expected = ("a", "failed", r#"{"why":"step_failed"}"#);
        assert_eq!((row.0.as_str(), row.1.as_str(), row.2.as_str()), expected);
        assert_eq!((row.3, row.4), (2.5, 1.5));
        assert_eq!(
            store.run(run).unwrap().unwrap().verdict,
            Some(RunVerdict::Failed)
        );
        let unknown = store.run_results::<String, serde_json::Value, String>(RunId(99));
        assert_eq!(unknown.unwrap(), None);
    }

    #[test]
    fn the_newest_runs_are_kept_with_their_results() {
        let (_dir, mut store) = store();
        let killed = begun(&mut store);
        store
            .record_test_result(killed, &result(0, &[&["a"]]))
            .unwrap();
        store.record_unfinished(&[killed]).unwrap();
        let first = begun(&mut store);
        store
            .record_test_result(first, &result(0, &[&["a"]]))
            .unwrap();
        let end = |store: &mut Store, run| {
            store.finish_run(run, at(9)).unwrap();
            store
                .record_run_result(run, RunVerdict::Passed, &["told"])
                .unwrap();
        };
        end(&mut store, first);
        let results = |store: &Store, run| {
            store
                .run_results::<String, serde_json::Value, String>(run)
                .unwrap()
        };
        for _ in 1..KEPT_RUNS {
            let run = begun(&mut store);
            store.finish_run(run, at(9)).unwrap();
        }
        end(&mut store, RunId(first.0 + i64::from(KEPT_RUNS) - 1));
        assert_eq!(results(&store, killed), None, "one too many");
        assert_eq!(results(&store, first).unwrap().tests.len(), 1);
        let newest = begun(&mut store);
        end(&mut store, newest);
        assert_eq!(results(&store, first), None);
        let left: i64 = store
            .connection
            .query_row("SELECT count(*) FROM step_results", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0);
    }
}

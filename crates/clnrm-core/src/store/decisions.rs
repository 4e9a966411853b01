//! Decisions about the number of a service's instances, as records: what was decided can be decided again from them.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::rings::RING_LENGTH;
use super::rows::{DecisionId, DecisionRow, ServiceId};
use super::sql_types::{json, time, to_json};
use super::{Store, StoreError};
use crate::services::service_manager::ScalingDecision;

impl Store {
    /// Records one decision each of some services, in one transaction. One that leaves a service as it is, for the reason
    /// for which the one before did, goes with that. Only the newest 1000 of a service are kept.
    pub fn record_decisions(
        &mut self,
        decisions: &[(ServiceId, ScalingDecision)],
    ) -> Result<Vec<DecisionId>, StoreError> {
        self.write("record a scaling decision", |transaction| {
            let made = decisions.iter();
            made.map(|(service, decision)| record(transaction, *service, decision))
                .collect()
        })
    }

    /// The newest decisions of a service, newest first.
    pub fn decisions(
        &self,
        service: ServiceId,
        limit: u32,
    ) -> Result<Vec<DecisionRow>, StoreError> {
        self.read("read the scaling decisions", |connection| {
            connection
                .prepare_cached(
                    "SELECT * FROM decisions WHERE service_id = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map(params![service, limit], decision_row)?
                .collect()
        })
    }
}

fn record(
    transaction: &Transaction<'_>,
    service: ServiceId,
    decision: &ScalingDecision,
) -> rusqlite::Result<DecisionId> {
    let at = decision.inputs.now.as_millis();
    let record = to_json(decision)?;
    let held_on: Option<DecisionId> = transaction
        .prepare_cached(
            "UPDATE decisions SET last_at = ?2, count = count + 1, record = ?3
             WHERE id = (SELECT max(id) FROM decisions WHERE service_id = ?1)
                 AND hold = ?3 ->> '$.reason.why.code' AND instances = ?3 ->> '$.from'
             RETURNING id",
        )?
        .query_row(params![service, at, record], |row| row.get(0))
        .optional()?;
    if let Some(id) = held_on {
        return Ok(id);
    }
    let id = transaction
        .prepare_cached(
            "INSERT INTO decisions (service_id, first_at, last_at, record) VALUES (?1, ?2, ?2, ?3) RETURNING id",
        )?
        .query_row(params![service, at, record], |row| row.get(0))?;
    transaction
        .prepare_cached(
            "DELETE FROM decisions WHERE service_id = ?1 AND id <=
                 (SELECT id FROM decisions WHERE service_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![service, RING_LENGTH])?;
    Ok(id)
}

fn decision_row(row: &Row<'_>) -> rusqlite::Result<DecisionRow> {
    Ok(DecisionRow {
        id: row.get("id")?,
        first_at: time(row, "first_at")?,
        last_at: time(row, "last_at")?,
        count: row.get("count")?,
        record: json(row, "record")?,
        action: row.get("action_id")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, service, store};
    use super::*;
    use crate::services::service_manager::{
        AutoScaleConfig, Fleet, ScalingInputs, ServiceMetrics, decide,
    };
    use crate::store::{ActionStart, NewAction};

    /// What is decided about two instances that use so much CPU.
    fn decision(second: i64, cpu_percent: f64) -> ScalingDecision {
        let now = at(second * 1_000);
        let sample = ServiceMetrics {
            cpu_percent: Some(cpu_percent),
            ..ServiceMetrics::at(now, 2)
        };
        let fleet = Fleet {
            instances: 2,
            ..Fleet::default()
        };
        let config = AutoScaleConfig::default();
        decide(ScalingInputs::gather(&config, &[sample], None, fleet, now))
    }

    fn record_all(store: &mut Store, service: ServiceId, made: &[ScalingDecision]) {
        for decision in made {
            store
                .record_decisions(&[(service, decision.clone())])
                .unwrap();
        }
    }

    #[test]
    fn what_was_decided_is_decided_again_from_its_record() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let made = [decision(1, 95.0), decision(2, 50.1), decision(3, 68.7)];
        record_all(&mut store, service, &made);
        let rows = store.decisions(service, 9).unwrap();
        assert_eq!(rows.len(), 3);
        for (row, made) in rows.iter().rev().zip(&made) {
            assert_eq!(&row.record, made);
            assert_eq!(&decide(row.record.inputs.clone()), made);
        }
    }

    #[test]
    fn equal_holds_in_a_row_are_one_record_with_a_count() {
        let (_dir, mut store) = store();
        let (cache, web) = (service(&mut store, "cache"), service(&mut store, "web"));
        let within = [decision(1, 50.0), decision(2, 51.0), decision(3, 52.0)];
        record_all(&mut store, cache, &within[..2]);
        record_all(&mut store, web, &[decision(2, 50.0)]);
        record_all(&mut store, cache, &within[2..]);
        let near = decision(4, 68.0);
        record_all(&mut store, cache, &[near, decision(5, 50.0)]);
        let rows = store.decisions(cache, 9).unwrap();
        let counts: Vec<u32> = rows.iter().map(|row| row.count).collect();
        assert_eq!(counts, [1, 1, 3]);
        assert_eq!((rows[2].first_at, rows[2].last_at), (at(1_000), at(3_000)));
        assert_eq!(rows[2].record, within[2]);
        assert_eq!(store.decisions(web, 9).unwrap().len(), 1);
        // What changes something is never one with what did before.
        record_all(&mut store, web, &[decision(6, 95.0), decision(7, 95.0)]);
        assert_eq!(store.decisions(web, 9).unwrap().len(), 3);
    }

    #[test]
    fn an_action_and_the_decision_that_it_follows_know_each_other() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let made = decision(1, 95.0);
        let decision = store.record_decisions(&[(service, made.clone())]).unwrap()[0];
        let action = NewAction {
            service,
            decision,
            expected_last: None,
            at: at(1_100),
            from_instances: made.from,
            to_instances: made.to,
            reason: made.reason,
            memory_mb_before: None,
        };
        let ActionStart::Begun(action) = store.begin_action(&action).unwrap() else {
            panic!("nobody else acts");
        };
        assert_eq!(store.decisions(service, 1).unwrap()[0].action, Some(action));
    }

    #[test]
    fn only_the_newest_thousand_are_kept() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let turns = |second| decision(second, [50.0, 68.0][second as usize % 2]);
        let made: Vec<_> = (0..1_005).map(|second| (service, turns(second))).collect();
        store.record_decisions(&made).unwrap();
        let rows = store.decisions(service, 2_000).unwrap();
        assert_eq!((rows.len(), rows[0].last_at), (1_000, at(1_004_000)));
    }
}

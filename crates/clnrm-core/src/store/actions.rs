//! Scaling actions. They outlive the command that took them, and so does the cool-down.

use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::rings::RING_LENGTH;
use super::rows::{ActionId, ActionOutcome, ActionRow, ActionStart, NewAction, ServiceId};
use super::sql_types::{time, to_json};
use super::{Store, StoreError};

impl Store {
    /// Records an action unless another one was recorded since the decision: two commands never scale twice.
    /// Only the newest 1000 of a service are kept.
    pub fn begin_action(&mut self, action: &NewAction) -> Result<ActionStart, StoreError> {
        self.write("record a scaling action", |transaction| {
            let newest = newest_actions(transaction, action.service, 1)?.pop();
            if let Some(newest) = newest.filter(|newest| Some(newest.id) != action.expected_last) {
                return Ok(ActionStart::Superseded(newest));
            }
            let id: ActionId = transaction
                .prepare_cached(
                    "INSERT INTO scaling_actions
                         (service_id, at, from_instances, to_instances, reason, memory_mb_before, outcome)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id",
                )?
                .query_row(
                    params![
                        action.service,
                        action.at.as_millis(),
                        action.from_instances,
                        action.to_instances,
                        to_json(&action.reason)?,
                        action.memory_mb_before,
                        ActionOutcome::Started,
                    ],
                    |row| row.get(0),
                )?;
            transaction
                .prepare_cached("UPDATE decisions SET action_id = ?2 WHERE id = ?1")?
                .execute(params![action.decision, id])?;
            transaction
                .prepare_cached(
                    "DELETE FROM scaling_actions WHERE service_id = ?1 AND id <=
                         (SELECT id FROM scaling_actions WHERE service_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![action.service, RING_LENGTH])?;
            Ok(ActionStart::Begun(id))
        })
    }

    /// Records that an action reached the instances that were decided.
    pub fn finish_action(&mut self, action: ActionId, took: Duration) -> Result<(), StoreError> {
        self.end_action(action, ActionOutcome::Done, None, took)
    }

    /// Records that an action did not reach the instances that were decided, and why.
    pub fn fail_action(
        &mut self,
        action: ActionId,
        message: &str,
        took: Duration,
    ) -> Result<(), StoreError> {
        self.end_action(action, ActionOutcome::Failed, Some(message), took)
    }

    /// The newest actions of a service, newest first.
    pub fn actions(&self, service: ServiceId, limit: u32) -> Result<Vec<ActionRow>, StoreError> {
        self.read("read the scaling actions", |connection| {
            newest_actions(connection, service, limit)
        })
    }

    fn end_action(
        &mut self,
        action: ActionId,
        outcome: ActionOutcome,
        message: Option<&str>,
        took: Duration,
    ) -> Result<(), StoreError> {
        let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        self.write("record the end of a scaling action", |transaction| {
            transaction
                .prepare_cached(
                    "UPDATE scaling_actions SET outcome = ?2, message = ?3, took_ms = ?4 WHERE id = ?1",
                )?
                .execute(params![action, outcome, message, took_ms])
                .map(drop)
        })
    }
}

fn newest_actions(
    connection: &Connection,
    service: ServiceId,
    limit: u32,
) -> rusqlite::Result<Vec<ActionRow>> {
    connection
        .prepare_cached(
            "SELECT * FROM scaling_actions WHERE service_id = ?1 ORDER BY id DESC LIMIT ?2",
        )?
        .query_map(params![service, limit], action_row)?
        .collect()
}

fn action_row(row: &Row<'_>) -> rusqlite::Result<ActionRow> {
    let took_ms: Option<i64> = row.get("took_ms")?;
    Ok(ActionRow {
        id: row.get("id")?,
        service: row.get("service_id")?,
        at: time(row, "at")?,
        from_instances: row.get("from_instances")?,
        to_instances: row.get("to_instances")?,
        memory_mb_before: row.get("memory_mb_before")?,
        outcome: row.get("outcome")?,
        message: row.get("message")?,
        took: took_ms.map(|took| Duration::from_millis(took.max(0).unsigned_abs())),
    })
}

#[cfg(test)]
mod tests {
    use super::super::rows::DecisionId;
    use super::super::tests::{at, service, store};
    use super::*;
    use crate::services::service_manager::autoscale::Reason;

    fn begin(
        store: &mut Store,
        service: ServiceId,
        expected_last: Option<ActionId>,
    ) -> ActionStart {
        let action = NewAction {
            service,
            decision: DecisionId(1),
            expected_last,
            at: at(5),
            from_instances: 1,
            to_instances: 3,
            reason: Reason::AboveMaximum { max: 3 },
            memory_mb_before: Some(312.5),
        };
        store.begin_action(&action).unwrap()
    }

    fn begun(start: ActionStart) -> ActionId {
        match start {
            ActionStart::Begun(id) => id,
            ActionStart::Superseded(row) => panic!("superseded by {row:?}"),
        }
    }

    #[test]
    fn two_commands_that_decided_alike_scale_once() {
        let (dir, mut one) = store();
        let mut two = Store::open(dir.path()).unwrap();
        let service = service(&mut one, "cache");
        let first = begun(begin(&mut one, service, None));
        let ActionStart::Superseded(newest) = begin(&mut two, service, None) else {
            panic!("both would have scaled");
        };
        assert_eq!(newest.id, first);
        begun(begin(&mut two, service, Some(first)));
    }

    #[test]
    fn the_outcome_is_recorded() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let done = begun(begin(&mut store, service, None));
        store
            .finish_action(done, Duration::from_millis(38))
            .unwrap();
        let failed = begun(begin(&mut store, service, Some(done)));
        store
            .fail_action(failed, "never ready", Duration::from_secs(1))
            .unwrap();
        let open = begun(begin(&mut store, service, Some(failed)));

        let rows = store.actions(service, 10).unwrap();
        assert_eq!(
            rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            [open, failed, done]
        );
        assert_eq!(
            (rows[0].outcome, rows[0].took),
            (ActionOutcome::Started, None)
        );
        assert_eq!(
            (rows[1].outcome, rows[1].message.as_deref()),
            (ActionOutcome::Failed, Some("never ready"))
        );
        assert_eq!(
            (rows[2].outcome, rows[2].took),
            (ActionOutcome::Done, Some(Duration::from_millis(38)))
        );
        assert_eq!(
            (
                rows[2].from_instances,
                rows[2].to_instances,
                rows[2].memory_mb_before
            ),
            (1, 3, Some(312.5))
        );
        assert_eq!(store.actions(service, 1).unwrap().len(), 1);
    }

    #[test]
    fn only_the_newest_thousand_are_kept() {
        let (_dir, mut store) = store();
        let (cache, web) = (service(&mut store, "cache"), service(&mut store, "web"));
        let other = begun(begin(&mut store, web, None));
        let mut last = None;
        for _ in 0..1_005 {
            last = Some(begun(begin(&mut store, cache, last)));
        }
        let rows = store.actions(cache, 2_000).unwrap();
        assert_eq!((rows.len(), Some(rows[0].id)), (1_000, last));
        assert_eq!(store.actions(web, 9).unwrap()[0].id, other);
    }
}

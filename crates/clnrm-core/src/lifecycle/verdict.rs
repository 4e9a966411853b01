//! Whether an instance of the history goes on, by what is known of it. Pure: who lives is a value.

use crate::backend::{Condition, Loss, Observed};
use crate::clock::Timestamp;
use crate::store::{InstanceRow, InstanceState, RunRow};

/// What is to be done with one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Leave,
    /// It has ended (or must), and the row must say so.
    End(&'static str),
    /// The same, unless somebody takes it while we look.
    Retire(Retirement),
}

/// Why an instance of a pool goes that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retirement {
    Expired,
    RunKilled,
    HolderKilled,
    NotServing,
}

impl Retirement {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Expired => "its time in the pool was up",
            Self::NotServing => "it was free, and did not serve",
            Self::RunKilled => "its run was killed before it could stop it",
            Self::HolderKilled => "whoever held it was killed, so nobody knows what state it is in",
        }
    }
}

pub(super) const ENGINE_RESTARTED: &str = "the container engine was restarted, which ended it";

/// `owner_lives`: whether the command does that holds it; `killed_run`: the run that started it, if that was killed.
pub(super) fn judge(
    row: &InstanceRow,
    observed: &Observed,
    owner_lives: bool,
    killed_run: Option<&RunRow>,
    now: Timestamp,
) -> Verdict {
    let would_be_stopped = killed_run.is_some_and(|run| !run.keep);
    match observed {
        Observed::Unknown(_) => Verdict::Leave,
        Observed::Alive(condition)
            if *condition != Condition::Serving && row.warm_until.is_some() =>
        {
            Verdict::Retire(Retirement::NotServing)
        }
        Observed::Alive(_) if row.start.pooled && row.state == InstanceState::Running => {
            judge_pooled(row, owner_lives, would_be_stopped, now)
        }
        Observed::Alive(_) if owner_lives => Verdict::Leave,
        Observed::Alive(_) => match row.state {
            InstanceState::Starting => {
                Verdict::End("the command that started it was killed before it was ready")
            }
            InstanceState::Stopping => Verdict::End("a stop had begun, and is finished now"),
            _ if would_be_stopped => Verdict::End("its run was killed before it could stop it"),
            _ => Verdict::Leave,
        },
        Observed::Ended(_) | Observed::Lost(Loss::EngineRestarted)
            if owner_lives && row.state != InstanceState::Running =>
        {
            Verdict::Leave
        }
        Observed::Lost(Loss::EngineRestarted) => Verdict::End(ENGINE_RESTARTED),
        Observed::Ended(record) if record.requested || row.state == InstanceState::Stopping => {
            Verdict::End("the command that stopped it was killed")
        }
        Observed::Ended(_) => Verdict::End("it ended by itself"),
        // Its folder is made just before its container is.
        Observed::Lost(Loss::ContainerRemoved)
            if owner_lives && row.state != InstanceState::Running =>
        {
            Verdict::Leave
        }
        Observed::Lost(Loss::ContainerRemoved) => Verdict::End("its container was removed"),
        Observed::Lost(_) => Verdict::End("its supervisor was killed"),
        Observed::NeverStarted if row.state == InstanceState::Running => {
            Verdict::End("its folder was deleted")
        }
        Observed::NeverStarted if owner_lives => Verdict::Leave,
        Observed::NeverStarted => Verdict::End("the command that was to start it was killed"),
    }
}

/// One that lives in a pool: free until its time is up, or held by a command that lives.
fn judge_pooled(
    row: &InstanceRow,
    owner_lives: bool,
    would_be_stopped: bool,
    now: Timestamp,
) -> Verdict {
    match row.warm_until {
        Some(until) if until <= now => Verdict::Retire(Retirement::Expired),
        Some(_) if would_be_stopped => Verdict::Retire(Retirement::RunKilled),
        Some(_) => Verdict::Leave,
        None if owner_lives => Verdict::Leave,
        None => Verdict::Retire(Retirement::HolderKilled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{at, journalled, service, store};

    /// A row that was read back, in this state; `pooled` = free until 9 s.
    fn row(state: InstanceState, pooled: bool) -> InstanceRow {
        let (_dir, mut store) = store();
        let cache = service(&mut store, "cache");
        let id = journalled(&mut store, cache, "cache-1", 1_000).id;
        let mut row = store.instance(&id).unwrap().unwrap();
        row.state = state;
        row.start.pooled = pooled;
        row.warm_until = pooled.then(|| at(9_000));
        row
    }

    #[test]
    fn who_lives_goes_on_unless_nobody_is_responsible() {
        let serves = Observed::Alive(Condition::Serving);
        let judged =
            |state, owner_lives| judge(&row(state, false), &serves, owner_lives, None, at(2_000));
        for state in [InstanceState::Starting, InstanceState::Stopping] {
            assert_eq!(judged(state, true), Verdict::Leave);
            assert!(matches!(judged(state, false), Verdict::End(_)), "{state:?}");
        }
        assert_eq!(judged(InstanceState::Running, false), Verdict::Leave);
    }

    #[test]
    fn what_is_free_in_a_pool_goes_when_its_time_is_up_or_it_does_not_serve() {
        let free = row(InstanceState::Running, true);
        let judged =
            |condition, now| judge(&free, &Observed::Alive(condition), false, None, at(now));
        assert_eq!(judged(Condition::Serving, 8_999), Verdict::Leave);
        assert_eq!(
            judged(Condition::Serving, 9_000),
            Verdict::Retire(Retirement::Expired)
        );
        assert_eq!(
            judged(Condition::Paused, 2_000),
            Verdict::Retire(Retirement::NotServing)
        );
        let mut held = free;
        held.warm_until = None;
        let judged = |owner_lives| {
            let serves = Observed::Alive(Condition::Serving);
            judge(&held, &serves, owner_lives, None, at(2_000))
        };
        assert_eq!(judged(true), Verdict::Leave);
        assert_eq!(judged(false), Verdict::Retire(Retirement::HolderKilled));
    }

    #[test]
    fn what_is_only_being_made_is_left_to_whoever_makes_it() {
        for observed in [
            Observed::NeverStarted,
            Observed::Lost(Loss::ContainerRemoved),
        ] {
            let judged = |state, owner_lives| {
                judge(&row(state, false), &observed, owner_lives, None, at(2_000))
            };
            assert_eq!(judged(InstanceState::Starting, true), Verdict::Leave);
            for (state, owner_lives) in [
                (InstanceState::Starting, false),
                (InstanceState::Running, true),
            ] {
                let ended = matches!(judged(state, owner_lives), Verdict::End(_));
                assert!(ended, "{observed:?} {state:?}");
            }
        }
    }
}

//! What one page alone does not tell: whether several processes answer in turn, and whether clnrm's own requests are
//! among those that are counted. Both need the pages before.

use std::collections::HashMap;
use std::time::Duration;

use clnrm_decide::{Absent, Measured};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::metrics::{Counter, START_WANDERS_SECONDS, ServiceCounters};
use crate::metrics::{Series, grown};

/// A counter that is back where it was so soon after it fell did not count that: another process answers.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing is believed after that.
const DISTRUST: Duration = Duration::from_secs(15);
/// How many series are followed after they fell; one is enough to tell.
const FOLLOWED_SERIES: usize = 64;

/// One page, and how it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    pub(super) at: Instant,
    /// Requests of clnrm since the page before.
    pub(super) own_requests: f64,
    /// Whether it was asked for at once after the page before, so that nothing can have happened in between.
    pub(super) is_repeat: bool,
}

/// What is remembered of the pages before.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When processes were started that answered lately, the last one last.
    starts: Vec<(f64, Instant)>,
    distrusted_until: Option<Instant>,
    requests: Counting,
    errors: Counting,
    responses: Counting,
}

impl Memory {
    /// Completes what a page says by what is known from the pages before.
    pub(super) fn complete(&mut self, counters: &mut ServiceCounters, visit: Visit) {
        let started = counters.started_at_seconds;
        if started.is_some_and(|started| self.is_back(started, visit.at)) {
            self.distrusted_until = Some(visit.at + DISTRUST);
        }
        let is_distrusted = self.distrusted_until.is_some_and(|until| visit.at < until);

        self.requests.complete(&mut counters.requests, visit);
        self.errors.follow(&counters.errors, visit);
        if let Ok(responses) = &mut counters.responses {
            let mut count = Ok(responses.count.clone());
            self.responses.complete(&mut count, visit);
            if let Ok(count) = count {
                responses.count = count;
            }
        }
        let distrusts = |counting: &Counting| is_distrusted || counting.is_distrusted(visit.at);
        if distrusts(&self.requests) {
            refuse(&mut counters.requests);
        }
        if distrusts(&self.errors) {
            refuse(&mut counters.errors);
        }
        if distrusts(&self.responses) {
            refuse(&mut counters.responses);
        }
    }

    /// Whether a process answers again after another one did. That it was started earlier does not tell: a clock that is
    /// set back moves the start of a process that computes it anew each time.
    fn is_back(&mut self, started: f64, at: Instant) -> bool {
        self.starts
            .retain(|(_, seen)| at.duration_since(*seen) <= BACK_WITHIN);
        let is_same =
            |(other, _): &(f64, Instant)| (started - other).abs() <= START_WANDERS_SECONDS;
        let was_last = self.starts.last().is_some_and(is_same);
        let is_back = !was_last && self.starts.iter().any(is_same);
        if was_last {
            self.starts.pop();
        }
        self.starts.push((started, at));
        is_back
    }
}

fn refuse<T>(value: &mut Measured<T>) {
    if value.is_ok() {
        *value = Err(Absent::UpAndDown);
    }
}

/// What is remembered of one counter.
#[derive(Debug, Default)]
struct Counting {
    last: Option<Series>,
    /// What series showed before they fell, and when that was.
    fallen: HashMap<u64, (f64, Instant)>,
    distrusted_until: Option<Instant>,
    /// Whether the counter once grew by less than clnrm asked: then it does not count what clnrm asks.
    leaves_out_own: bool,
    own: f64,
}

impl Counting {
    fn complete(&mut self, counter: &mut Measured<Counter>, visit: Visit) {
        self.follow(counter, visit);
        if let Ok(counter) = counter {
            counter.own = self.own;
        }
    }

    fn follow(&mut self, counter: &Measured<Counter>, visit: Visit) {
        let Some(series) = counter
            .as_ref()
            .ok()
            .and_then(|counter| counter.series.as_ref())
        else {
            return;
        };
        if let Some(last) = self.last.take() {
            self.judge_own(&last, series, visit);
            self.judge_falls(&last, series, visit);
        }
        if !self.leaves_out_own {
            self.own += visit.own_requests;
        }
        self.last = Some(series.clone());
    }

    fn judge_own(&mut self, last: &Series, now: &Series, visit: Visit) {
        // Of a page without any series nobody can say what it would count.
        if now.values().is_empty() {
            return;
        }
        if let Ok(growth) = last.growth(now, Timestamp::from_millis(i64::MAX))
            && growth < visit.own_requests
        {
            self.leaves_out_own = true;
            if visit.is_repeat {
                // Nobody has been told of any yet.
                self.own = 0.0;
            }
        }
    }

    fn judge_falls(&mut self, last: &Series, now: &Series, visit: Visit) {
        self.fallen
            .retain(|_, (_, at)| visit.at.duration_since(*at) <= BACK_WITHIN);
        let mut is_back = false;
        self.fallen.retain(|key, (peak, _)| {
            let returned = now.get(*key).is_some_and(|value| value >= *peak);
            is_back |= returned;
            !returned
        });
        let is_all_new = is_all_new(last, now);
        for (key, before) in last.values() {
            let fell = match now.get(*key) {
                Some(value) => grown(*before, value).is_none(),
                None => is_all_new,
            };
            if fell && visit.is_repeat {
                is_back = true;
            } else if fell && self.fallen.len() < FOLLOWED_SERIES {
                self.fallen.insert(*key, (*before, visit.at));
            }
        }
        if is_back {
            self.distrusted_until = Some(visit.at + DISTRUST);
        }
    }

    fn is_distrusted(&self, at: Instant) -> bool {
        self.distrusted_until.is_some_and(|until| at < until)
    }
}

/// Whether nothing is left of what there was, and other series stand in its place.
fn is_all_new(last: &Series, now: &Series) -> bool {
    !now.values().is_empty() && (last.values().iter()).all(|(key, _)| now.get(*key).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(values: &[(u64, f64)]) -> ServiceCounters {
        let counter = Counter::of_series(Series::new(values.iter().copied()));
        ServiceCounters {
            epoch: None,
            started_at_seconds: None,
            witness: None,
            requests: Ok(counter),
            errors: Err(Absent::NoSource),
            responses: Err(Absent::NoSource),
            connections: Err(Absent::NoSource),
        }
    }

    /// Requests of pages a second apart, each page asked for once.
    fn seen(pages: &[&[(u64, f64)]]) -> Vec<Measured<Counter>> {
        let mut memory = Memory::default();
        let begun = Instant::now();
        (0_u32..)
            .zip(pages)
            .map(|(number, values)| {
                let mut counters = page(values);
                let visit = Visit {
                    at: begun + Duration::from_secs(1) * number,
                    own_requests: 1.0,
                    is_repeat: false,
                };
                memory.complete(&mut counters, visit);
                counters.requests
            })
            .collect()
    }

    #[test]
    fn two_processes_that_answer_in_turn_are_noticed() {
        let a: &[(u64, f64)] = &[(1, 5_000.0)];
        let b: &[(u64, f64)] = &[(1, 70.0)];
        let seen = seen(&[a, b, a, b, b]);
        assert!(seen[0].is_ok() && seen[1].is_ok());
        for requests in &seen[2..] {
            assert_eq!(*requests, Err(Absent::UpAndDown));
        }
    }

    #[test]
    fn processes_that_name_themselves_in_their_series_are_noticed_too() {
        let a: &[(u64, f64)] = &[(1, 5_000.0)];
        let b: &[(u64, f64)] = &[(2, 70.0)];
        let turns = seen(&[a, b, a, a]);
        assert!(turns[0].is_ok() && turns[1].is_ok());
        assert_eq!(turns[2..], [Err(Absent::UpAndDown), Err(Absent::UpAndDown)]);
        // One series of several that comes and goes is not that.
        let both: &[(u64, f64)] = &[(1, 5_000.0), (2, 70.0)];
        assert!(seen(&[both, a, both, a]).iter().all(Result::is_ok));
    }

    #[test]
    fn a_repeat_that_falls_is_another_process_at_once() {
        let mut memory = Memory::default();
        let at = Instant::now();
        let mut look = |value: f64, is_repeat| {
            let mut counters = page(&[(1, value)]);
            let visit = Visit {
                at,
                own_requests: 1.0,
                is_repeat,
            };
            memory.complete(&mut counters, visit);
            counters.requests.is_ok()
        };
        assert!(look(5.0, false));
        assert!(look(300.0, true));
        assert!(!look(5.0, true));
    }

    #[test]
    fn a_start_that_is_back_is_another_process_and_one_that_wanders_or_is_set_is_not() {
        let mut memory = Memory::default();
        let at = Instant::now();
        let mut is_believed = |started: f64| {
            let mut counters = page(&[(1, 5.0)]);
            counters.started_at_seconds = Some(started);
            let visit = Visit {
                at,
                own_requests: 1.0,
                is_repeat: false,
            };
            memory.complete(&mut counters, visit);
            counters.requests.is_ok()
        };
        assert!(is_believed(1_000.0));
        assert!(is_believed(1_001.0));
        assert!(is_believed(1_000.0));
        assert!(is_believed(1_050.0), "a restart");
        assert!(is_believed(-2_550.0), "the clock was set back by an hour");
        assert!(is_believed(-2_550.0));
        assert!(!is_believed(1_000.0), "the first one again");
    }

    #[test]
    fn a_counter_that_starts_anew_is_believed_while_it_grows() {
        let seen = seen(&[&[(1, 1_000.0)], &[(1, 3.0)], &[(1, 50.0)], &[(1, 99.0)]]);
        assert!(seen.iter().all(Result::is_ok), "{seen:?}");
    }

    #[test]
    fn own_requests_are_taken_off_until_the_counter_shows_that_it_leaves_them_out() {
        let own = |pages: &[&[(u64, f64)]]| -> Vec<f64> {
            seen(pages)
                .into_iter()
                .map(|requests| requests.unwrap().own)
                .collect()
        };
        assert_eq!(
            own(&[&[(1, 7.0)], &[(1, 8.0)], &[(1, 12.0)]]),
            [1.0, 2.0, 3.0]
        );
        assert_eq!(
            own(&[&[(1, 7.0)], &[(1, 7.5)], &[(1, 12.0)]]),
            [1.0, 1.0, 1.0]
        );
        // A series that began or fell proves nothing.
        assert_eq!(
            own(&[&[(1, 7.0)], &[(2, 90.0)], &[(2, 91.0)]]),
            [1.0, 2.0, 3.0]
        );
    }
}

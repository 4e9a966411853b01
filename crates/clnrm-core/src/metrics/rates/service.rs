//! Rates of what a service counts itself: its resets, its series, and clnrm's own part of it.

use clnrm_decide::{Absent, Measured};

use super::interval::{increase, seconds_between};
use crate::clock::Timestamp;
use crate::metrics::reading::{
    Counter, Reading, ResponseCounter, START_WANDERS_SECONDS, ServiceCounters,
};
use crate::metrics::series::Series;

/// Responses per second and the time that they took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Responses {
    /// Seconds of response time per second.
    pub seconds_per_s: f64,
    /// Responses per second.
    pub count_per_s: f64,
}

/// Rates of what the service counts itself.
pub(super) struct ServiceRates {
    pub(super) requests: Measured<f64>,
    pub(super) errors: Measured<f64>,
    pub(super) responses: Measured<Responses>,
}

pub(super) fn service_rates(previous: &Measured<&Reading>, current: &Reading) -> ServiceRates {
    match ServiceInterval::between(previous, current) {
        Err(reason) => {
            // What is absent now is absent for its own reason, whatever the reading before was.
            let counters = current.service.counters.as_ref();
            let why = |own: Option<&Absent>| own.unwrap_or(&reason).clone();
            ServiceRates {
                requests: Err(why(counters.map_or(None, |now| now.requests.as_ref().err()))),
                errors: Err(why(counters.map_or(None, |now| now.errors.as_ref().err()))),
                responses: Err(why(
                    counters.map_or(None, |now| now.responses.as_ref().err())
                )),
            }
        }
        Ok(interval) => ServiceRates {
            requests: interval.rate(&interval.before.requests, &interval.now.requests),
            errors: interval.rate(&interval.before.errors, &interval.now.errors),
            responses: interval.responses(),
        },
    }
}

/// Two states of a service's counters that may be subtracted.
struct ServiceInterval<'a> {
    before: &'a ServiceCounters,
    now: &'a ServiceCounters,
    same_collector: bool,
    /// The time of day when `before` was read.
    since: Timestamp,
    seconds: f64,
}

impl<'a> ServiceInterval<'a> {
    fn between(previous: &Measured<&'a Reading>, current: &'a Reading) -> Measured<Self> {
        let now = current.service.counters.as_ref().map_err(Absent::clone)?;
        let previous = previous.clone()?;
        let before = previous.service.counters.as_ref();
        let before = before.map_err(|_| Absent::FirstReading)?;
        if previous.service.source != current.service.source {
            return Err(Absent::FirstReading);
        }
        let interval = Self {
            before,
            now,
            same_collector: previous.collector == current.collector,
            since: previous.at - previous.awake_at.since(previous.service.at),
            seconds: seconds_between(previous.service.at, current.service.at)?,
        };
        if interval.began_anew() {
            return Err(Absent::CounterReset);
        }
        Ok(interval)
    }

    /// Whether the service says that it counts from zero again.
    fn began_anew(&self) -> bool {
        let Self { before, now, .. } = self;
        let started = before.started_at_seconds.zip(now.started_at_seconds);
        let witness = before.witness.as_ref().zip(now.witness.as_ref());
        before.epoch != now.epoch
            || started.is_some_and(|(before, now)| (now - before).abs() > START_WANDERS_SECONDS)
            || witness.is_some_and(|(before, now)| !self.has_grown_by_own(before, now))
    }

    fn has_grown_by_own(&self, before: &Counter, now: &Counter) -> bool {
        let own = self.own_growth(before, now);
        own.is_ok_and(|own| now.total >= before.total + own)
    }

    fn rate(&self, before: &Measured<Counter>, now: &Measured<Counter>) -> Measured<f64> {
        let now = now.as_ref().map_err(Absent::clone)?;
        let before = before
            .as_ref()
            .map_err(|reason| self.since_absent(reason))?;
        Ok(self.foreign_increase(before, now)? / self.seconds)
    }

    /// Why there is no rate where the reading before had no value. Another command that saw several processes answer in
    /// turn is believed: this one has seen too little of them.
    fn since_absent(&self, reason: &Absent) -> Absent {
        match reason {
            Absent::UpAndDown if !self.same_collector => Absent::UpAndDown,
            _ => Absent::FirstReading,
        }
    }

    fn responses(&self) -> Measured<Responses> {
        let now = self.now.responses.as_ref().map_err(Absent::clone)?;
        let before = self.before.responses.as_ref();
        let before = before.map_err(|reason| self.since_absent(reason))?;
        let (seconds, count) = match (series_of(before), series_of(now)) {
            (Some(before), Some(now)) => Series::paired_growth(before, now, self.since)?,
            _ => (
                self.growth(&before.seconds, &now.seconds)?,
                self.growth(&before.count, &now.count)?,
            ),
        };
        let own_seconds = self.own_growth(&before.seconds, &now.seconds)?;
        let own_count = self.own_growth(&before.count, &now.count)?;
        let is_time_of_others = own_seconds > 0.0 || own_count <= TOLERATED_OWN * count;
        let others = (count - own_count).max(0.0);
        if !is_time_of_others && others > 0.0 {
            return Err(Absent::OwnAmongTimed);
        }
        Ok(Responses {
            seconds_per_s: (seconds - own_seconds).max(0.0) / self.seconds,
            count_per_s: others / self.seconds,
        })
    }

    /// What others than clnrm added.
    fn foreign_increase(&self, before: &Counter, now: &Counter) -> Measured<f64> {
        let own = self.own_growth(before, now)?;
        // A service that counts with a delay may not have counted our last request yet: that is no negative load.
        Ok((self.growth(before, now)? - own).max(0.0))
    }

    /// What was added, by whomever.
    fn growth(&self, before: &Counter, now: &Counter) -> Measured<f64> {
        match (&before.series, &now.series) {
            (Some(before), Some(now)) => before.growth(now, self.since),
            (None, None) => increase(before.total, now.total),
            _ => Err(Absent::FirstReading),
        }
    }

    /// How much of what was added is clnrm's. Another collector's own part is unknown from here, but it ended with
    /// `before`.
    fn own_growth(&self, before: &Counter, now: &Counter) -> Measured<f64> {
        let own_before = if self.same_collector { before.own } else { 0.0 };
        Ok(increase(own_before, now.own)? + before.unpublished - now.unpublished)
    }
}

/// Up to which share clnrm's own requests may be among those whose time is averaged, where their time is not known.
const TOLERATED_OWN: f64 = 0.05;

fn series_of(counter: &ResponseCounter) -> Option<(&Series, &Series)> {
    counter
        .seconds
        .series
        .as_ref()
        .zip(counter.count.series.as_ref())
}

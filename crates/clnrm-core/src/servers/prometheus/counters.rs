//! From the families of a page to the counters of a service. Pure.

use std::collections::HashMap;

use clnrm_decide::{Absent, Measured};

use super::families::{Families, created_name, other_form};
use super::family::Family;
use super::status::Outcome;
use super::unit::seconds_in_one;
use crate::clock::Timestamp;
use crate::config::definition::ServerSpec;
use crate::metrics::Series;
use crate::metrics::{Counter, ResponseCounter, ServiceCounters};

/// Set by all official client libraries.
const START_TIME: &str = "process_start_time_seconds";

/// The names to look for.
#[derive(Debug)]
pub(super) struct Names {
    requests: String,
    errors: Option<String>,
    duration: String,
    connections: Option<String>,
    /// Every name that can matter: those above, their parts and other forms.
    all: Vec<String>,
}

impl Names {
    pub(super) fn new(spec: &ServerSpec) -> Self {
        let stated = |key| spec.setting(key).map(str::to_owned);
        let requests = stated("requests").unwrap_or_default();
        let duration = stated("duration").unwrap_or_default();
        let (errors, connections) = (stated("errors"), stated("connections"));
        let counters = [&requests].into_iter().chain(&errors);
        let of_counter = counters.flat_map(|name| {
            let sum_of = name.strip_suffix("_sum").unwrap_or(name).to_owned();
            let parts = ["count", "bucket"].map(|part| format!("{name}_{part}"));
            let forms = [name.clone(), other_form(name), created_name(name), sum_of];
            forms.into_iter().chain(parts)
        });
        let whole = ["_sum", "_count", "_bucket"]
            .iter()
            .find_map(|part| duration.strip_suffix(part))
            .unwrap_or(&duration);
        let of_duration = ["_sum", "_count", "_bucket", "_created"]
            .iter()
            .flat_map(|part| [format!("{duration}{part}"), format!("{whole}{part}")])
            .chain([duration.clone(), whole.to_owned()]);
        let mut all: Vec<String> = of_counter
            .chain(of_duration)
            .chain(connections.clone())
            .chain([START_TIME.to_owned()])
            .collect();
        all.sort_unstable();
        all.dedup();
        Self {
            requests,
            errors,
            duration,
            connections,
            all,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(String::as_str)
    }
}

/// What a page that was read `now` says of the service.
pub(super) fn counters(page: &Families, names: &Names, now: Timestamp) -> ServiceCounters {
    let observations = observations(page, &names.duration);
    let requests = requests(page, names, &observations);
    let errors = match (&names.errors, &requests) {
        (Some(name), _) => page
            .counter(name)
            .map(|(name, family)| whole(page, &name, family, now)),
        (None, Ok((name, family))) => failed(page, name, family, now),
        (None, Err(reason)) => Err(reason.clone()),
    };
    ServiceCounters {
        epoch: None,
        started_at_seconds: page.only(START_TIME),
        witness: None,
        responses: responses(page, names, &observations, now),
        requests: requests.map(|(name, family)| whole(page, &name, family, now)),
        errors,
        connections: match &names.connections {
            Some(name) => page.gauge(name),
            None => Err(Absent::NoSource),
        },
    }
}

/// The counter of requests. Without one, a histogram of their durations counts them as well.
fn requests<'p>(
    page: &'p Families,
    names: &Names,
    observations: &Measured<(String, &'p Family)>,
) -> Measured<(String, &'p Family)> {
    let requests = page.counter(&names.requests);
    match (&requests, observations) {
        (Err(Absent::NoSuchMetric { .. } | Absent::NoSeries { .. }), Ok(observed)) => {
            Ok(observed.clone())
        }
        _ => requests,
    }
}

/// The family that counts what a histogram or summary has observed: its count, else its last bucket.
fn observations<'p>(page: &'p Families, duration: &str) -> Measured<(String, &'p Family)> {
    for part in ["_count", "_bucket"] {
        let name = format!("{duration}{part}");
        if let Some(family) = page.part(&name) {
            return family.map(|family| (name, family));
        }
    }
    if page.part(&format!("{duration}_sum")).is_some() {
        return Err(page.no_such(format!("{duration}_count"), None));
    }
    Err(missing_duration(page, duration))
}

fn missing_duration(page: &Families, duration: &str) -> Absent {
    let whole = ["_sum", "_count", "_bucket"]
        .iter()
        .find_map(|part| duration.strip_suffix(part))
        .filter(|whole| page.part(&format!("{whole}_sum")).is_some());
    match whole {
        Some(whole) => page.no_such(duration.to_owned(), Some(whole.to_owned())),
        None => page.missing_duration(duration),
    }
}

fn responses(
    page: &Families,
    names: &Names,
    observations: &Measured<(String, &Family)>,
    now: Timestamp,
) -> Measured<ResponseCounter> {
    let duration = &names.duration;
    let (_, observed) = observations.as_ref().map_err(Absent::clone)?;
    let sum_name = format!("{duration}_sum");
    let sum = page
        .part(&sum_name)
        .ok_or_else(|| page.no_such(sum_name, None))??;
    let unit = seconds_in_one(duration, page.unit(duration)).ok_or_else(|| Absent::NoUnit {
        name: duration.clone(),
    })?;
    let created = page.created(duration);
    let series = |family: &Family| series_of(family, |_| true).created(&created, now);
    Ok(ResponseCounter {
        seconds: Counter::of_series(series(sum).scaled(unit)),
        count: Counter::of_series(series(observed)),
    })
}

/// All series of a counter.
fn whole(page: &Families, name: &str, family: &Family, now: Timestamp) -> Counter {
    let series = series_of(family, |_| true).created(&created(page, name), now);
    Counter::of_series(series)
}

/// Those series of a counter of requests that failed.
fn failed(page: &Families, name: &str, family: &Family, now: Timestamp) -> Measured<Counter> {
    let name = || name.to_owned();
    match &family.bad_status {
        Some(Outcome::Unknown(label)) => Err(Absent::UnknownStatus {
            name: name(),
            label: label.clone(),
        }),
        Some(_) => Err(Absent::NoStatusLabel { name: name() }),
        None => {
            let series = series_of(family, |has_failed| has_failed);
            Ok(Counter::of_series(
                series.created(&created(page, &name()), now),
            ))
        }
    }
}

fn created(page: &Families, name: &str) -> HashMap<u64, f64> {
    let whole = ["_count", "_bucket"]
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .unwrap_or(name);
    page.created(whole)
}

fn series_of(family: &Family, is_meant: impl Fn(bool) -> bool) -> Series {
    let meant = (family.values.iter()).filter(|(_, value)| is_meant(value.has_failed));
    Series::new(meant.map(|(key, value)| (*key, value.number)))
}

//! The series of one metric, each by a key of its labels.

use std::borrow::Cow;
use std::collections::HashMap;

use clnrm_decide::{Absent, Measured};

use super::status::{self, Outcome};
use super::text::{Kind, Sample};
use crate::metrics::SeriesKey;

/// Labels that usual instrumentations use for the path: a series with the scrape's own path counts our scrapes.
const PATH_LABELS: [&str; 12] = [
    "path",
    "handler",
    "route",
    "endpoint",
    "uri",
    "url",
    "url_path",
    "http_path",
    "http_route",
    "http_target",
    "request_path",
    "target",
];

/// One metric's series and what is declared of it.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) kind: Option<Kind>,
    pub(super) unit: Option<String>,
    /// Whether the page has any series of it, be it one that counts our own scrapes.
    pub(super) has_series: bool,
    /// By key; without those that count our own scrapes.
    pub(super) values: HashMap<u64, Value>,
    /// A series that stands on the page more than once, with different values.
    is_contradictory: bool,
    /// How a series says that its requests ended, if that is no status.
    pub(super) bad_status: Option<Outcome>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub(super) number: f64,
    timestamp: Option<f64>,
    pub(super) has_failed: bool,
}

impl Family {
    pub(super) fn add(&mut self, sample: &Sample<'_>, own_paths: &[String]) {
        // Buckets are cumulative: the last one counts everything.
        if (sample.label("le")).is_some_and(|bound| bound.parse() != Ok(f64::INFINITY)) {
            return;
        }
        self.has_series = true;
        let is_own = |label: &&str| {
            (sample.label(label)).is_some_and(|value| {
                let path = path_of(value);
                own_paths.iter().any(|own| path_of(own) == path)
            })
        };
        if PATH_LABELS.iter().any(is_own) {
            return;
        }
        let outcome = status::outcome(sample);
        let value = Value {
            number: sample.value,
            timestamp: sample.timestamp,
            has_failed: outcome == Outcome::Failed,
        };
        if matches!(outcome, Outcome::Untold | Outcome::Unknown(_)) && self.bad_status.is_none() {
            self.bad_status = Some(outcome);
        }
        let key = key(sample);
        let Some(twin) = self.values.insert(key, value) else {
            return;
        };
        // The same series again: the newer one, where their times say which that is.
        if twin.timestamp > value.timestamp {
            self.values.insert(key, twin);
        } else if twin.timestamp == value.timestamp {
            self.is_contradictory |= twin.number.to_bits() != value.number.to_bits();
        }
    }

    /// Whether its values can be used.
    pub(super) fn sound(&self, name: &str) -> Measured<&Self> {
        if self.is_contradictory {
            return Err(Absent::Contradictory {
                name: name.to_owned(),
            });
        }
        if self.values.values().all(|value| value.number.is_finite()) {
            return Ok(self);
        }
        Err(Absent::NotFinite {
            what: name.to_owned(),
        })
    }
}

/// The same for `/metrics`, `/metrics/`, `/metrics?a=b` and `http://host/metrics`.
fn path_of(value: &str) -> &str {
    let path = match value.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|start| rest.get(start..)),
        None => Some(value),
    };
    let path = path.unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or(path);
    path.trim_end_matches('/')
}

/// The same for the same labels in any order. A bucket's bound is left out: only one bucket is read.
fn key(sample: &Sample<'_>) -> u64 {
    let mut labels: Vec<&(Cow<'_, str>, Cow<'_, str>)> = (sample.labels.iter())
        .filter(|(label, _)| label != "le")
        .collect();
    labels.sort_unstable();
    (labels.iter())
        .fold(SeriesKey::EMPTY, |key, (label, value)| {
            key.with(label).with(value)
        })
        .value()
}

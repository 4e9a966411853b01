//! A Prometheus text endpoint: requests, errors, response times and connections under configurable names.
//!
//! Deliberately absent: OpenMetrics' protobuf form, quantiles and buckets, PromQL.

mod text;

use async_trait::async_trait;

use self::text::{Line, Sample};
use super::MetricsSource;
use super::absent::{Absent, Measured};
use super::http_get::{Page, PageText};
use super::reading::{Counter, ResponseCounter, ServiceCounters, Source};
use crate::config::definition::PrometheusSpec;

/// Labels that usual instrumentations use for the status code.
const STATUS_LABELS: [&str; 3] = ["code", "status", "status_code"];

/// Labels that usual instrumentations use for the path: a series with the scrape's own path counts our scrapes.
const PATH_LABELS: [&str; 5] = ["path", "handler", "route", "endpoint", "uri"];

/// Set by all official client libraries.
const START_TIME: &str = "process_start_time_seconds";

/// Reads a Prometheus text endpoint.
#[derive(Debug)]
pub(super) struct Prometheus {
    page: Page,
    names: Names,
}

/// The names to look for.
#[derive(Debug)]
struct Names {
    requests: String,
    errors: Option<String>,
    duration: String,
    duration_sum: String,
    duration_count: String,
    connections: Option<String>,
    /// The path of the endpoint itself.
    own_path: String,
}

impl Prometheus {
    pub(super) fn new(page: Page, spec: &PrometheusSpec) -> Self {
        let names = Names {
            requests: spec.requests.clone(),
            errors: spec.errors.clone(),
            duration_sum: format!("{}_sum", spec.duration),
            duration_count: format!("{}_count", spec.duration),
            duration: spec.duration.clone(),
            connections: spec.connections.clone(),
            own_path: page.path().to_owned(),
        };
        Self { page, names }
    }
}

#[async_trait]
impl MetricsSource for Prometheus {
    fn source(&self) -> Source {
        Source::Prometheus
    }

    fn endpoint(&self) -> &str {
        &self.page.endpoint
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        Ok(counters(&self.page.get().await?, &self.names))
    }
}

/// The sum over all series of one metric.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    value: f64,
    /// Whether the page has the metric: a series of it, or its declaration. A labelled counter that was declared and has
    /// no series yet is zero.
    present: bool,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.value += value;
        self.present = true;
    }

    fn named(self, name: &str, unreadable_lines: usize) -> Measured<f64> {
        if !self.present {
            return Err(Absent::NoSuchMetric {
                name: name.to_owned(),
                unreadable_lines,
            });
        }
        if !self.value.is_finite() {
            return Err(Absent::NotFinite {
                what: name.to_owned(),
            });
        }
        Ok(self.value)
    }
}

/// A counter of requests, with the part of it that failed.
#[derive(Debug, Default)]
struct Requests {
    all: Sum,
    failed: Sum,
    /// Whether a series does not say how the requests ended.
    without_status: bool,
}

impl Requests {
    fn add(&mut self, sample: &Sample<'_>) {
        self.all.add(sample.value);
        match STATUS_LABELS.iter().find_map(|name| sample.label(name)) {
            None => self.without_status = true,
            Some(status) => {
                // `503`, and `5xx` as some libraries group it.
                let failed = status.len() == 3 && status.starts_with('5');
                self.failed.add(if failed { sample.value } else { 0.0 });
            }
        }
    }

    fn failed(&self, name: &str, unreadable_lines: usize) -> Measured<f64> {
        self.all.named(name, unreadable_lines)?;
        if self.without_status {
            return Err(Absent::NoStatusLabel {
                name: name.to_owned(),
            });
        }
        let mut failed = self.failed;
        failed.present = true; // no series yet is no failure yet
        failed.named(name, unreadable_lines)
    }
}

/// Everything that is wanted from one page.
#[derive(Debug, Default)]
struct Found {
    requests: Requests,
    /// The observations of the duration metric: requests too, where there is no counter of them.
    observations: Requests,
    errors: Sum,
    duration_sum: Sum,
    connections: Sum,
    start_time: Sum,
    unreadable_lines: usize,
}

impl Found {
    fn add(&mut self, sample: &Sample<'_>, names: &Names) {
        let is = |name: &Option<String>| name.as_deref() == Some(sample.name);
        if is(&names.connections) {
            self.connections.add(sample.value);
        }
        if sample.name == START_TIME {
            self.start_time.add(sample.value);
        }
        let counts_our_scrapes = PATH_LABELS
            .iter()
            .any(|name| sample.label(name) == Some(names.own_path.as_str()));
        if counts_our_scrapes {
            // The metric is there, even if nobody else has asked for anything yet.
            self.declare(sample.name, names);
            return;
        }
        if is(&names.errors) {
            self.errors.add(sample.value);
        }
        if sample.name == names.requests {
            self.requests.add(sample);
        }
        if sample.name == names.duration_sum {
            self.duration_sum.add(sample.value);
        }
        if sample.name == names.duration_count {
            self.observations.add(sample);
        }
    }

    fn declare(&mut self, name: &str, names: &Names) {
        // OpenMetrics declares a counter without the `_total` of its series.
        let declares = |wanted: &str| wanted == name || wanted.strip_suffix("_total") == Some(name);
        if declares(&names.requests) {
            self.requests.all.present = true;
        }
        if names.errors.as_deref().is_some_and(declares) {
            self.errors.present = true;
        }
        if name == names.duration || name == names.duration_count {
            self.duration_sum.present = true;
            self.observations.all.present = true;
        }
    }
}

fn counters(page: &PageText, names: &Names) -> ServiceCounters {
    let mut found = Found::default();
    let wanted = |name: &str| {
        [&names.requests, &names.duration_sum, &names.duration_count]
            .into_iter()
            .chain(&names.errors)
            .chain(&names.connections)
            .any(|wanted| wanted == name)
            || name == START_TIME
    };
    text::read(
        &page.text,
        page.announced_its_end,
        wanted,
        |line| match line {
            Line::Sample(sample) => found.add(&sample, names),
            Line::Type(name) => found.declare(name, names),
            Line::Unreadable => found.unreadable_lines += 1,
        },
    );

    let lines = found.unreadable_lines;
    let observed = (found.observations.all).named(&names.duration_count, lines);
    // Without a counter of requests, a histogram of their durations counts them as well.
    let use_observations = !found.requests.all.present && observed.is_ok();
    let (requests, requests_name) = if use_observations {
        (&found.observations, &names.duration_count)
    } else {
        (&found.requests, &names.requests)
    };
    let errors = match &names.errors {
        Some(name) => found.errors.named(name, lines),
        None => requests.failed(requests_name, lines),
    };
    let responses = found
        .duration_sum
        .named(&names.duration_sum, lines)
        .and_then(|seconds| {
            Ok(ResponseCounter {
                seconds: Counter::untouched(seconds),
                count: Counter::untouched(observed?),
            })
        });
    ServiceCounters {
        epoch: (found.start_time.named(START_TIME, lines).ok()).map(|seconds| seconds.to_string()),
        requests: requests
            .all
            .named(requests_name, lines)
            .map(Counter::untouched),
        errors: errors.map(Counter::untouched),
        responses,
        connections: match &names.connections {
            Some(name) => found.connections.named(name, lines),
            None => Err(Absent::NoSource),
        },
    }
}

#[cfg(test)]
mod tests;

//! Exact counts of a server's requests, written as Prometheus text.
//!
//! Deliberately absent: arbitrary labels. Paths and methods come from fixed sets, so that no client can make it grow.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};

/// Upper bounds in seconds: the defaults of the official Prometheus client libraries.
const BUCKET_BOUNDS_SECONDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What was asked for; the labels of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestLabels {
    method: &'static str,
    path: &'static str,
    code: u16,
}

impl RequestLabels {
    /// `path` must come from a fixed set.
    pub(super) fn new(method: &Method, path: &'static str, code: StatusCode) -> Self {
        Self {
            method: method_label(method),
            path,
            code: code.as_u16(),
        }
    }
}

/// HTTP allows any token as a method; the well-known ones keep their name.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The answered requests of one server.
#[derive(Debug, Default)]
pub(super) struct RequestMetrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<RequestLabels, u64>,
    durations: BTreeMap<&'static str, Histogram>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Requests per bucket, not yet cumulative.
    buckets: [u64; BUCKET_BOUNDS_SECONDS.len()],
    count: u64,
    sum: Duration,
}

impl RequestMetrics {
    /// Shows these from the start, as zero: whoever reads counters cannot tell what a series counted before it first
    /// saw it.
    pub(super) fn announcing(labels: impl IntoIterator<Item = RequestLabels>) -> Self {
        let mut counts = Counts::default();
        for labels in labels {
            counts.durations.entry(labels.path).or_default();
            counts.requests.insert(labels, 0);
        }
        Self {
            counts: Mutex::new(counts),
        }
    }

    /// Counts one request. Called before its answer leaves, so that whoever holds the answer finds it counted.
    pub(super) fn record(&self, labels: RequestLabels, duration: Duration) {
        let mut counts = self.lock();
        *counts.requests.entry(labels).or_default() += 1;
        counts
            .durations
            .entry(labels.path)
            .or_default()
            .record(duration);
    }

    /// A panic elsewhere cannot leave a half-written counter, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `http_requests_total` and `http_request_duration_seconds`.
    pub(super) fn write_to(&self, text: &mut String) -> fmt::Result {
        let counts = self.lock();
        text.push_str("# HELP http_requests_total Requests answered.\n");
        text.push_str("# TYPE http_requests_total counter\n");
        for (RequestLabels { method, path, code }, count) in &counts.requests {
            writeln!(
                text,
                "http_requests_total{{method=\"{method}\",path=\"{path}\",code=\"{code}\"}} {count}"
            )?;
        }
        text.push_str(
            "# HELP http_request_duration_seconds Time from the request's head to its answer.\n",
        );
        text.push_str("# TYPE http_request_duration_seconds histogram\n");
        for (path, histogram) in &counts.durations {
            histogram.write_to(text, path)?;
        }
        Ok(())
    }
}

impl Histogram {
    fn record(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bounds = BUCKET_BOUNDS_SECONDS.iter();
        if let Some((_, bucket)) = bounds
            .zip(&mut self.buckets)
            .find(|(bound, _)| seconds <= **bound)
        {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += duration;
    }

    fn write_to(&self, text: &mut String, path: &str) -> fmt::Result {
        const NAME: &str = "http_request_duration_seconds";
        let mut cumulative = 0;
        for (bound, bucket) in BUCKET_BOUNDS_SECONDS.iter().zip(self.buckets) {
            cumulative += bucket;
            writeln!(
                text,
                "{NAME}_bucket{{path=\"{path}\",le=\"{bound}\"}} {cumulative}"
            )?;
        }
        let Self { count, sum, .. } = self;
        writeln!(text, "{NAME}_bucket{{path=\"{path}\",le=\"+Inf\"}} {count}")?;
        writeln!(text, "{NAME}_sum{{path=\"{path}\"}} {}", sum.as_secs_f64())?;
        writeln!(text, "{NAME}_count{{path=\"{path}\"}} {count}")
    }
}

/// Writes one gauge without labels.
pub(super) fn write_gauge(
    text: &mut String,
    name: &str,
    help: &str,
    value: impl fmt::Display,
) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}")?;
    writeln!(text, "# TYPE {name} gauge")?;
    writeln!(text, "{name} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_inclusive() {
        let metrics = RequestMetrics::default();
        let labels = RequestLabels::new(&Method::GET, "/work", StatusCode::OK);
        for millis in [5, 6, 20_000] {
            metrics.record(labels, Duration::from_millis(millis));
        }
        let mut text = String::new();
        metrics.write_to(&mut text).unwrap();
        for line in [
            r#"http_requests_total{method="GET",path="/work",code="200"} 3"#,
            r#"http_request_duration_seconds_bucket{path="/work",le="0.005"} 1"#,
            r#"http_request_duration_seconds_bucket{path="/work",le="0.01"} 2"#,
            r#"http_request_duration_seconds_bucket{path="/work",le="10"} 2"#,
            r#"http_request_duration_seconds_bucket{path="/work",le="+Inf"} 3"#,
            r#"http_request_duration_seconds_sum{path="/work"} 20.011"#,
            r#"http_request_duration_seconds_count{path="/work"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn unknown_methods_share_one_label() {
        let purge = Method::from_bytes(b"PURGE").unwrap();
        let labels = RequestLabels::new(&purge, "other", StatusCode::NOT_FOUND);
        assert_eq!(labels.method, "other");
    }
}

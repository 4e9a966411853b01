//! What a load turned out to be: exact counts, and latencies over every answered request.
//!
//! Deliberately absent: estimated percentiles. All latencies are kept and sorted.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde::Serialize;

use super::schedule::RateRamp;

/// The load on one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    pub url: String,
    /// The rate that was asked for, per second.
    pub rate: RateRamp,
    /// Requests that left, or tried to: `ok` + `errors`.
    pub requests_sent: u64,
    /// Answered with a status below 400.
    pub ok: u64,
    /// Answered with 400 or above, or not at all.
    pub errors: u64,
    /// Due, but given up because all connections were still busy after the end.
    pub not_sent: u64,
    /// The first error, with its causes.
    pub first_error: Option<String>,
    /// Requests sent per second.
    pub achieved_rate: f64,
    /// Latency from the moment at which a request was due. `None` = none was answered.
    pub latency: Option<LatencySummary>,
    pub seconds: f64,
}

/// Latencies in milliseconds. A percentile is the smallest latency that this share of the requests did not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencySummary {
    pub mean_ms: f64,
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    ok: u64,
    errors: u64,
    first_error: Option<String>,
    latencies: Vec<Duration>,
    pub(super) ended_after: Duration,
}

impl Tally {
    pub(super) fn answered(&mut self, status: StatusCode, latency: Duration) {
        self.latencies.push(latency);
        if status.as_u16() < 400 {
            self.ok += 1;
        } else {
            self.errors += 1;
            self.first_error
                .get_or_insert_with(|| format!("answered {status}"));
        }
    }

    pub(super) fn failed(&mut self, error: &dyn Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| with_causes(error));
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl LoadReport {
    /// Sums up the connections to one target, at which `due` requests were due.
    pub(super) fn new(url: String, rate: RateRamp, due: u64, tallies: Vec<Tally>) -> Self {
        let ok = tallies.iter().map(|tally| tally.ok).sum();
        let errors = tallies.iter().map(|tally| tally.errors).sum();
        let requests_sent = ok + errors;
        let ended_after = tallies.iter().map(|tally| tally.ended_after).max();
        let seconds = ended_after.unwrap_or_default().as_secs_f64();
        Self {
            url,
            rate,
            requests_sent,
            ok,
            errors,
            not_sent: due.saturating_sub(requests_sent),
            first_error: tallies.iter().find_map(|tally| tally.first_error.clone()),
            achieved_rate: requests_sent as f64 / seconds.max(f64::MIN_POSITIVE),
            latency: LatencySummary::new(
                tallies
                    .into_iter()
                    .flat_map(|tally| tally.latencies)
                    .collect(),
            ),
            seconds,
        }
    }
}

impl LatencySummary {
    /// `None` without latencies.
    fn new(mut latencies: Vec<Duration>) -> Option<Self> {
        latencies.sort_unstable();
        let max = *latencies.last()?;
        let mean_seconds =
            latencies.iter().map(Duration::as_secs_f64).sum::<f64>() / latencies.len() as f64;
        let percentile = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100);
            let latency = latencies.get(rank.saturating_sub(1)).unwrap_or(&max);
            milliseconds(*latency)
        };
        Some(Self {
            mean_ms: mean_seconds * 1_000.0,
            p50_ms: percentile(50),
            p95_ms: percentile(95),
            p99_ms: percentile(99),
            max_ms: milliseconds(max),
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// One line, without a line break.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} sent in {:.1} s ({:.1}/s, asked {}/s), {} ok, {} failed",
            self.url,
            self.requests_sent,
            self.seconds,
            self.achieved_rate,
            self.rate,
            self.ok,
            self.errors,
        )?;
        if self.not_sent > 0 {
            write!(f, ", {} not sent", self.not_sent)?;
        }
        match &self.latency {
            Some(latency) => write!(
                f,
                "; latency mean {:.1} ms, p50 {:.1}, p95 {:.1}, p99 {:.1}, max {:.1}",
                latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms
            )?,
            None => write!(f, "; latency n/a (no answer)")?,
        }
        match &self.first_error {
            Some(error) => write!(f, "; first failure: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks_of_what_was_measured() {
        let latencies = (1..=200).rev().map(Duration::from_millis).collect();
        let summary = LatencySummary::new(latencies).unwrap();
        let expected = LatencySummary {
            mean_ms: 100.5,
            p50_ms: 100.0,
            p95_ms: 190.0,
            p99_ms: 198.0,
            max_ms: 200.0,
        };
        for (found, expected) in [
            (summary.mean_ms, expected.mean_ms),
            (summary.p50_ms, expected.p50_ms),
            (summary.p95_ms, expected.p95_ms),
            (summary.p99_ms, expected.p99_ms),
            (summary.max_ms, expected.max_ms),
        ] {
            assert!((found - expected).abs() < 1e-6, "{summary:?}");
        }
        assert_eq!(LatencySummary::new(Vec::new()), None);
    }

    #[test]
    fn a_load_without_answers_says_so() {
        let mut tally = Tally {
            ended_after: Duration::from_secs(2),
            ..Tally::default()
        };
        tally.failed(&fmt::Error);
        let rate = RateRamp::new(1.0, 1.0).unwrap();
        let report = LoadReport::new("http://127.0.0.1:9/".to_owned(), rate, 2, vec![tally]);
        assert_eq!(
            report.to_string(),
            "http://127.0.0.1:9/: 1 sent in 2.0 s (0.5/s, asked 1/s), 0 ok, 1 failed, 1 not sent; \
             latency n/a (no answer); first failure: an error occurred when formatting an argument"
        );
    }
}

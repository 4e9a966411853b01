//! Plays recorded load models against the decisions, in synthetic time: `scenarios/*.toml`, one line of code for none of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clnrm_decide::{
    Allotment, AutoScaleConfig, Fleet, HealthLimits, InstanceStart, LimitedMemory, ManagedService,
    PastAction, Requested, ServiceManager, ServiceMetrics, Timestamp,
};
use serde::Deserialize;

use super::rolled_up::rolled_up;

/// A service, the load on it and what may come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    description: String,
    duration_s: u32,
    #[serde(default = "one")]
    instances: u32,
    /// From start to ready.
    #[serde(default)]
    start_time_s: u32,
    /// Relative amplitude of the noise on every measurement.
    #[serde(default)]
    noise_percent: f64,
    cpu_idle_percent: f64,
    /// CPU percent per request per second and instance.
    cpu_per_request: f64,
    memory_idle_mb: f64,
    /// MB per request per second and instance.
    #[serde(default)]
    memory_mb_per_request: f64,
    /// `[second, requests per second]`, straight between; two entries of one second are a step.
    load: Vec<(u32, f64)>,
    /// The load repeats after this time.
    load_period_s: Option<u32>,
    /// `[from, to]` seconds in which nothing is measured.
    #[serde(default)]
    gaps: Vec<(u32, u32)>,
    /// From here on requests are no longer measured.
    requests_lost_from_s: Option<u32>,
    expect: Expected,
}

fn one() -> u32 {
    1
}

/// Ranges are inclusive.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    final_instances: (u32, u32),
    peak_instances: (u32, u32),
    actions: (u32, u32),
    /// An increase that follows a decrease, or the other way round.
    reversals: (u32, u32),
    least_seconds_between_actions: Option<i64>,
    /// A part of the last decision's reason, as it is recorded.
    last_reason: Option<String>,
}

/// `ai-manage --watch` looks this often.
const DECIDE_EVERY_S: u32 = 15;

#[derive(Debug)]
struct Outcome {
    instances: Vec<u32>,
    actions: Vec<PastAction>,
    last_reason: String,
}

impl Scenario {
    fn requests_at(&self, second: u32) -> f64 {
        let second = self.load_period_s.map_or(second, |period| second % period);
        let next = self.load.partition_point(|point| point.0 <= second);
        let before = next.checked_sub(1).and_then(|place| self.load.get(place));
        let before = before.expect("the load begins at second 0");
        let Some(after) = self.load.get(next) else {
            return before.1;
        };
        let share = f64::from(second - before.0) / f64::from(after.0 - before.0);
        before.1 + share * (after.1 - before.1)
    }

    fn sample(&self, second: u32, instances: u32, noise: &mut Noise) -> ServiceMetrics {
        let requests = self.requests_at(second);
        let each = requests / f64::from(instances);
        let mut measured =
            |value: f64| Some(value * (1.0 + self.noise_percent / 100.0 * noise.next()));
        ServiceMetrics {
            cpu_percent: measured((self.cpu_idle_percent + self.cpu_per_request * each).min(100.0)),
            memory_mb: measured(self.memory_idle_mb + self.memory_mb_per_request * each),
            request_rate: measured(requests)
                .filter(|_| self.requests_lost_from_s.is_none_or(|lost| second < lost)),
            ..ServiceMetrics::at(moment(second), instances)
        }
    }

    fn is_measured(&self, second: u32) -> bool {
        !self
            .gaps
            .iter()
            .any(|(from, to)| (*from..*to).contains(&second))
    }

    fn play(&self) -> Outcome {
        let (mut samples, mut noise) = (Vec::new(), Noise(1));
        let mut instances = self.instances;
        let mut newest_start = None;
        let mut outcome = Outcome {
            instances: Vec::new(),
            actions: Vec::new(),
            last_reason: String::new(),
        };
        for second in 0..self.duration_s {
            if self.is_measured(second) {
                samples.push(self.sample(second, instances, &mut noise));
            }
            outcome.instances.push(instances);
            if second % DECIDE_EVERY_S != DECIDE_EVERY_S - 1 {
                continue;
            }
            let history = rolled_up(samples.clone());
            let service = ManagedService {
                name: "service",
                history: &history,
                scale: &AutoScaleConfig::default(),
                limits: HealthLimits::default(),
                allotment: Allotment::default(),
                fleet: Fleet {
                    instances,
                    newest_start,
                    past_actions: outcome.actions.clone(),
                    ..Fleet::default()
                },
                memory: LimitedMemory::default(),
                pool: None,
            };
            let manager = ServiceManager {
                requested: REQUESTED,
                now: moment(second),
            };
            let decision = manager.assess(&service).scaling;
            let decision = decision.expect("the service runs");
            outcome.last_reason = serde_json::to_string(&decision.reason).expect("it is a record");
            if decision.to != decision.from {
                outcome.actions.push(PastAction {
                    at: moment(second),
                    from: decision.from,
                    to: decision.to,
                    memory_before_mb: decision.memory_before_mb,
                });
            }
            if decision.to > decision.from {
                newest_start = Some(InstanceStart {
                    started_at: moment(second),
                    start_time: Some(Duration::from_secs(self.start_time_s.into())),
                });
            }
            instances = decision.to;
        }
        outcome
    }
}

const REQUESTED: Requested = Requested {
    horizon: Duration::from_secs(300),
    predict_load: true,
    auto_scale: true,
    optimize_resources: false,
};

fn moment(second: u32) -> Timestamp {
    Timestamp::from_millis(i64::from(second) * 1_000)
}

/// A fixed sequence of numbers in −1..1 (Numerical Recipes' linear congruential generator).
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 23) - 1.0
    }
}

/// What the outcome has against the expectation.
fn complaints(expected: &Expected, outcome: &Outcome) -> Vec<String> {
    let count = |number: usize| u32::try_from(number).expect("few");
    let neighbours = || outcome.actions.iter().zip(outcome.actions.iter().skip(1));
    let is_up = |action: &PastAction| action.to > action.from;
    let reversals = neighbours().filter(|(a, b)| is_up(a) != is_up(b)).count();
    let ranges = [
        (
            "final instances",
            *outcome.instances.last().expect("it lasts"),
            expected.final_instances,
        ),
        (
            "peak instances",
            *outcome.instances.iter().max().expect("it lasts"),
            expected.peak_instances,
        ),
        ("actions", count(outcome.actions.len()), expected.actions),
        ("reversals", count(reversals), expected.reversals),
    ];
    let mut complaints: Vec<String> = ranges
        .into_iter()
        .filter(|(_, value, (least, most))| !(least..=most).contains(&value))
        .map(|(name, value, range)| format!("{name}: {value}, not in {range:?}"))
        .collect();
    if let Some(least) = expected.least_seconds_between_actions {
        let millis = |action: &PastAction| action.at.as_millis();
        if neighbours().any(|(a, b)| millis(b) - millis(a) < least * 1_000) {
            complaints.push(format!(
                "actions less than {least} s apart: {:?}",
                outcome.actions
            ));
        }
    }
    if let Some(part) = &expected.last_reason
        && !outcome.last_reason.contains(part)
    {
        complaints.push(format!("last reason: {}", outcome.last_reason));
    }
    complaints
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test reads its scenarios; the decisions that it plays do not"
)]
fn every_scenario_ends_as_allowed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut played = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("its entries are readable").path();
        let text = fs::read_to_string(&path).expect("the scenario is readable");
        let scenario: Scenario =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let complaints = complaints(&scenario.expect, &scenario.play());
        if !complaints.is_empty() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            failures.push(format!(
                "{name} ({})\n  {}",
                scenario.description,
                complaints.join("\n  ")
            ));
        }
        played += 1;
    }
    assert!(played >= 12, "only {played} scenarios were found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

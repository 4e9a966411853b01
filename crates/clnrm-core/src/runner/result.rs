//! What a run, its tests and their steps came to.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cause::{StepCause, TestCause, TestReason};
use super::milliseconds;
use crate::clock::{Timestamp, rfc3339};
use crate::lifecycle::stopped::LeakReport;
pub use crate::services::service_manager::attempts::TestStatus;
use crate::text;

/// The end of a run. JSON is this very struct (schema `clnrm.run/1`), with causes in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Always [`RunReport::SCHEMA`].
    pub schema: String,
    /// Identifies the run in the history; `None` = nothing was run.
    pub run_id: Option<String>,
    #[serde(with = "rfc3339")]
    pub started_at: Timestamp,
    #[serde(rename = "duration_ms", with = "milliseconds")]
    pub duration: Duration,
    /// Every test of the plan, in its order.
    pub tests: Vec<TestReport>,
    pub summary: RunSummary,
    /// Services that stay up, by name with their address.
    pub kept: Vec<KeptService>,
    /// Services that earlier runs left up and that this one has nothing to do with: they were renamed, say.
    pub kept_earlier: Vec<KeptService>,
    /// What the sweep at the end found.
    pub leaks: LeakReport,
    /// The signal that interrupted the run.
    pub interrupted_by: Option<String>,
}

/// A service that stays up after the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptService {
    pub service: String,
    pub address: Option<String>,
    /// Of an instance of a pool: it is stopped then, unless a test leases it before.
    #[serde(
        serialize_with = "rfc3339::serialize_optional",
        deserialize_with = "rfc3339::deserialize_optional"
    )]
    pub warm_until: Option<Timestamp>,
}

/// Counts of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    pub passed: usize,
    /// A step or an assertion failed.
    pub failed: usize,
    /// A service failed, or the test could not be run.
    pub errors: usize,
    /// Not run (`--fail-fast`, interrupted).
    pub skipped: usize,
    /// Failed on used instances and passed on fresh ones.
    pub contaminated: usize,
    /// Of those that passed: a step passed only when it was repeated.
    pub flaky: usize,
}

/// A test that held an instance before the one that it spoiled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    pub test: String,
    /// Its run, where that is still known.
    pub run_id: Option<String>,
    pub service: String,
    /// The instance that both held.
    pub instance_id: String,
    /// When it began to hold it.
    #[serde(with = "rfc3339")]
    pub leased_at: Timestamp,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    pub name: String,
    #[serde(serialize_with = "text::serialize_path")]
    pub file: PathBuf,
    pub status: TestStatus,
    /// How long it took, services included.
    #[serde(rename = "duration_ms", with = "milliseconds")]
    pub duration: Duration,
    /// The instances that it used.
    pub services: Vec<ServiceUse>,
    /// Where it is contaminated: the tests that held its instances before, newest first.
    pub suspects: Vec<Suspect>,
    /// Every step, run or not.
    pub steps: Vec<StepReport>,
    /// Why it failed or was an error or was skipped.
    pub reason: Option<TestCause>,
    /// The services that failed, with their logs.
    pub service_failures: Vec<ServiceFailure>,
}

/// An instance that a test used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceUse {
    pub service: String,
    pub instance_id: String,
    /// Whether it was started for this test.
    pub origin: InstanceOrigin,
    /// Whether it is a job: its work was done before the steps.
    pub job: bool,
    /// How it ended by itself, e.g. `exit code 0`; `None` = it did not.
    pub ended: Option<String>,
    /// Whether it was running before the test wanted it.
    pub warm: bool,
    /// From the wish to the instance.
    pub lease_ms: f64,
    /// How long the reset and verification took that made it clean; `None` = it was fresh.
    pub verified_ms: Option<f64>,
    pub ready_ms: u64,
    pub address: Option<String>,
    /// `unhealthy`, `paused` or `restarting`, when the steps were done; `None` = as far as anybody looked, it was well.
    pub condition: Option<String>,
    /// What became of it; `None` = it has no pool.
    pub afterwards: Option<Afterwards>,
}

/// What became of an instance of a pool after its test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Afterwards {
    pub outcome: Outcome,
    /// Why it did not go back into its pool.
    pub reason: Option<String>,
    /// How long its reset and verification took.
    pub cleaned_ms: Option<f64>,
}

/// The ways of an instance after its test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was reset and verified, and is free.
    Pooled,
    Stopped,
    /// It was not proved clean, was stopped, and is replaced.
    Quarantined,
}

impl Afterwards {
    pub(super) fn stopped(reason: &str) -> Self {
        Self {
            outcome: Outcome::Stopped,
            reason: Some(reason.to_owned()),
            cleaned_ms: None,
        }
    }
}

/// Where an instance came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceOrigin {
    /// No test had it before.
    Fresh,
    /// Other tests had it; it was reset and verified after each.
    Reused,
}

/// A service that never became ready, or died.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceFailure {
    pub service: String,
    /// The instance, where one was made.
    pub instance_id: Option<String>,
    /// What happened, in one sentence.
    pub message: String,
    /// The way out, where one is known.
    pub hint: Option<String>,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    /// Where the whole log is.
    #[serde(serialize_with = "text::serialize_optional_path")]
    pub log_file: Option<PathBuf>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    Passed,
    Failed,
    Skipped,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    pub name: String,
    pub status: StepStatus,
    #[serde(rename = "duration_ms", with = "milliseconds")]
    pub duration: Duration,
    pub attempts: u32,
    /// Where it passed only when repeated: why the attempt before failed.
    pub earlier_failure: Option<StepCause>,
    /// Why it failed or was skipped.
    pub reason: Option<StepCause>,
    /// The last attempt's exit code.
    pub exit_code: Option<i32>,
    /// The last attempt's HTTP status.
    pub http_status: Option<u16>,
    /// The end of the last attempt's output (or response body), where it failed.
    pub output_tail: Option<String>,
}

impl TestReport {
    /// A test of which no step ran.
    pub(crate) fn not_run(
        name: String,
        file: PathBuf,
        status: TestStatus,
        reason: TestReason,
    ) -> Self {
        Self {
            name,
            file,
            status,
            duration: Duration::ZERO,
            services: Vec::new(),
            suspects: Vec::new(),
            steps: Vec::new(),
            reason: Some(reason.into()),
            service_failures: Vec::new(),
        }
    }

    /// The steps that passed only when they were repeated, and why the attempt before failed.
    pub(crate) fn flaky_steps(&self) -> impl Iterator<Item = (&StepReport, &StepCause)> {
        (self.steps.iter()).filter_map(|step| Some((step, step.earlier_failure.as_ref()?)))
    }

    /// Whether it passed, and would have failed without repeating a step.
    pub(crate) fn is_flaky(&self) -> bool {
        self.status == TestStatus::Passed && self.flaky_steps().next().is_some()
    }
}

impl RunSummary {
    pub(crate) fn of(tests: &[TestReport]) -> Self {
        let count = |status| tests.iter().filter(|test| test.status == status).count();
        Self {
            passed: count(TestStatus::Passed),
            failed: count(TestStatus::Failed),
            errors: count(TestStatus::Error),
            skipped: count(TestStatus::Skipped),
            contaminated: count(TestStatus::Contaminated),
            flaky: tests.iter().filter(|test| test.is_flaky()).count(),
        }
    }
}

impl RunReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.run/1";

    /// Of a run that could not begin: what it would have run, and why not.
    pub(crate) fn without_run(tests: Vec<TestReport>, now: Timestamp) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            run_id: None,
            started_at: now,
            duration: Duration::ZERO,
            summary: RunSummary::of(&tests),
            tests,
            kept: Vec::new(),
            kept_earlier: Vec::new(),
            leaks: LeakReport::default(),
            interrupted_by: None,
        }
    }
}

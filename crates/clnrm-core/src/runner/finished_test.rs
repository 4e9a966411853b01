//! A test that has ended, as its run takes it over.

use std::time::Duration;

use super::result::{StepReport, TestReport};
use crate::lifecycle::LiveInstance;

#[derive(Debug)]
pub(super) struct FinishedTest {
    pub(super) report: TestReport,
    /// What it leaves to its run, in the order in which they became ready.
    pub(super) instances: Vec<LiveInstance>,
    /// How long it waited for its services, all attempts together.
    pub(super) waited: Duration,
    /// The steps of each attempt; none = it was not run.
    pub(super) attempts: Vec<Vec<StepReport>>,
    /// The index in `attempts` of the one that the report is of.
    pub(super) reported: u32,
}

//! One attempt of a step, and what the steps of a test share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::cause::{StepCause, StepReason};
use super::event::Events;
use crate::config::placeholder::Bindings;
use crate::lifecycle::{LiveInstance, Project};
use crate::store::RunId;

/// What the steps of one test share.
pub(super) struct StepContext<'a> {
    /// Runs commands.
    pub(super) project: &'a Project,
    /// The instances of the test.
    pub(super) services: &'a [LiveInstance],
    /// Values of placeholders.
    pub(super) bindings: &'a Bindings,
    /// The environment that commands inherit, with what the test adds.
    pub(super) env: &'a BTreeMap<String, String>,
    /// Environments of the services, rendered, for steps that run in a service's place.
    pub(super) service_env: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// The folder of the test file.
    pub(super) base_dir: PathBuf,
    /// Tells that another attempt follows.
    pub(super) events: &'a Events,
    /// Ends the step that runs and skips the others.
    pub(super) cancel: &'a CancellationToken,
    /// The run, for ids.
    pub(super) run: RunId,
    /// The test's index, for events.
    pub(super) test: usize,
    /// Its name.
    pub(super) test_name: &'a str,
}

/// One attempt of a step.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Why it failed; `None` = as expected.
    pub(super) reason: Option<StepCause>,
    /// Exit code of a command.
    pub(super) exit_code: Option<i32>,
    /// Status of an answer.
    pub(super) http_status: Option<u16>,
    /// Output or body.
    pub(super) output: String,
}

impl Attempt {
    pub(super) fn failed(reason: StepReason) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }
}

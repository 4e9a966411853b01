//! What a run tells while it goes on, and how each event gets its time.
//!
//! This is the whole interface between the runner and its reports, which see nothing else: what a run came to is put
//! together from its events (`replay.rs`). Nothing here prints.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::cause::StepCause;
use super::milliseconds::{self, whole_micros};
use super::result::{Afterwards, KeptService, ServiceFailure, StepReport, TestReport};
use crate::clock::{Clock, Timestamp, rfc3339};
use crate::lifecycle::stopped::LeakReport;
use crate::text;

/// Told of every event.
pub type Notify = dyn Fn(RunEvent) + Send + Sync;

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// By the time of day, which may be set meanwhile.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// Since the run began, by a clock that nobody sets.
    #[serde(rename = "elapsed_ms", with = "milliseconds")]
    pub elapsed: Duration,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened; tests are named by their index in the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The plan stands.
    RunStarted {
        /// Identifies the run in the history.
        run_id: String,
        tests: usize,
        jobs: usize,
    },
    /// A test began.
    TestStarted {
        test: usize,
        name: String,
        #[serde(serialize_with = "text::serialize_path")]
        file: PathBuf,
    },
    /// A test could begin, but for a fixed port of this machine that another one has, or is to have first.
    TestWaiting {
        name: String,
        port: u16,
        behind: String,
    },
    /// A service's instance is being started.
    ServiceStarting { test: usize, service: String },
    /// Its image is not there and is being pulled; told again and again.
    ImagePulling {
        test: usize,
        service: String,
        image: String,
        downloaded_bytes: u64,
    },
    /// It is ready.
    ServiceReady {
        test: usize,
        service: String,
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
        address: Option<String>,
    },
    /// It is a job, and done.
    JobDone {
        test: usize,
        service: String,
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
    },
    /// It failed to become ready, or died.
    ServiceFailed {
        test: usize,
        failure: ServiceFailure,
    },
    /// A step began.
    StepStarted {
        test: usize,
        step: String,
        index: usize,
        of: usize,
    },
    /// An attempt failed and another follows.
    StepRetrying {
        test: usize,
        step: String,
        attempt: u32,
        max_attempts: u32,
        reason: StepCause,
    },
    /// A step ended.
    StepFinished { test: usize, step: StepReport },
    /// A test ended. What becomes of the instances that it gives back to their pools is told later.
    TestFinished { test: usize, report: TestReport },
    /// An instance that a test gave back to its pool was cleaned, or stopped.
    InstanceReturned {
        test: usize,
        instance_id: String,
        afterwards: Afterwards,
    },
    /// Something that the user should know and that is no failure.
    Warning { message: String },
    /// Ctrl-C or SIGTERM: cleaning up.
    Interrupted { signal: String },
    /// Another signal came later: what still runs is killed.
    InterruptedAgain,
    /// Everything is cleaned up.
    RunFinished {
        kept: Vec<KeptService>,
        kept_earlier: Vec<KeptService>,
        leaks: LeakReport,
    },
}

impl EventKind {
    /// Whether it is of the run as a whole: its tests' own ends are recorded with them, and how they got there is not.
    fn is_of_the_run(&self) -> bool {
        matches!(
            self,
            Self::RunStarted { .. }
                | Self::InstanceReturned { .. }
                | Self::Interrupted { .. }
                | Self::RunFinished { .. }
        )
    }
}

/// Gives what happens its time, and tells it.
pub struct Events {
    clock: Arc<dyn Clock>,
    started: Instant,
    notify: Box<Notify>,
    of_the_run: Mutex<Vec<RunEvent>>,
}

impl Events {
    /// Of a run that begins now.
    pub fn new(clock: Arc<dyn Clock>, notify: Box<Notify>) -> Self {
        Self {
            clock,
            started: Instant::now(),
            notify,
            of_the_run: Mutex::default(),
        }
    }

    /// Tells that something happens now.
    pub fn tell(&self, kind: EventKind) {
        let event = RunEvent {
            at: self.clock.now(),
            elapsed: whole_micros(self.started.elapsed()),
            kind,
        };
        if event.kind.is_of_the_run() {
            let mut told = self
                .of_the_run
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            told.push(event.clone());
        }
        (self.notify)(event);
    }

    /// What was told so far of the run as a whole.
    pub(super) fn of_the_run(&self) -> Vec<RunEvent> {
        let told = self
            .of_the_run
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    pub(super) fn warn(&self, message: String) {
        self.tell(EventKind::Warning { message });
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

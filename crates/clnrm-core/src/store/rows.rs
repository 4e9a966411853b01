//! The rows of the history as plain values.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::definition::ServiceDefinition;
use crate::config::identity::Digest;
use crate::config::placeholder::Where;
use crate::config::revision::Revision;
use crate::procfs::ProcessIdentity;
use crate::services::service_manager::ScalingDecision;
use crate::services::service_manager::autoscale::Reason;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub(super) i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// Names a service.
    ServiceId
);
row_id!(
    /// Names one `clnrm run`.
    RunId
);
row_id!(
    /// Names a scaling action. A later action has a greater id.
    ActionId
);
row_id!(
    /// Names a scaling decision. A later one has a greater id.
    DecisionId
);
row_id!(
    /// Names a lease.
    LeaseId
);
row_id!(
    /// Names an address of a service.
    AddressId
);

/// Names an instance, e.g. `cache-7f3a9c`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A service: a name and how to start it, with the history that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRow {
    /// Names it.
    pub id: ServiceId,
    /// As in the test file.
    pub name: String,
    /// The test file that first declared it; tells services of the same name apart.
    pub file: PathBuf,
    /// Of `definition`.
    pub digest: Digest,
    /// How to start, measure and scale it, as last registered.
    pub definition: ServiceDefinition,
    /// When it was last registered.
    pub updated_at: Timestamp,
}

/// One `clnrm run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Names it.
    pub id: RunId,
    /// The command that runs it.
    pub owner: ProcessIdentity,
    /// Whether its services stay up afterwards.
    pub keep: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` = it still runs, or was killed.
    pub finished_at: Option<Timestamp>,
    /// `None` = it still runs, or is older than verdicts.
    pub verdict: Option<RunVerdict>,
}

/// What a run came to, from the best on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    /// No test failed; some may have been skipped.
    Passed,
    /// A service failed, or a test could not be run.
    Error,
    /// A test failed, or was contaminated.
    Failed,
    Interrupted,
    /// Its command was killed.
    Unfinished,
}

/// What a run is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOrigin {
    /// The paths that were asked for; empty = every test of the project.
    pub selection: Vec<String>,
    pub revision: Revision,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Journalled, perhaps spawned, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Asked to stop.
    Stopping,
    /// Ended as asked.
    Stopped,
    /// Ended on its own, or never became ready.
    Failed,
    /// Its end was not seen: the machine restarted, or its shim was killed.
    Lost,
}

impl InstanceState {
    /// Whether something of it may still be running.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// The three ways in which an instance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// See [`InstanceState::Stopped`].
    Stopped,
    /// See [`InstanceState::Failed`].
    Failed,
    /// See [`InstanceState::Lost`].
    Lost,
}

impl From<Ending> for InstanceState {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Stopped => Self::Stopped,
            Ending::Failed => Self::Failed,
            Ending::Lost => Self::Lost,
        }
    }
}

/// How a process ended; all absent = nobody saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceExit {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What a person should know about it.
    pub message: Option<String>,
}

/// What is known of an instance before it is spawned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// Names it.
    pub id: InstanceId,
    /// Whose instance it is.
    pub service: ServiceId,
    /// The run that starts it; `None` = started by `ai-manage` or `services restart`.
    pub run: Option<RunId>,
    /// Of the definition that it is started from.
    pub digest: Digest,
    /// The name of the backend that it runs in.
    pub runtime: String,
    /// Whether a pool may keep it warm.
    pub pooled: bool,
    /// Its own directory, absolute.
    pub dir: PathBuf,
    /// Where it will be, as far as that is known.
    pub reached: Where,
    /// The command that starts it.
    pub owner: ProcessIdentity,
    /// When it was decided to start it.
    pub created_at: Timestamp,
}

/// The engine that a container is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEngine {
    /// Its own id.
    pub id: String,
    /// Where it was reached.
    pub address: String,
}

/// What is known of an instance once it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StartedInstance {
    /// Its shim, if it is a process tree of this machine.
    pub shim: Option<ProcessIdentity>,
    /// What its engine knows it by.
    pub container_id: Option<String>,
    /// The engine, as far as it tells.
    pub engine: Option<RecordedEngine>,
    /// The id of its image.
    pub image_id: Option<String>,
    /// Its main process, as this machine numbers it.
    pub main_pid: Option<i32>,
    /// Where it is.
    pub reached: Where,
    /// The CPU that its engine allows, in cores; `None` = no limit.
    pub cpus: Option<f64>,
}

/// An instance as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRow {
    /// What was known before it was spawned.
    pub start: NewInstance,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Its shim; `None` = not spawned yet, or the command was killed before it could tell.
    pub shim: Option<ProcessIdentity>,
    /// Its container; `None` = it is a process, or was not created yet.
    pub container_id: Option<String>,
    /// The engine that it is on; `None` = not recorded.
    pub engine: Option<RecordedEngine>,
    /// The id of its image; `None` = not recorded.
    pub image_id: Option<String>,
    /// The CPU that its engine allows, in cores; `None` = no limit, or it is a process.
    pub cpus: Option<f64>,
    /// The service's own first process.
    pub main_pid: Option<i32>,
    /// When it became ready.
    pub ready_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// How it ended.
    pub exit: InstanceExit,
    /// Free for a lease, and stopped then; `None` = it is held, or belongs to no pool.
    pub warm_until: Option<Timestamp>,
    /// Tests that it has served and was cleaned after.
    pub uses: u32,
    /// How long its last reset and verification took.
    pub cleaned_in: Option<Duration>,
}

/// Where clients reach a service, whichever of its instances answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddress {
    pub service: ServiceId,
    /// Whose instances answer; `None` = those of no run.
    pub run: Option<RunId>,
    /// The only one that answers; `None` = every one.
    pub instance: Option<InstanceId>,
    pub reached: Where,
}

/// A test that held an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastLease {
    /// Names the lease.
    pub id: LeaseId,
    /// The run; `None` = it is forgotten.
    pub run: Option<RunId>,
    /// The test.
    pub test: String,
    /// When it began.
    pub acquired_at: Timestamp,
}

/// How leases of a service were served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Leases that were looked at.
    pub leases: u32,
    /// Those that got a warm instance.
    pub warm: u32,
    /// How long tests waited for warm instances, together; `None` = that was never measured.
    pub waited: Option<Duration>,
    /// Warm leases whose wait is in `waited`.
    pub waits: u32,
}

/// An ended instance whose directory is no longer needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunableInstance {
    /// Names it.
    pub id: InstanceId,
    /// Its own directory.
    pub dir: PathBuf,
}

/// What a ring holds, known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierSpan {
    /// How many samples, 1..=1000.
    pub samples: u32,
    /// Time of the sample that was recorded first.
    pub oldest: Timestamp,
    /// Time of the sample that was recorded last.
    pub newest: Timestamp,
}

/// How a scaling action went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// Begun; whoever began it may have been killed since.
    Started,
    /// The instances are as decided.
    Done,
    /// They are not; the message says why.
    Failed,
}

/// A scaling action that is about to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAction {
    /// What is scaled.
    pub service: ServiceId,
    /// The decision that is carried out.
    pub decision: DecisionId,
    /// The newest action that the decision took into account.
    pub expected_last: Option<ActionId>,
    /// When it was decided.
    pub at: Timestamp,
    /// Instances before.
    pub from_instances: u32,
    /// Instances wanted.
    pub to_instances: u32,
    /// Kept as JSON. Older rows have a sentence there.
    pub reason: Reason,
    /// Memory per instance before, in MB (10⁶ bytes): shows later whether memory divides over instances.
    pub memory_mb_before: Option<f64>,
}

/// A scaling action as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRow {
    /// Names it.
    pub id: ActionId,
    /// What was scaled.
    pub service: ServiceId,
    /// When it was decided.
    pub at: Timestamp,
    /// Instances before.
    pub from_instances: u32,
    /// Instances wanted.
    pub to_instances: u32,
    /// See [`NewAction::memory_mb_before`].
    pub memory_mb_before: Option<f64>,
    /// How it went.
    pub outcome: ActionOutcome,
    /// Why it failed.
    pub message: Option<String>,
    /// From the decision until the instances were as decided.
    pub took: Option<Duration>,
}

/// A scaling decision as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionRow {
    /// Names it.
    pub id: DecisionId,
    /// When it was made first.
    pub first_at: Timestamp,
    /// When it was made last.
    pub last_at: Timestamp,
    /// How often: more than once only where nothing was to be done.
    pub count: u32,
    /// As it was made last.
    pub record: ScalingDecision,
    /// What was done about it.
    pub action: Option<ActionId>,
}

/// Whether an action may be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionStart {
    /// Recorded: carry it out, then finish it.
    Begun(ActionId),
    /// Another action was recorded since the decision was made: decide again.
    Superseded(ActionRow),
}

/// What a test has while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// An instance, for itself.
    Instance(InstanceId),
    /// A service, together with other tests.
    Service(ServiceId),
}

/// What a test wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLease {
    pub leased: Leased,
    /// The run that the test belongs to.
    pub run: Option<RunId>,
    /// The test's name.
    pub test: String,
    /// The command that runs the test.
    pub owner: ProcessIdentity,
    /// When it was wanted.
    pub acquired_at: Timestamp,
}

/// An open lease as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Names it.
    pub id: LeaseId,
    /// Whose instance it is.
    pub service: ServiceId,
    /// What was leased, by whom, since when.
    pub lease: NewLease,
}

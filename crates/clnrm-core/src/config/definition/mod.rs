//! Validated definitions: what a test file means, with every default filled in.
//!
//! Deliberately absent: TOML, aliases and error positions, which end in `test_file/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identity::{Digest, TestId};
use crate::services::service_manager::AutoScaleConfig;

mod container_settings;
mod launch;
mod pool;
mod readiness;
mod server;
mod step;

pub use container_settings::{ContainerSettings, PullPolicy, Ulimit};
pub use launch::{
    CommandLine, ContainerLaunch, HealthCheck, Launch, PortMapping, Protocol, VolumeMount,
};
pub use pool::{PoolBounds, PoolSpec};
pub use readiness::{LogPattern, Readiness, ReadyCheck};
pub use server::{MetricsSpec, PAGE, ServerForm, ServerSpec, SettingForm, SettingValue};
pub use step::{
    CommandStep, Expectations, ExpectedEnd, HttpStep, Retry, StepAction, StepDefinition,
};

/// One test: the services that it needs and the steps that it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct TestDefinition {
    pub id: TestId,
    pub digest: Digest,
    /// The file that it was read from, as given or discovered.
    pub file: PathBuf,
    /// Its name, unique enough for a person.
    pub name: String,
    pub description: Option<String>,
    /// Longest time for the whole test, services included; `None` = no limit.
    pub timeout: Option<Duration>,
    /// Its services, in the file's order.
    pub services: Vec<ServiceDefinition>,
    /// Its steps, in the order in which they run.
    pub steps: Vec<StepDefinition>,
    /// What must hold of the finished test as a whole.
    pub assertions: TestAssertions,
}

/// The two legacy `[assertions]` that mean something measurable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestAssertions {
    /// `container_should_have_executed_commands`: at least this many command steps ran.
    pub min_commands_executed: Option<u32>,
    /// `execution_should_be_hermetic`: every instance was fresh, none was reused.
    pub hermetic: bool,
}

/// A service: how to start, check, measure, scale and pool it.
///
/// Serialized to the history, so that a later command can restart and scale it without the test file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDefinition {
    /// `[A-Za-z0-9][A-Za-z0-9_.-]*`, at most 63 characters.
    pub name: String,
    /// How an instance is started.
    pub launch: Launch,
    /// Added to the cleared environment of the instance; values may hold placeholders.
    pub env: BTreeMap<String, String>,
    /// Variables that it gets from the command that starts it, where that has them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub env_of_caller: BTreeSet<String>,
    /// Working directory, absolute; `None` = the folder of the test file.
    pub working_dir: Option<PathBuf>,
    /// The folder of the test file, absolute: what relative commands and paths start from.
    pub base_dir: PathBuf,
    /// The same folder from the project's root on; absolute where it lies elsewhere.
    #[serde(default)]
    pub folder: PathBuf,
    /// Ports that the file fixes. The first is the main one. Empty = chosen freely where `{port}` is used.
    pub fixed_ports: Vec<u16>,
    /// When an instance counts as ready.
    pub ready: Readiness,
    /// Where requests, latency and errors are read from, besides the process itself.
    pub metrics: MetricsSpec,
    /// Allotted CPU in cores; `None` = not stated (CPU % is then of 1.0 core).
    pub cpus: Option<f64>,
    /// Allotted memory in bytes; `None` = not stated.
    pub memory_bytes: Option<u64>,
    /// Names of services that must be ready before this one starts.
    pub depends_on: Vec<String>,
    pub scale: AutoScaleConfig,
    pub pool: PoolSpec,
    /// How an instance is asked to stop.
    pub stop: StopSpec,
    /// Response time up to which health is not reduced, in milliseconds.
    pub response_target_ms: f64,
    /// Largest size of an instance's log file in bytes; the older half is dropped beyond it.
    pub log_limit_bytes: u64,
    /// How long an instance lives.
    #[serde(default, skip_serializing_if = "Lifetime::is_default")]
    pub lifetime: Lifetime,
}

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// Until it is stopped; an end while a test runs is that test's error.
    #[default]
    Stays,
    /// Until it is stopped or ends by itself.
    MayExit,
    /// Until its work is done: it is ready when it has ended with exit code 0.
    Job,
}

impl Lifetime {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How an instance is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopSpec {
    /// The first signal.
    pub signal: StopSignal,
    /// Time between that signal and SIGKILL.
    pub grace: Duration,
}

/// Signals that ask a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    #[default]
    Term,
    Int,
    Quit,
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGWINCH, by which Apache's httpd ends gracefully.
    Winch,
}

impl ServiceDefinition {
    /// Identifies the definition: any change in the file gives another digest, and so does another place in the project,
    /// as commands and paths start there. Where the project lies does not matter.
    pub fn digest(&self) -> Digest {
        let within = |path: &PathBuf| path.strip_prefix(&self.base_dir).unwrap_or(path).to_owned();
        let mut portable = self.clone();
        portable.base_dir = PathBuf::new();
        portable.working_dir = self.working_dir.as_ref().map(within);
        if let Launch::Container(container) = &mut portable.launch {
            for volume in &mut container.volumes {
                volume.host = within(&volume.host);
            }
        }
        let json = serde_json::to_vec(&portable)
            .expect("a definition has only string keys and finite numbers");
        Digest::of(&json)
    }

    /// The ports of this machine that its file fixes.
    pub fn ports_of_this_machine(&self) -> Vec<u16> {
        match &self.launch {
            Launch::Process(_) => self.fixed_ports.clone(),
            Launch::Container(container) => {
                let ports = container.ports.iter();
                let ports = ports.filter(|port| port.protocol == Protocol::Tcp);
                ports.filter_map(|port| port.host).collect()
            }
        }
    }

    /// Whether it does its work, ends, and is ready then.
    pub fn is_job(&self) -> bool {
        self.lifetime == Lifetime::Job
    }

    /// Whether it may end while a test runs.
    pub fn may_exit(&self) -> bool {
        self.lifetime == Lifetime::MayExit
    }

    /// Whether it is ready as soon as it was started, even if it has ended by then.
    pub fn may_end_at_once(&self) -> bool {
        self.may_exit() && self.ready.checks.is_empty()
    }

    /// Whether its main port is one of UDP.
    pub fn speaks_udp(&self) -> bool {
        let Launch::Container(container) = &self.launch else {
            return false;
        };
        let main = container.ports.first();
        main.is_some_and(|port| port.protocol == Protocol::Udp)
    }

    /// The allotted CPU in cores.
    pub fn cpus_or_default(&self) -> f64 {
        self.cpus.unwrap_or(1.0)
    }
}

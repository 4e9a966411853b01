//! Validated definitions: what a test file means, with every default filled in.
//!
//! Deliberately absent: TOML, aliases and error positions, which end in `test_file/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identity::{Digest, TestId};
use super::signal;
use crate::services::service_manager::AutoScaleConfig;

pub use super::container_settings::{ContainerSettings, PullPolicy, Ulimit};
pub use super::pool::{PoolBounds, PoolSpec};
pub use super::server::{MetricsSpec, PAGE, ServerForm, ServerSpec, SettingForm, SettingValue};

/// One test: the services that it needs and the steps that it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct TestDefinition {
    pub id: TestId,
    /// Of its file.
    pub digest: Digest,
    /// The file that it was read from, as given or discovered.
    pub file: PathBuf,
    /// Its name, unique enough for a person.
    pub name: String,
    /// What it is about.
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
    /// Scaling thresholds and limits.
    pub scale: AutoScaleConfig,
    /// Warm instances to keep.
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

/// What an instance is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Launch {
    /// A local process tree.
    Process(CommandLine),
    /// A container.
    Container(ContainerLaunch),
}

impl Launch {
    /// The image of a container.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Process(_) => None,
            Self::Container(container) => Some(&container.image),
        }
    }
}

/// A container's own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerLaunch {
    /// The image reference.
    pub image: String,
    /// Replaces the image's entry point; empty = none. `None` = the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<CommandLine>,
    /// `"host:container"` and bare container ports.
    pub ports: Vec<PortMapping>,
    /// Bind mounts.
    pub volumes: Vec<VolumeMount>,
    /// What else it is told.
    #[serde(default, skip_serializing_if = "ContainerSettings::is_default")]
    pub settings: Box<ContainerSettings>,
    /// Checked for as long as it runs, in place of the image's own check.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
}

/// A command that an engine executes inside a container again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Exits with 0 while the service is well.
    pub command: CommandLine,
    /// The pause between two.
    pub interval: Duration,
    /// Longest time of one.
    pub timeout: Duration,
    /// The container is unhealthy after so many failures in a row.
    pub retries: u32,
}

/// One published container port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The port on the host; `None` = chosen freely.
    pub host: Option<u16>,
    /// The port inside the container.
    pub container: u16,
    /// What is spoken below.
    #[serde(default, skip_serializing_if = "Protocol::is_tcp")]
    pub protocol: Protocol,
}

/// The transport of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP: readiness by connection is not possible.
    Udp,
}

impl Protocol {
    /// Its word in the engine's `80/tcp`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn is_tcp(&self) -> bool {
        *self == Self::Tcp
    }
}

/// One bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Path on the host.
    pub host: PathBuf,
    /// Path inside the container.
    pub container: PathBuf,
    /// Mounted read-only.
    pub read_only: bool,
}

/// A command; arguments may hold placeholders (see [`crate::config::placeholder`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandLine {
    /// A program and its arguments; never empty.
    Exec(Vec<String>),
    /// A string for `sh -c`.
    Shell(String),
}

/// All listed checks must hold. None listed: the process is alive. Loading lists `Tcp` for a service that has a port
/// and says nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// The checks.
    pub checks: Vec<ReadyCheck>,
    /// Whether the file lists checks of its own. Where it does not, an image's `HEALTHCHECK` must pass too.
    #[serde(default)]
    pub stated: bool,
    /// Longest time to become ready.
    pub timeout: Duration,
    /// Longest pause between two looks (they start at 5 ms and back off).
    pub max_interval: Duration,
}

/// One readiness check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyCheck {
    /// The main port accepts a connection.
    Tcp,
    /// GET on this path of the main port (or on a full `http://` URL) answers 2xx or 3xx.
    Http(String),
    /// So many lines of the log match.
    Log(LogPattern),
    /// The command exits with 0.
    Command(CommandLine),
}

/// Lines that a service prints when it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenPattern", into = "WrittenPattern")]
pub struct LogPattern {
    /// A regular expression.
    pub pattern: String,
    /// How many lines must match it, at least 1.
    pub times: u32,
    /// Matched with their escape sequences and carriage returns, which are left out otherwise.
    pub raw: bool,
}

/// A pattern as it is kept; a text alone means one line.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenPattern {
    Once(String),
    Repeated {
        pattern: String,
        times: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        raw: bool,
    },
}

impl From<WrittenPattern> for LogPattern {
    fn from(written: WrittenPattern) -> Self {
        match written {
            WrittenPattern::Once(pattern) => Self {
                pattern,
                times: 1,
                raw: false,
            },
            WrittenPattern::Repeated {
                pattern,
                times,
                raw,
            } => Self {
                pattern,
                times,
                raw,
            },
        }
    }
}

impl From<LogPattern> for WrittenPattern {
    fn from(written: LogPattern) -> Self {
        let LogPattern {
            pattern,
            times,
            raw,
        } = written;
        match (times, raw) {
            (1, false) => Self::Once(pattern),
            _ => Self::Repeated {
                pattern,
                times,
                raw,
            },
        }
    }
}

impl Readiness {
    /// The lines that are waited for, in the order of the checks.
    pub fn log_patterns(&self) -> Vec<LogPattern> {
        let patterns = self.checks.iter().filter_map(|check| match check {
            ReadyCheck::Log(pattern) => Some(pattern.clone()),
            ReadyCheck::Tcp | ReadyCheck::Http(_) | ReadyCheck::Command(_) => None,
        });
        patterns.collect()
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
    /// SIGTERM, the default.
    #[default]
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGWINCH, by which Apache's httpd ends gracefully.
    Winch,
}

/// One step of a test. Its placeholders name their service: loading has made `{port}` into `{cache.port}`.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDefinition {
    /// Its name.
    pub name: String,
    /// What it does.
    pub action: StepAction,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// What happens after a failed attempt.
    pub retry: Retry,
    /// Whether later steps run although this one failed.
    pub continue_on_failure: bool,
    /// Names of earlier steps that must have passed, else this one is skipped.
    pub depends_on: Vec<String>,
}

/// Attempts of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub max_attempts: u32,
    /// Pause between two attempts.
    pub delay: Duration,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepAction {
    /// Runs a command, on this machine or inside a container.
    Command(CommandStep),
    /// Sends one HTTP request.
    Http(HttpStep),
}

/// A command and what is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandStep {
    /// What to run.
    pub command: CommandLine,
    /// The service in whose place it runs: inside its container, or with the environment and data directory of its
    /// process.
    pub service: Option<String>,
    /// Added to the inherited environment.
    pub env: BTreeMap<String, String>,
    /// Variables that it gets from the caller, where that has them; inside a container nothing else of the caller's is there.
    pub env_of_caller: BTreeSet<String>,
    /// Working directory, relative to the folder of the test file; absolute inside a container. `None` = that folder,
    /// the service's own, or the image's.
    pub working_dir: Option<PathBuf>,
    /// How it must end (with exit code 0 unless the file says otherwise).
    pub end: ExpectedEnd,
    /// Expectations on the output (stdout and stderr as they came).
    pub output: Expectations,
}

/// How a command must end. A signal and the code that a shell makes of it are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedEnd {
    /// With this exit code.
    Code(i32),
    /// By the signal of this number.
    Signal(i32),
}

/// A request and what is expected of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpStep {
    /// `http://…`; may hold placeholders.
    pub url: String,
    /// GET, POST, …
    pub method: String,
    /// Request headers; values may hold placeholders.
    pub headers: BTreeMap<String, String>,
    /// Request body; may hold placeholders.
    pub body: Option<String>,
    /// Expected status; `None` = any 2xx.
    pub status: Option<u16>,
    /// Expectations on the body.
    pub body_expectations: Expectations,
    /// Expected answer headers: name → regular expression.
    pub header_regex: BTreeMap<String, String>,
}

/// Expectations on text, without placeholders. Regular expressions were compiled once when the file was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectations {
    /// Must match somewhere (multi-line mode is up to the pattern).
    pub regex: Option<String>,
    /// Must match nowhere.
    pub regex_not: Option<String>,
    /// Must occur.
    pub contains: Option<String>,
    /// Matched with its escape sequences and carriage returns, which are left out otherwise.
    pub raw: bool,
}

impl ExpectedEnd {
    /// What a shell's `$?` shows of it.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal::shell_code(signal),
        }
    }
}

impl ServiceDefinition {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_kept_as_histories_have_it() {
        let once = ReadyCheck::Log(LogPattern {
            pattern: "up".into(),
            times: 1,
            raw: false,
        });
        let twice = ReadyCheck::Log(LogPattern {
            pattern: "up".into(),
            times: 2,
            raw: false,
        });
        let raw = ReadyCheck::Log(LogPattern {
            pattern: "up".into(),
            times: 1,
            raw: true,
        });
        let json = |check: &ReadyCheck| serde_json::to_string(check).unwrap();
        assert_eq!(json(&once), r#"{"log":"up"}"#);
        assert_eq!(json(&twice), r#"{"log":{"pattern":"up","times":2}}"#);
        for check in [once, twice, raw] {
            let read: ReadyCheck = serde_json::from_str(&json(&check)).unwrap();
            assert_eq!(read, check);
        }
    }
}

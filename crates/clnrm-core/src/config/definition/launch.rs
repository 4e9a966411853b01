//! How an instance is started.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::container_settings::ContainerSettings;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Launch {
    Process(CommandLine),
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

/// A command; arguments may hold placeholders (see [`crate::config::placeholder`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandLine {
    /// A program and its arguments; never empty.
    Exec(Vec<String>),
    /// A string for `sh -c`.
    Shell(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerLaunch {
    pub image: String,
    /// Replaces the image's entry point; empty = none. `None` = the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<Vec<String>>,
    pub command: Option<CommandLine>,
    /// `"host:container"` and bare container ports.
    pub ports: Vec<PortMapping>,
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
    pub interval: Duration,
    /// Longest time of one.
    pub timeout: Duration,
    /// The container is unhealthy after so many failures in a row.
    pub retries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The port on the host; `None` = chosen freely.
    pub host: Option<u16>,
    /// The port inside the container.
    pub container: u16,
    #[serde(default, skip_serializing_if = "Protocol::is_tcp")]
    pub protocol: Protocol,
}

/// The transport of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    pub host: PathBuf,
    pub container: PathBuf,
    /// Mounted read-only.
    pub read_only: bool,
}

//! What placeholders stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::definition::Protocol;

/// Where the processes of this machine listen.
pub const HOST: &str = "127.0.0.1";
/// What stands for this machine where a container looks for a local process.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";

/// The values that placeholders stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// The path of the running clnrm.
    pub clnrm: PathBuf,
    /// The service that bare placeholders belong to; `None` in steps, where loading has qualified them.
    pub own: Option<String>,
    /// One instance per service name.
    pub services: BTreeMap<String, Where>,
    /// Local processes, where the reader of the text is a container: it reaches those that it waits for, and the folders
    /// of none.
    pub outside: BTreeSet<String>,
}

/// Where an instance is reached, and where its data are.
///
/// As JSON it is the column `ports` of the history, where it lacks the folder, which moves with the project, and in old
/// rows the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Where {
    #[serde(default)]
    pub host: String,
    /// Main port, if it has one.
    #[serde(rename = "main")]
    pub port: Option<u16>,
    #[serde(rename = "named")]
    pub named_ports: BTreeMap<String, u16>,
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// The same, as others see it that share a network with it; `None` = it is a process of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
}

/// An instance, seen from inside the project's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    pub name: String,
    /// The names by which it finds others, each with what it stands for there.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    pub ip: Option<String>,
    /// Main port, if it has one.
    pub port: Option<u16>,
    /// What the main port speaks below.
    #[serde(default)]
    pub protocol: Protocol,
    pub named_ports: BTreeMap<String, u16>,
    pub data_dir: PathBuf,
}

impl Where {
    /// `host:port`; `None` = it has no main port.
    pub fn address(&self) -> Option<String> {
        Some(format!("{}:{}", self.host, self.port?))
    }

    pub fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.port
            .into_iter()
            .chain(self.named_ports.values().copied())
    }

    /// What others may know of a job that is done: its folder. Where it listened, nobody does.
    #[must_use]
    pub(crate) fn of_done(self) -> Self {
        Self {
            host: self.host,
            data_dir: self.data_dir,
            ..Self::default()
        }
    }

    /// What a container's own name for this instance stands for in its network; `None` = nobody can be reached there.
    pub(crate) fn link(&self) -> Option<&str> {
        match &self.inside {
            Some(inside) => Some(&inside.name),
            None if self.port.is_some() || !self.named_ports.is_empty() => Some(HOST_GATEWAY),
            None => None,
        }
    }
}

impl Bindings {
    /// The same values as the container of `own` must use them; `own_host` is what it calls itself.
    #[must_use]
    pub fn seen_from_container(&self, own: &str, own_host: &str) -> Self {
        let mut seen = Self {
            clnrm: self.clnrm.clone(),
            own: self.own.clone(),
            ..Self::default()
        };
        let own_binding = self.services.get(own);
        let links = own_binding.and_then(|own| Some(&own.inside.as_ref()?.links));
        let reaches = |name: &String| {
            links.is_some_and(|links| links.get(name).is_some_and(|at| at == HOST_GATEWAY))
        };
        for (name, binding) in &self.services {
            let Some(inside) = &binding.inside else {
                if reaches(name) {
                    let binding = Where {
                        host: name.clone(),
                        ..binding.clone()
                    };
                    seen.services.insert(name.clone(), binding);
                }
                seen.outside.insert(name.clone());
                continue;
            };
            let host = if name == own { own_host } else { &inside.name };
            let binding = Where {
                host: host.to_owned(),
                port: inside.port,
                named_ports: inside.named_ports.clone(),
                data_dir: inside.data_dir.clone(),
                inside: None,
            };
            seen.services.insert(name.clone(), binding);
        }
        seen
    }
}

//! The backends that there are. A new one is a folder beside this file and a line in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use super::contract::Backend;
use super::docker::DockerBackend;
use super::error::{BackendError, ErrorKind};
use super::process::ProcessBackend;
use super::stats::StatsStream;
use crate::config::definition::ServiceDefinition;

/// What a project's instances may run in. Of two that start a service, the first does.
#[derive(Debug, Clone, Default)]
pub struct Backends(Vec<Arc<dyn Backend>>);

/// The row of an instance names a backend that this binary does not have.
#[derive(Debug, Error)]
#[error("this clnrm has no backend `{0}`")]
struct Unknown(String);

impl Backends {
    /// Those of the project whose state is in `state_dir`; none of them connects to anything yet. `program` is this
    /// binary, and `docker_host` where an engine's ports are reached, where the user knows better.
    pub fn of(
        program: PathBuf,
        environment: &BTreeMap<String, String>,
        state_dir: &Path,
        docker_host: Option<&str>,
    ) -> Self {
        Self(vec![
            Arc::new(ProcessBackend::new(program, state_dir)),
            Arc::new(DockerBackend::new(environment, state_dir, docker_host)),
        ])
    }

    /// These and no others.
    pub fn only(all: Vec<Arc<dyn Backend>>) -> Self {
        Self(all)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Backend>> {
        self.0.iter()
    }

    /// The one that the history calls by that name.
    ///
    /// # Errors
    /// A newer clnrm wrote that row.
    pub fn named(&self, name: &str) -> Result<&Arc<dyn Backend>, BackendError> {
        let found = self.iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| unknown(name))
    }

    /// The one that starts services of that definition.
    ///
    /// # Errors
    /// There is none.
    pub fn that_starts(
        &self,
        definition: &ServiceDefinition,
    ) -> Result<&Arc<dyn Backend>, BackendError> {
        let found = self.iter().find(|backend| backend.starts(definition));
        found.ok_or_else(|| unknown(&definition.name))
    }

    /// What an instance uses that cannot be read on this machine; `None` = no backend knows it.
    pub fn follow_stats(&self, container_id: &str) -> Option<watch::Receiver<StatsStream>> {
        self.iter()
            .find_map(|backend| backend.follow_stats(container_id))
    }
}

fn unknown(name: &str) -> BackendError {
    let hint = "a newer clnrm started the instance; look at it and stop it with that one";
    BackendError::new(
        Unknown(name.to_owned()),
        ErrorKind::Refused,
        Some(hint.to_owned()),
    )
}

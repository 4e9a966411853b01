//! Where a command of an instance runs: beside it on this machine, or inside it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::project::Project;
use crate::backend::{Backend, CommandRequest, environment};
use crate::config::definition::{CommandLine, ServiceDefinition};
use crate::config::placeholder::{Bindings, HOST, PlaceholderError, render_command};

/// What a command sees there.
#[derive(Debug)]
pub(super) struct CommandPlace {
    bindings: Bindings,
    env: BTreeMap<String, String>,
    working_dir: Option<PathBuf>,
}

impl CommandPlace {
    /// That of an instance; `env` is its own environment, without what was inherited.
    pub(super) fn of(
        project: &Project,
        backend: &dyn Backend,
        definition: &ServiceDefinition,
        bindings: &Bindings,
        env: &BTreeMap<String, String>,
    ) -> Self {
        if backend.has_inside() {
            return Self {
                bindings: bindings.seen_from_container(&definition.name, HOST),
                env: BTreeMap::new(),
                working_dir: None,
            };
        }
        let mut beside = environment::inherited(&project.environment);
        beside.extend(env.clone());
        let working_dir = definition.working_dir.as_ref();
        Self {
            bindings: bindings.clone(),
            env: beside,
            working_dir: Some(working_dir.unwrap_or(&definition.base_dir).clone()),
        }
    }

    /// A command to run there.
    pub(super) fn request(
        self,
        id: String,
        command: &CommandLine,
        timeout: Duration,
    ) -> Result<CommandRequest, PlaceholderError> {
        Ok(CommandRequest {
            id,
            argv: render_command(command, &self.bindings)?,
            env: self.env,
            working_dir: self.working_dir,
            timeout,
        })
    }
}

//! What a command is given by the outside world, read once.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::error::{CliError, CommandFailure};
use super::types::GlobalArguments;
use crate::backend::{BackendError, Backends};
use crate::clock::SystemClock;
use crate::config::project::{ProjectSettings, STATE_DIR_NAME, STATE_DIR_VARIABLE};
use crate::lifecycle::Project;
use crate::procfs::ProcessIdentity;
use crate::report::style::{Style, Surroundings};
use crate::report::{Printer, unless_closed};
use crate::store::{Store, StoreHandle};

/// Environment, working directory and this binary.
#[derive(Debug)]
pub struct Invocation {
    pub(super) current_dir: PathBuf,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) style: Style,
    program: PathBuf,
}

impl Invocation {
    pub(super) fn read(global: &GlobalArguments) -> Result<Self, CliError> {
        let system = |what| move |source| CommandFailure::System { what, source };
        // Variables that are not text cannot be passed on as text.
        let variables: BTreeMap<String, String> = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let current_dir = env::current_dir().map_err(system("find the current folder"))?;
        let surroundings = Surroundings::from_variables(
            |name| variables.get(name).cloned(),
            &current_dir,
            io::stdout().is_terminal(),
            io::stderr().is_terminal(),
        );
        Ok(Self {
            current_dir,
            style: Style::resolve(global.color_choice().unwrap_or_default(), &surroundings),
            program: env::current_exe().map_err(system("find this program"))?,
            variables,
        })
    }

    /// Whether `CI` is set to something.
    pub(super) fn in_ci(&self) -> bool {
        self.variables
            .get("CI")
            .is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
    }

    /// The project of the current folder and its settings.
    pub(super) fn settings(&self) -> Result<ProjectSettings, CliError> {
        Ok(ProjectSettings::open(&self.current_dir, &self.variables)?)
    }

    /// Opens the project's state, making it where there is none.
    /// `hurry` ends every grace period.
    pub(super) fn open(
        &self,
        settings: &ProjectSettings,
        hurry: &CancellationToken,
    ) -> Result<Arc<Project>, CliError> {
        self.project(settings, Store::open(&settings.state_dir)?, hurry, false)
    }

    /// A copy in memory of a state that cannot be written, which is what `error` says; `None` = there is none.
    pub(super) fn open_copy(
        &self,
        error: CliError,
        printer: &mut Printer<'_>,
    ) -> Result<Option<Arc<Project>>, CliError> {
        let Some(why) = error.unwritable() else {
            return Err(error);
        };
        let settings = self.settings()?;
        let Some(store) = Store::open_copy(&settings.state_dir)? else {
            return Ok(None);
        };
        unless_closed(printer.warning(&format!("{why}; nothing of what is found now is kept")))?;
        self.project(&settings, store, &CancellationToken::new(), true)
            .map(Some)
    }

    fn project(
        &self,
        settings: &ProjectSettings,
        store: Store,
        hurry: &CancellationToken,
        looks_only: bool,
    ) -> Result<Arc<Project>, CliError> {
        let system = |what| move |source| CommandFailure::System { what, source };
        let owner = i32::try_from(std::process::id()).map_err(io::Error::other);
        let owner = owner
            .and_then(ProcessIdentity::of)
            .map_err(system("read /proc; clnrm needs Linux"))?
            .ok_or_else(|| system("find this process in /proc")(io::ErrorKind::NotFound.into()))?;
        let state_dir = settings
            .state_dir
            .canonicalize()
            .unwrap_or_else(|_| settings.state_dir.clone());
        Ok(Arc::new(Project {
            store: StoreHandle::new(store),
            backends: Backends::of(
                self.program.clone(),
                &self.variables,
                &state_dir,
                settings.config.docker_host.as_deref(),
            ),
            clock: Arc::new(SystemClock),
            state_dir,
            owner,
            clnrm: self.program.clone(),
            environment: self.variables.clone(),
            looks_only,
            hurry: hurry.clone(),
            rng: Mutex::new(StdRng::seed_from_u64(rand::random())),
        }))
    }

    /// Ends what runs of a state that was deleted: without a history nobody else would find it. Returns why containers
    /// could not be looked for; where there is no engine at all, there are none.
    pub(super) async fn end_abandoned(
        &self,
        settings: &ProjectSettings,
        printer: &mut Printer<'_>,
    ) -> Result<Option<BackendError>, CliError> {
        let state_dir = &settings.state_dir;
        let is_forgotten = || !Store::exists(state_dir);
        let (true, Some(parent), Some(name)) =
            (is_forgotten(), state_dir.parent(), state_dir.file_name())
        else {
            return Ok(None);
        };
        // The folder itself may be gone; what ran in it knows its true path.
        let parent = parent.canonicalize().unwrap_or_else(|_| parent.to_owned());
        let state_dir = parent.join(name);
        let backends = Backends::of(self.program.clone(), &self.variables, &state_dir, None);
        let mut not_looked_for = None;
        for backend in backends.iter() {
            match backend.end_forgotten(&is_forgotten).await {
                Ok(notes) => {
                    for note in notes {
                        unless_closed(printer.warning(&note))?;
                    }
                }
                Err(error) => not_looked_for = Some(error),
            }
        }
        Ok(not_looked_for)
    }

    /// Opens the project's state; `None` where there is none.
    pub(super) async fn open_existing(
        &self,
        hurry: &CancellationToken,
        printer: &mut Printer<'_>,
    ) -> Result<Option<Arc<Project>>, CliError> {
        let settings = self.settings()?;
        self.end_abandoned(&settings, printer).await?;
        self.open_if_there(&settings, hurry)
    }

    /// The same, of what runs without a history nothing is asked.
    pub(super) fn open_if_there(
        &self,
        settings: &ProjectSettings,
        hurry: &CancellationToken,
    ) -> Result<Option<Arc<Project>>, CliError> {
        if !settings.state_dir.exists() {
            return Ok(None);
        }
        self.open(settings, hurry).map(Some)
    }

    /// The same surroundings for a project whose state is there.
    pub(super) fn of_state(&self, state_dir: &std::path::Path) -> Self {
        let mut variables = self.variables.clone();
        let state_dir = state_dir.display().to_string();
        variables.insert(STATE_DIR_VARIABLE.to_owned(), state_dir);
        Self {
            current_dir: self.current_dir.clone(),
            variables,
            style: self.style.clone(),
            program: self.program.clone(),
        }
    }

    /// The same surroundings in another folder, with its own state: a temporary project.
    pub(super) fn elsewhere(&self, dir: PathBuf) -> Self {
        let mut variables = self.variables.clone();
        variables.insert(
            STATE_DIR_VARIABLE.to_owned(),
            dir.join(STATE_DIR_NAME).display().to_string(),
        );
        Self {
            current_dir: dir,
            variables,
            style: self.style.clone(),
            program: self.program.clone(),
        }
    }
}

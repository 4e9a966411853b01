//! Services that do their work and end: done when they have ended with exit code 0.
//!
//! A job's row says that it has ended as soon as it has, so no later command takes it for something that runs. Its
//! folder stays for the services and steps that come after it, until its test gives it back like any instance.

use super::preparation::Prepared;
use super::project::Project;
use super::start::StartPlan;
use super::start_failure::StartCause;
use super::stop::EndError;
use crate::backend::Running;
use crate::backend::job::wait_until_done;
use crate::config::placeholder::InstanceBinding;
use crate::store::{Ending, InstanceExit};

/// The only code with which a job is done.
const SUCCESS: i32 = 0;

impl Project {
    /// Waits until a job is done and ends what it left running.
    pub(super) async fn finish_job(
        &self,
        plan: &StartPlan<'_>,
        prepared: &Prepared,
        running: &Running,
    ) -> Result<(), StartCause> {
        let limit = plan.definition.ready.timeout;
        wait_until_done(running.state.clone(), limit, &plan.cancel)
            .await
            .map_err(StartCause::Job)?;
        let place = prepared.place();
        self.runtime(prepared.kind())
            .end(&place, &self.patience(plan.definition.stop.grace))
            .await
            .map_err(|source| {
                StartCause::Leftovers(EndError::Stop {
                    id: prepared.id.clone(),
                    source,
                })
            })?;
        let exit = InstanceExit {
            code: Some(SUCCESS),
            signal: None,
            message: Some(format!("exit code {SUCCESS}")),
        };
        let (id, now) = (prepared.id.clone(), self.now());
        self.store
            .call(move |store| {
                store.record_ready(&id, now)?;
                store
                    .record_ended(&id, Ending::Stopped, &exit, now)
                    .map(drop)
            })
            .await
            .map_err(StartCause::Store)
    }
}

/// What others may know of a job that is done: its folder. Where it listened, nobody does.
pub(super) fn binding_of_done(binding: InstanceBinding) -> InstanceBinding {
    InstanceBinding {
        host: binding.host,
        data_dir: binding.data_dir,
        ..InstanceBinding::default()
    }
}

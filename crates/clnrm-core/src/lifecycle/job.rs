//! Services that do their work and end: done when they have ended with exit code 0.
//!
//! A job's row says that it has ended as soon as it has, so no later command takes it for something that runs. Its
//! folder stays for the services and steps that come after it, until its test gives it back like any instance.

use super::plan::StartPlan;
use super::preparation::Prepared;
use super::project::Project;

use super::start_failure::StartCause;
use super::stop::EndError;
use crate::backend::Running;
use crate::backend::job::wait_until_done;
use crate::store::{Ending, InstanceExit, InstanceId};

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
        let id = InstanceId(prepared.place.id.clone());
        let patience = self.patience(plan.definition.stop.grace);
        let ended = prepared.backend.end(&prepared.place, &patience).await;
        ended.map_err(|source| {
            let id = id.clone();
            StartCause::Leftovers(EndError::Stop { id, source })
        })?;
        let exit = InstanceExit {
            code: Some(SUCCESS),
            signal: None,
            message: Some(format!("exit code {SUCCESS}")),
        };
        let now = self.now();
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

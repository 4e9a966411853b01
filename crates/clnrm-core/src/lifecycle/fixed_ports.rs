//! Ports of this machine that a test file fixes: free when an instance is to have them, or their holder is named.

use super::project::Project;
use super::start_failure::{PortHolder, StartCause, StartFailure};
use crate::backend::port_owner;
use crate::backend::start::PrepareError;
use crate::config::definition::ServiceDefinition;
use crate::store::InstanceRow;

impl Project {
    /// Why a start could not be prepared, with whoever has its port.
    pub(super) async fn unprepared(&self, error: PrepareError) -> StartCause {
        match error {
            PrepareError::PortTaken { port } => StartCause::PortTaken {
                port,
                holder: self.holder_of(port).await,
            },
            PrepareError::NoFreePort => StartCause::NoFreePort,
            PrepareError::Placeholder(error) => StartCause::Placeholder(error),
            PrepareError::Backend(error) => StartCause::Backend(error),
        }
    }

    /// A failure of an instance that was too late for its fixed port, with whoever has it now as its cause.
    pub(super) async fn with_the_holder(
        &self,
        definition: &ServiceDefinition,
        failure: StartFailure,
    ) -> StartFailure {
        for port in definition.ports_of_this_machine() {
            let holder = self.holder_of(port).await;
            if holder != PortHolder::Unknown {
                let cause = StartCause::PortTaken { port, holder };
                return StartFailure { cause, ..failure };
            }
        }
        failure
    }

    async fn holder_of(&self, port: u16) -> PortHolder {
        // A history that cannot be read is told elsewhere; the port is taken all the same.
        let live = self.store.call(|store| store.live_instances()).await;
        let has_it = |row: &InstanceRow| row.start.reached.ports().any(|one| one == port);
        let own = live.unwrap_or_default().into_iter().find(has_it);
        match (own, port_owner::holder(port)) {
            (Some(row), _) => PortHolder::Instance(row.start.id),
            (None, Some(process)) => PortHolder::Process(process),
            (None, None) => PortHolder::Unknown,
        }
    }
}

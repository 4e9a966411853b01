//! Stops and removes containers; one that somebody else removes is waited for.

use std::time::Duration;

use bollard::query_parameters::{RemoveContainerOptions, StopContainerOptions};
use tokio::time::sleep;

use super::DockerBackend;
use super::error::EngineError;
use crate::backend::instance::Patience;

/// Where another command removes the same container, it is waited for.
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);
const REMOVAL_LOOKS: usize = 250;

impl DockerBackend {
    pub(super) async fn stop_patiently(
        &self,
        name: &str,
        patience: &Patience,
    ) -> Result<(), EngineError> {
        let stopped = patience
            .hurry
            .run_until_cancelled(self.stop(name, patience.grace));
        match stopped.await {
            Some(stopped) => stopped,
            // The engine goes on with what it was asked before; this one kills at once.
            None => self.stop(name, Duration::ZERO).await,
        }
    }

    async fn stop(&self, name: &str, grace: Duration) -> Result<(), EngineError> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions {
            t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            ..StopContainerOptions::default()
        };
        let stopped = self
            .engine
            .have_done("stop a container", grace, async |client| {
                client.stop_container(name, Some(options)).await
            })
            .await;
        match stopped {
            // 304: it had ended meanwhile.
            Ok(())
            | Err(EngineError::Refused {
                status: 304 | 404, ..
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes a container with its anonymous volumes; it is gone when this returns.
    pub(super) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let removed = self
            .engine
            .have_done("remove a container", Duration::ZERO, async |client| {
                client.remove_container(name, Some(options)).await
            })
            .await;
        match removed {
            Ok(()) | Err(EngineError::Refused { status: 404, .. }) => Ok(()),
            Err(EngineError::Refused { status: 409, .. }) => self.wait_for_removal(name).await,
            Err(error) => Err(error),
        }
    }

    async fn wait_for_removal(&self, name: &str) -> Result<(), EngineError> {
        for _ in 0..REMOVAL_LOOKS {
            if self.inspect(name).await?.is_none() {
                return Ok(());
            }
            sleep(REMOVAL_PAUSE).await;
        }
        Err(EngineError::Refused {
            action: "remove a container",
            status: 409,
            message: format!("{name} is being removed by somebody else, and does not go"),
        })
    }
}

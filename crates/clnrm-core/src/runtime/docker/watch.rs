//! Watches a container, so that readiness and the runner hear of its end at once.

use std::future::Future;
use std::time::Duration;

use bollard::query_parameters::{InspectContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::DockerRuntime;
use super::container::exit_of;
use super::engine::Connected;
use crate::runtime::instance::{Loss, TreeState};

/// An engine that restarts is away for some seconds.
const ENGINE_PATIENCE: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl DockerRuntime {
    /// Reports the end of a container, once.
    pub(super) fn watch(
        &self,
        id: String,
        sender: watch::Sender<TreeState>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connected = self.engine.connected_now();
        async move {
            let Some(connected) = connected else { return };
            let ended = tokio::select! {
                ended = wait_for_end(&connected, &id) => ended,
                // Nobody listens any more.
                () = sender.closed() => return,
            };
            sender.send_replace(ended);
        }
    }
}

async fn wait_for_end(connected: &Connected, id: &str) -> TreeState {
    let mut answered = Instant::now();
    loop {
        let options = WaitContainerOptions {
            condition: "not-running".to_owned(),
        };
        // An exit code other than 0 is an error to the client library; what matters is that the wait is over.
        let _ = connected
            .client
            .wait_container(id, Some(options))
            .next()
            .await;
        match connected
            .client
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
        {
            Ok(container) => {
                answered = Instant::now();
                if let Some(exit) = exit_of(&container, false) {
                    return TreeState::Ended(exit);
                }
            }
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            }) => return TreeState::Lost(Loss::ContainerRemoved),
            Err(_) if answered.elapsed() > ENGINE_PATIENCE => {
                return TreeState::Lost(Loss::EngineGone);
            }
            Err(_) => {}
        }
        sleep(RETRY_PAUSE).await;
    }
}

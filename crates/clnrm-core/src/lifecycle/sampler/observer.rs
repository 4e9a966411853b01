//! Samples of instances that other commands started.
//!
//! `ai-manage` looks once, or every second while it watches; the guard of warm pools looks once a round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::recorder::{Sampler, Warn};
use crate::lifecycle::project::Project;
use crate::store::{InstanceRow, InstanceState, ServiceRow, StoreError};

/// Samples the running instances of the services that it was pointed at last.
#[derive(Debug)]
pub struct Observer {
    sampler: Sampler,
    services: Mutex<Arc<[ServiceRow]>>,
    goes_on: AtomicBool,
}

impl Observer {
    /// Looks at nothing yet.
    pub fn new(project: Arc<Project>, warn: Arc<Warn>) -> Self {
        Self {
            sampler: Sampler::new(project, warn),
            services: Mutex::new(Arc::from([])),
            goes_on: AtomicBool::new(false),
        }
    }

    /// Points it at these services. Where it does not sample all the time anyway, it takes one sample of each now.
    pub async fn look_at(&self, services: &[ServiceRow]) -> Result<(), StoreError> {
        *self.services.lock().unwrap_or_else(PoisonError::into_inner) = services.into();
        if self.goes_on.load(Ordering::Relaxed) {
            return Ok(());
        }
        let running = self.running().await?;
        for (service, error) in self.sampler.watch_exactly(services, &running).await? {
            self.sampler.cannot_be_measured(&service, &error);
        }
        self.sampler.sample_with_rates().await
    }

    /// Samples once a second until `cancel`.
    pub fn go_on_until(self: &Arc<Self>, cancel: CancellationToken) -> JoinHandle<()> {
        self.goes_on.store(true, Ordering::Relaxed);
        let observer = Arc::clone(self);
        self.sampler.every_second_until(cancel, move || {
            let observer = Arc::clone(&observer);
            async move { observer.tick().await }
        })
    }

    async fn tick(&self) -> Result<(), StoreError> {
        let running = self.running().await?;
        self.sampler.forget_others(&running).await;
        self.sampler.sample_promptly().await?;
        // After the sample: it would lack the rates of those that are new. Why one cannot be measured is told once.
        let services = self.services();
        self.sampler.watch_exactly(&services, &running).await?;
        self.sampler.begin_new().await;
        Ok(())
    }

    fn services(&self) -> Arc<[ServiceRow]> {
        Arc::clone(&self.services.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn running(&self) -> Result<Vec<InstanceRow>, StoreError> {
        let store = &self.sampler.project.store;
        let mut live = store.call(|store| store.live_instances()).await?;
        let services = self.services();
        live.retain(|row| {
            row.state == InstanceState::Running
                && services
                    .iter()
                    .any(|service| service.id == row.start.service)
        });
        Ok(live)
    }
}

//! Samples of instances that other commands started.
//!
//! `ai-manage` looks once, or every second while it watches; the guard of warm pools looks once a round.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, MemoryKillsSeen, Patience, SAMPLE_INTERVAL, SHORTEST_INTERVAL, Sampler, Warn, Watched,
    target,
};
use crate::config::placeholder::PlaceholderError;
use crate::lifecycle::project::{Project, root};
use crate::metrics::Reading;
use crate::metrics::rates::instance_sample;
use crate::procfs::boot_id;
use crate::services::service_manager::Absent;
use crate::store::{InstanceId, InstanceRow, InstanceState, ServiceRow, StoreError};

/// A rate goes on from the last reading of another command only if that is no older: it is to say what is now.
const YOUNG_ENOUGH: Duration = Duration::from_secs(5);

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
            (self.sampler.warn)(format!("service `{service}` cannot be measured: {error}"));
        }
        self.sampler.sample_with_rates().await
    }

    /// Samples once a second until `cancel`.
    pub fn go_on_until(self: &Arc<Self>, cancel: CancellationToken) -> JoinHandle<()> {
        let observer = Arc::clone(self);
        observer.goes_on.store(true, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut ticks = interval(SAMPLE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
                if let Err(error) = observer.tick().await {
                    (observer.sampler.warn)(format!("a sample was lost: {error}"));
                }
            }
        })
    }

    async fn tick(&self) -> Result<(), StoreError> {
        let running = self.running().await?;
        self.sampler.forget_others(&running).await;
        self.sampler.sample_promptly().await?;
        // After the sample: it would lack the rates of those that are new. Why one cannot be measured is told once.
        let services = self.services();
        self.sampler.watch_exactly(&services, &running).await?;
        self.sampler.first_readings().await;
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

impl Sampler {
    /// Watches these instances and no others. Returns those services of which it cannot watch one, with the reason.
    pub(in crate::lifecycle) async fn watch_exactly(
        &self,
        services: &[ServiceRow],
        instances: &[InstanceRow],
    ) -> Result<Vec<(String, PlaceholderError)>, StoreError> {
        self.forget_others(instances).await;
        let mut inner = self.inner.lock().await;
        let is_new = |row: &&InstanceRow| !inner.watched.contains_key(&row.start.id);
        let new: Vec<&InstanceRow> = instances.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let readings = self.project.store.call(|store| store.readings()).await?;
        let mut refused = Vec::new();
        for row in new {
            let service = services.iter().find(|one| one.id == row.start.service);
            let (Some(service), Some(root)) = (service, root(row)) else {
                continue;
            };
            let id = &row.start.id;
            match target(
                &service.definition,
                id,
                root,
                &row.start.reached,
                self.project.empty_bindings(),
            ) {
                Ok(target) => {
                    let cpus = row.cpus.unwrap_or(service.definition.cpus_or_default());
                    let mut watched = Watched::new(service.id, cpus, target);
                    let stored = readings.get(id);
                    let last = stored.and_then(|one| serde_json::from_str(&one.json).ok());
                    watched.memory_kills_seen = last.as_ref().and_then(MemoryKillsSeen::of);
                    watched.last = last.filter(|last| self.is_young(last));
                    inner.watched.insert(id.clone(), watched);
                }
                Err(error) => refused.push((service.name.clone(), error)),
            }
        }
        Ok(refused)
    }

    /// Samples now, with rates: whatever has no reading to go on from is read twice.
    pub(in crate::lifecycle) async fn sample_with_rates(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().await;
        let mut readings = inner.read(Patience::Patient).await;
        if inner.begin_anew(&readings) {
            let mut pause = SHORTEST_INTERVAL;
            if inner.collector.wait_for_engine().await {
                let first_items = inner.read(Patience::Patient).await;
                inner.begin_anew(&first_items);
                pause = SAMPLE_INTERVAL;
            }
            sleep(pause).await;
            readings = inner.read(Patience::Patient).await;
        }
        self.record(&mut inner, readings).await
    }

    async fn forget_others(&self, instances: &[InstanceRow]) {
        let ids: BTreeSet<&InstanceId> = instances.iter().map(|row| &row.start.id).collect();
        let mut inner = self.inner.lock().await;
        inner.watched.retain(|id, _| ids.contains(id));
    }

    /// Reads those that have no reading yet.
    async fn first_readings(&self) {
        let unread: Vec<InstanceId> = {
            let inner = self.inner.lock().await;
            let unread = inner.watched.iter().filter(|(_, one)| one.last.is_none());
            unread.map(|(id, _)| id.clone()).collect()
        };
        if !unread.is_empty() {
            self.first_reading(&unread).await;
        }
    }

    fn is_young(&self, reading: &Reading) -> bool {
        let now = self.project.clock.awake();
        boot_id().is_ok_and(|boot_id| boot_id == reading.boot_id)
            && reading.awake_at <= now
            && now.since(reading.awake_at) <= YOUNG_ENOUGH
    }
}

impl Inner {
    /// Lets the rates of those instances begin with these readings that have none yet, though they run; `false` = all have.
    fn begin_anew(&mut self, readings: &[Reading]) -> bool {
        let mut any = false;
        for reading in readings {
            let id = InstanceId(reading.instance_id.clone());
            let Some(watched) = self.watched.get_mut(&id) else {
                continue;
            };
            let sample = instance_sample(watched.last.as_ref(), reading, watched.cpus);
            if sample
                .cpu_percent
                .is_err_and(|reason| reason != Absent::ProcessEnded)
            {
                watched.last = Some(reading.clone().after(watched.last.take()));
                any = true;
            }
        }
        any
    }
}

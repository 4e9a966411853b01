//! Records what a look shows.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::look::{Look, SAMPLE_INTERVAL, SHORTEST_INTERVAL, ServiceSample};
use super::watched::Watched;
use crate::clock::Uptime;
use crate::config::placeholder::PlaceholderError;
use crate::lifecycle::live::LiveInstance;
use crate::lifecycle::project::Project;
use crate::procfs::boot_id;
use crate::services::service_manager::{ServiceMetrics, Sources};
use crate::store::{
    ClockSetting, InstanceId, InstanceRow, ServiceId, ServiceRow, StoreError, StoredReading,
};

/// Told when samples cannot be kept.
pub type Warn = dyn Fn(String) + Send + Sync;

/// Looks and records. Cheap to clone; all clones are one sampler.
#[derive(Clone)]
pub struct Sampler {
    pub(super) project: Arc<Project>,
    pub(super) warn: Arc<Warn>,
    look: Arc<Mutex<Look>>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler that watches nothing yet.
    pub fn new(project: Arc<Project>, warn: Arc<Warn>) -> Self {
        Self {
            look: Arc::new(Mutex::new(Look::new(&project))),
            project,
            warn,
        }
    }

    /// Watches instances that have just become ready, and takes the first reading that rates start from.
    pub async fn add(&self, instances: &[LiveInstance]) {
        let mut look = self.look.lock().await;
        for instance in instances {
            match Watched::of_live(instance, &self.project) {
                Ok(watched) => {
                    look.watched.insert(instance.id.clone(), watched);
                }
                Err(error) => self.cannot_be_measured(&instance.definition.name, &error),
            }
        }
        let ids: Vec<InstanceId> = instances
            .iter()
            .map(|instance| instance.id.clone())
            .collect();
        look.begin(&ids).await;
    }

    /// Watches it no longer.
    pub async fn remove(&self, id: &InstanceId) {
        self.look.lock().await.watched.remove(id);
    }

    /// Watches these instances and no others. Returns those services of which it cannot watch one, with the reason.
    pub(in crate::lifecycle) async fn watch_exactly(
        &self,
        services: &[ServiceRow],
        instances: &[InstanceRow],
    ) -> Result<Vec<(String, PlaceholderError)>, StoreError> {
        self.forget_others(instances).await;
        let mut look = self.look.lock().await;
        let is_new = |row: &&InstanceRow| !look.watched.contains_key(&row.start.id);
        let new: Vec<&InstanceRow> = instances.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let readings = self.project.store.call(|store| store.readings()).await?;
        let mut refused = Vec::new();
        for row in new {
            let of_row = |service: &&ServiceRow| service.id == row.start.service;
            let Some(service) = services.iter().find(of_row) else {
                continue;
            };
            let id = &row.start.id;
            let stored = readings.get(id);
            let stored = stored.and_then(|one| serde_json::from_str(&one.json).ok());
            match Watched::of_row(row, service, stored, &self.project) {
                Ok(watched) => look
                    .watched
                    .extend(watched.map(|watched| (id.clone(), watched))),
                Err(error) => refused.push((service.name.clone(), error)),
            }
        }
        Ok(refused)
    }

    pub(super) async fn forget_others(&self, instances: &[InstanceRow]) {
        let ids: BTreeSet<&InstanceId> = instances.iter().map(|row| &row.start.id).collect();
        let mut look = self.look.lock().await;
        look.watched.retain(|id, _| ids.contains(id));
    }

    /// Takes the readings that rates start from, of those that have none yet.
    pub(super) async fn begin_new(&self) {
        self.look.lock().await.begin_new().await;
    }

    /// Says once why there will be no samples.
    pub(super) fn cannot_be_measured(&self, service: &str, error: &PlaceholderError) {
        (self.warn)(format!("service `{service}` cannot be measured: {error}"));
    }

    /// Samples once a second until `cancel`.
    pub fn run_until(&self, cancel: CancellationToken) -> JoinHandle<()> {
        let sampler = self.clone();
        self.every_second_until(cancel, move || {
            let sampler = sampler.clone();
            async move { sampler.sample_promptly().await }
        })
    }

    /// Does it once a second until `cancel`; one that takes longer delays the next.
    pub(super) fn every_second_until<F>(
        &self,
        cancel: CancellationToken,
        mut sample: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        let sampler = self.clone();
        tokio::spawn(async move {
            let mut ticks = interval(SAMPLE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
                sampler.keep(sample().await);
            }
        })
    }

    /// Takes the reading that ends a test, so that even one shorter than the interval leaves a sample.
    pub async fn last_sample(&self, instances: &[LiveInstance]) {
        let ids = instances.iter().map(|instance| &instance.id);
        let Some(newest) = self.last_read(ids).await else {
            return;
        };
        let age = self.project.clock.awake().since(newest);
        if let Some(wait) = SHORTEST_INTERVAL.checked_sub(age) {
            sleep(wait).await;
        }
        self.keep(self.sample_promptly().await);
    }

    /// Samples now, if an instance was read long enough ago for its rates to mean something.
    pub async fn sample_if_due(&self, id: &InstanceId) {
        let last = self.last_read([id]).await;
        let now = self.project.clock.awake();
        if last.is_some_and(|last| now.since(last) >= SHORTEST_INTERVAL) {
            self.keep(self.sample_promptly().await);
        }
    }

    async fn last_read(&self, ids: impl IntoIterator<Item = &InstanceId>) -> Option<Uptime> {
        let look = self.look.lock().await;
        let readings = ids
            .into_iter()
            .filter_map(|id| look.watched.get(id)?.last.as_ref());
        readings.map(|reading| reading.awake_at).max()
    }

    /// Reads everything, and records one sample per service.
    pub(super) async fn sample_promptly(&self) -> Result<(), StoreError> {
        let mut look = self.look.lock().await;
        let samples = look.promptly().await;
        self.record(&mut look, samples).await
    }

    /// The same, with rates of those that nobody has read before.
    pub(in crate::lifecycle) async fn sample_with_rates(&self) -> Result<(), StoreError> {
        let mut look = self.look.lock().await;
        let samples = look.with_rates().await;
        self.record(&mut look, samples).await
    }

    /// The look stays locked until its samples are recorded: they reach the history in the order of their readings.
    async fn record(&self, look: &mut Look, samples: Vec<ServiceSample>) -> Result<(), StoreError> {
        if samples.is_empty() {
            return Ok(());
        }
        let clock = ClockSetting {
            // Where it cannot be read, no instance can be either.
            boot_id: boot_id().unwrap_or_default().to_owned(),
            started_at: self.project.clock.started_at(),
        };
        let readings: Vec<(InstanceId, StoredReading)> =
            look.watched.iter().filter_map(stored_reading).collect();
        let rows: Vec<(ServiceId, ServiceMetrics)> = samples
            .iter()
            .map(|sample| (sample.service, sample.metrics))
            .collect();
        let sources: Vec<(ServiceId, Sources)> = samples
            .into_iter()
            .map(|sample| (sample.service, sample.sources))
            .collect();
        let kills = std::mem::take(&mut look.memory_kills);
        self.project
            .store
            .call(move |store| {
                store.append_tick(&rows, &clock)?;
                store.record_readings(&readings)?;
                store.record_memory_kills(&kills)?;
                sources
                    .iter()
                    .try_for_each(|(service, sources)| store.record_sources(*service, sources))
            })
            .await
    }

    fn keep(&self, recorded: Result<(), StoreError>) {
        if let Err(error) = recorded {
            (self.warn)(format!("a sample was lost: {error}"));
        }
    }
}

fn stored_reading((id, watched): (&InstanceId, &Watched)) -> Option<(InstanceId, StoredReading)> {
    let reading = watched.last.as_ref()?;
    let json = serde_json::to_string(reading).ok()?;
    Some((
        id.clone(),
        StoredReading {
            read_at: reading.at,
            json,
        },
    ))
}

//! Takes samples of running instances and keeps them.
//!
//! One sampler reads all instances that it watches in one go, turns each pair of readings into rates, and records
//! one sample per service together with the readings, so that a later command can go on from them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::live::LiveInstance;
use super::project::Project;
use crate::backend::root::Root;
use crate::clock::Timestamp;
use crate::config::definition::{MetricsSpec, PAGE, ServiceDefinition};
use crate::config::placeholder::{Bindings, PlaceholderError, Where, render};
use crate::metrics::rates::{InstanceSample, combine, instance_sample};
use crate::metrics::{Collector, Reading, Target};
use crate::procfs::boot_id;
use crate::servers;
use crate::services::service_manager::{ServiceMetrics, Sources};
use crate::store::{
    ClockSetting, InstanceId, NewMemoryKills, ServiceId, StoreError, StoredReading,
};

mod observer;

pub use observer::Observer;

/// How often a run samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// A rate over less than this says little; the last sample of a test waits for it.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);

/// One sample of one service, and where each of its fields came from.
#[derive(Debug, Clone)]
struct ServiceSample {
    service: ServiceId,
    /// What was measured.
    metrics: ServiceMetrics,
    /// Where it came from, or why it is not there.
    sources: Sources,
}

/// An instance to be read.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its service.
    pub service: ServiceId,
    /// CPU that 100 % means, in cores.
    pub cpus: f64,
    /// Where to read.
    pub target: Target,
    /// The reading before the next one.
    pub last: Option<Reading>,
    /// Kills for lack of memory that are on record, or happened before anybody looked.
    pub memory_kills_seen: Option<MemoryKillsSeen>,
}

/// How many processes of an instance had been killed for lack of memory at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryKillsSeen {
    at: Timestamp,
    kills: u64,
}

impl MemoryKillsSeen {
    /// `None` = nobody counts them.
    fn of(reading: &Reading) -> Option<Self> {
        let kills = reading.usage.memory_kills?;
        Some(Self {
            at: reading.at,
            kills,
        })
    }
}

impl Watched {
    /// What was not read before; `cpus` is what its engine allows at most.
    fn new(service: ServiceId, cpus: f64, target: Target) -> Self {
        Self {
            service,
            cpus,
            target,
            last: None,
            memory_kills_seen: None,
        }
    }
}

/// Told when samples cannot be kept.
pub type Warn = dyn Fn(String) + Send + Sync;

/// Reads, computes, records. Cheap to clone; all clones are one sampler.
#[derive(Clone)]
pub struct Sampler {
    project: Arc<Project>,
    warn: Arc<Warn>,
    inner: Arc<Mutex<Inner>>,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

/// How long a sample waits for services that are slow to answer.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// Until they answer or time out.
    Patient,
    /// A fraction of a second: the next sample is due.
    Prompt,
}

struct Inner {
    collector: Collector,
    watched: BTreeMap<InstanceId, Watched>,
    /// Not recorded yet.
    memory_kills: Vec<NewMemoryKills>,
}

impl Sampler {
    /// A sampler that watches nothing yet.
    pub fn new(project: Arc<Project>, warn: Arc<Warn>) -> Self {
        let collector = Collector::new(
            Arc::clone(&project.clock),
            servers::source,
            project.backends.clone(),
        );
        Self {
            project,
            warn,
            inner: Arc::new(Mutex::new(Inner {
                collector,
                watched: BTreeMap::new(),
                memory_kills: Vec::new(),
            })),
        }
    }

    /// Watches instances that have just become ready, and takes the first reading that rates start from.
    pub async fn add(&self, instances: &[LiveInstance]) {
        for instance in instances {
            let definition = &instance.definition;
            match target(
                definition,
                &instance.id,
                instance.running.root.clone(),
                &instance.reached,
                self.project.empty_bindings(),
            ) {
                Ok(target) => {
                    let cpus = instance
                        .running
                        .cpus
                        .unwrap_or(definition.cpus_or_default());
                    let watched = Watched::new(instance.service, cpus, target);
                    self.watch(instance.id.clone(), watched).await;
                }
                Err(error) => (self.warn)(format!(
                    "service `{}` cannot be measured: {error}",
                    instance.definition.name
                )),
            }
        }
        let ids: Vec<InstanceId> = instances
            .iter()
            .map(|instance| instance.id.clone())
            .collect();
        self.first_reading(&ids).await;
    }

    /// Watches one instance.
    pub async fn watch(&self, id: InstanceId, watched: Watched) {
        self.inner.lock().await.watched.insert(id, watched);
    }

    /// Watches it no longer.
    pub async fn remove(&self, id: &InstanceId) {
        self.inner.lock().await.watched.remove(id);
    }

    /// Samples once a second until `cancel`.
    pub fn run_until(&self, cancel: CancellationToken) -> JoinHandle<()> {
        let sampler = self.clone();
        tokio::spawn(async move {
            let mut ticks = interval(SAMPLE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
                sampler.sample_and_keep().await;
            }
        })
    }

    /// Takes the reading that ends a test, so that even one shorter than the interval leaves a sample.
    pub async fn last_sample(&self, instances: &[LiveInstance]) {
        let newest = {
            let inner = self.inner.lock().await;
            let readings = instances
                .iter()
                .filter_map(|instance| inner.watched.get(&instance.id)?.last.as_ref());
            readings.map(|reading| reading.awake_at).max()
        };
        let Some(newest) = newest else { return };
        let age = self.project.clock.awake().since(newest);
        if let Some(wait) = SHORTEST_INTERVAL.checked_sub(age) {
            sleep(wait).await;
        }
        self.sample_and_keep().await;
    }

    /// Samples now, if an instance was read long enough ago for its rates to mean something.
    pub async fn sample_if_due(&self, id: &InstanceId) {
        let last = {
            let inner = self.inner.lock().await;
            let watched = inner.watched.get(id);
            watched.and_then(|watched| watched.last.as_ref().map(|reading| reading.awake_at))
        };
        let now = self.project.clock.awake();
        if last.is_some_and(|last| now.since(last) >= SHORTEST_INTERVAL) {
            self.sample_and_keep().await;
        }
    }

    /// Reads everything, and records one sample per service.
    async fn sample_promptly(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().await;
        let readings = inner.read(Patience::Prompt).await;
        self.record(&mut inner, readings).await
    }

    async fn record(&self, inner: &mut Inner, readings: Vec<Reading>) -> Result<(), StoreError> {
        if readings.is_empty() {
            return Ok(());
        }
        let samples = inner.take(readings);
        let clock = self.clock_setting();
        let stored: Vec<(InstanceId, StoredReading)> =
            inner.watched.iter().filter_map(stored_reading).collect();
        // The lock is held until the samples are recorded: they reach the history in the order of their readings.
        let rows: Vec<(ServiceId, ServiceMetrics)> = samples
            .iter()
            .map(|sample| (sample.service, sample.metrics))
            .collect();
        let sources: Vec<(ServiceId, Sources)> = samples
            .into_iter()
            .map(|sample| (sample.service, sample.sources))
            .collect();
        let kills = std::mem::take(&mut inner.memory_kills);
        self.project
            .store
            .call(move |store| {
                store.append_tick(&rows, &clock)?;
                store.record_readings(&stored)?;
                store.record_memory_kills(&kills)?;
                sources
                    .iter()
                    .try_for_each(|(service, sources)| store.record_sources(*service, sources))
            })
            .await
    }

    fn clock_setting(&self) -> ClockSetting {
        ClockSetting {
            // Where it cannot be read, no instance can be either.
            boot_id: boot_id().unwrap_or_default().to_owned(),
            started_at: self.project.clock.started_at(),
        }
    }

    async fn first_reading(&self, ids: &[InstanceId]) {
        let mut inner = self.inner.lock().await;
        let targets: Vec<Target> = ids
            .iter()
            .filter_map(|id| Some(inner.watched.get(id)?.target.clone()))
            .collect();
        for reading in inner.collector.read_promptly(&targets).await {
            inner.note_memory_kills(&reading);
            if let Some(watched) = inner
                .watched
                .get_mut(&InstanceId(reading.instance_id.clone()))
            {
                watched.last = Some(reading.after(watched.last.take()));
            }
        }
    }

    async fn sample_and_keep(&self) {
        if let Err(error) = self.sample_promptly().await {
            (self.warn)(format!("a sample was lost: {error}"));
        }
    }
}

impl Inner {
    /// Reads everything that is watched.
    async fn read(&mut self, patience: Patience) -> Vec<Reading> {
        let watched = self.watched.values();
        let targets: Vec<Target> = watched.map(|watched| watched.target.clone()).collect();
        if targets.is_empty() {
            return Vec::new();
        }
        match patience {
            Patience::Patient => self.collector.read(&targets).await,
            Patience::Prompt => self.collector.read_promptly(&targets).await,
        }
    }

    /// What happened since anybody counted, however long ago that was.
    fn note_memory_kills(&mut self, reading: &Reading) {
        let instance = InstanceId(reading.instance_id.clone());
        let (Some(watched), Some(now)) = (
            self.watched.get_mut(&instance),
            MemoryKillsSeen::of(reading),
        ) else {
            return;
        };
        // A smaller number is of a container that was started again.
        let new = watched
            .memory_kills_seen
            .and_then(|before| Some((before.at, now.kills.checked_sub(before.kills)?)));
        watched.memory_kills_seen = Some(now);
        if let Some((from, kills @ 1..)) = new {
            self.memory_kills.push(NewMemoryKills {
                service: watched.service,
                instance,
                from,
                at: now.at,
                kills,
            });
        }
    }

    /// Rates since the reading before, combined per service.
    fn take(&mut self, readings: Vec<Reading>) -> Vec<ServiceSample> {
        let mut by_service: BTreeMap<ServiceId, (Timestamp, Vec<InstanceSample>)> = BTreeMap::new();
        for reading in readings {
            self.note_memory_kills(&reading);
            let Some(watched) = self
                .watched
                .get_mut(&InstanceId(reading.instance_id.clone()))
            else {
                continue;
            };
            let sample = instance_sample(watched.last.as_ref(), &reading, watched.cpus);
            let (at, samples) = by_service
                .entry(watched.service)
                .or_insert((reading.at, Vec::new()));
            *at = (*at).max(reading.at);
            samples.push(sample);
            watched.last = Some(reading.after(watched.last.take()));
        }
        by_service
            .into_iter()
            .map(|(service, (at, samples))| {
                let (metrics, sources) = combine(&samples, at);
                ServiceSample {
                    service,
                    metrics,
                    sources,
                }
            })
            .collect()
    }
}

/// What to read of an instance.
fn target(
    definition: &ServiceDefinition,
    id: &InstanceId,
    root: Root,
    binding: &Where,
    mut bindings: Bindings,
) -> Result<Target, PlaceholderError> {
    bindings.own = Some(definition.name.clone());
    bindings
        .services
        .insert(definition.name.clone(), binding.clone());
    let mut metrics = definition.metrics.clone();
    if let MetricsSpec::Server(server) = &mut metrics
        && let Some(page) = server.settings.get_mut(PAGE)
    {
        *page = render(page, &bindings)?;
    }
    Ok(Target {
        instance_id: id.0.clone(),
        root,
        ports: binding.ports().collect(),
        address: binding
            .port
            .and_then(|port| Some(SocketAddr::new(binding.host.parse().ok()?, port))),
        metrics,
    })
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

//! Looks at instances: readings of all that are watched, in one go, and what services did between two of them.
//!
//! Deliberately absent: the history. A look records nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::watched::Watched;
use crate::clock::Timestamp;
use crate::lifecycle::project::Project;
use crate::metrics::rates::{InstanceSample, combine, instance_sample};
use crate::metrics::{Collector, Reading, Target};
use crate::servers;
use crate::services::service_manager::{Absent, ServiceMetrics, Sources};
use crate::store::{InstanceId, NewMemoryKills, ServiceId};

/// How often a run samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// A rate over less than this says little.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);

/// One sample of one service, and where each of its fields came from.
#[derive(Debug, Clone)]
pub(super) struct ServiceSample {
    pub(super) service: ServiceId,
    pub(super) metrics: ServiceMetrics,
    pub(super) sources: Sources,
}

/// The instances that are watched, and whoever reads them.
pub(super) struct Look {
    collector: Collector,
    pub(super) watched: BTreeMap<InstanceId, Watched>,
    /// What was seen and nobody has taken yet.
    pub(super) memory_kills: Vec<NewMemoryKills>,
}

impl Look {
    /// Watches nothing yet.
    pub(super) fn new(project: &Project) -> Self {
        let (clock, backends) = (Arc::clone(&project.clock), project.backends.clone());
        Self {
            collector: Collector::new(clock, servers::source, backends),
            watched: BTreeMap::new(),
            memory_kills: Vec::new(),
        }
    }

    /// One sample of each service since the look before, without those values that take longer than a fraction of a
    /// second: the next look is due then.
    pub(super) async fn promptly(&mut self) -> Vec<ServiceSample> {
        let readings = self.collector.read_promptly(&self.targets()).await;
        self.samples(readings)
    }

    /// One sample of each service, with rates: whatever has no reading to go on from is read twice.
    pub(super) async fn with_rates(&mut self) -> Vec<ServiceSample> {
        let mut readings = self.read().await;
        if self.begin_anew(&readings) {
            let mut pause = SHORTEST_INTERVAL;
            if self.collector.wait_for_engine().await {
                let first_items = self.read().await;
                self.begin_anew(&first_items);
                pause = SAMPLE_INTERVAL;
            }
            sleep(pause).await;
            readings = self.read().await;
        }
        self.samples(readings)
    }

    /// Takes the readings that the rates of these instances start from.
    pub(super) async fn begin(&mut self, ids: &[InstanceId]) {
        let targets: Vec<Target> = ids
            .iter()
            .filter_map(|id| Some(self.watched.get(id)?.target.clone()))
            .collect();
        for reading in self.collector.read_promptly(&targets).await {
            if let Some(watched) = self.note(&reading) {
                watched.last = Some(reading.after(watched.last.take()));
            }
        }
    }

    /// The same of those that have none yet.
    pub(super) async fn begin_new(&mut self) {
        let unread = self.watched.iter().filter(|(_, one)| one.last.is_none());
        let unread: Vec<InstanceId> = unread.map(|(id, _)| id.clone()).collect();
        if !unread.is_empty() {
            self.begin(&unread).await;
        }
    }

    async fn read(&mut self) -> Vec<Reading> {
        self.collector.read(&self.targets()).await
    }

    fn targets(&self) -> Vec<Target> {
        let watched = self.watched.values();
        watched.map(|watched| watched.target.clone()).collect()
    }

    /// The instance that was read; its kills are kept for whoever takes them.
    fn note(&mut self, reading: &Reading) -> Option<&mut Watched> {
        let id = InstanceId(reading.instance_id.clone());
        let watched = self.watched.get_mut(&id)?;
        self.memory_kills.extend(watched.new_memory_kills(reading));
        Some(watched)
    }

    /// Rates since the reading before, combined per service.
    fn samples(&mut self, readings: Vec<Reading>) -> Vec<ServiceSample> {
        let mut by_service: BTreeMap<ServiceId, (Timestamp, Vec<InstanceSample>)> = BTreeMap::new();
        for reading in readings {
            let Some(watched) = self.note(&reading) else {
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

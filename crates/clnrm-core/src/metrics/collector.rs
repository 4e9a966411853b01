//! Gathers readings of many instances at once: one look at the processes, one at the sockets, and one question to each
//! service, all services at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clnrm_decide::Absent;
use tokio::task;

use super::asking::Questions;
use super::kernel::{Kernel, Look};
use super::reading::{CollectorId, Reading, ServiceReading};
use super::remote_container::RemoteContainers;
use super::sock_diag::OwnConnections;
use super::source::{OpenSource, READ_TIMEOUT};
use super::target::Target;
use crate::backend::Backends;
use crate::backend::root::{ContainerRoot, Root};
use crate::clock::{Clock, Uptime};
use crate::config::definition::MetricsSpec;
use crate::procfs::boot_id;

/// Reads instances. Network bytes and connections to the services live as long as this value, so keep it.
#[derive(Debug)]
pub struct Collector {
    clock: Arc<dyn Clock>,
    id: CollectorId,
    own: OwnConnections,
    /// `None` before the first reading, and after one that failed or was cancelled.
    kernel: Option<Kernel>,
    remote: RemoteContainers,
    questions: Questions,
}

/// How long a prompt reading waits for the services. Whoever answers later answers for the next reading.
const PROMPT: Duration = Duration::from_millis(250);
/// Longer than any service may take.
const PATIENT: Duration = READ_TIMEOUT.saturating_add(Duration::from_secs(1));

impl Collector {
    /// `open` makes the sources of services. Without backends, containers that cannot be read on this machine are absent.
    /// Does nothing yet.
    pub fn new(clock: Arc<dyn Clock>, open: OpenSource, backends: Backends) -> Self {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let sequence = CREATED.fetch_add(1, Ordering::Relaxed);
        let id = format!(
            "{}-{}-{sequence}",
            clock.now().as_millis(),
            std::process::id()
        );
        let own = OwnConnections::default();
        Self {
            id: CollectorId(id),
            kernel: None,
            remote: RemoteContainers::of(backends),
            questions: Questions::new(Arc::clone(&clock), own.clone(), open),
            own,
            clock,
        }
    }

    /// One reading per target, in the same order. Waits for every service, at most about two seconds.
    pub async fn read(&mut self, targets: &[Target]) -> Vec<Reading> {
        self.read_within(targets, PATIENT).await
    }

    /// As [`Collector::read`], for those who read once a second: a service that takes longer than a quarter of it is
    /// absent for now, and its answer part of a later reading.
    pub async fn read_promptly(&mut self, targets: &[Target]) -> Vec<Reading> {
        self.read_within(targets, PROMPT).await
    }

    async fn read_within(&mut self, targets: &[Target], patience: Duration) -> Vec<Reading> {
        if targets.is_empty() {
            return Vec::new();
        }
        let looks = self.read_kernel(targets).await;
        let looks = self.complete(targets, looks).await;
        let living: Vec<&Target> = targets
            .iter()
            .zip(&looks)
            .filter(|(_, look)| !look.usage.has_ended())
            .map(|(target, _)| target)
            .collect();
        let mut services = self.questions.ask(&living, patience).await;

        let (at, awake_at) = (self.clock.now(), self.clock.awake());
        // Without it there is no reading that another would be compared with.
        let boot_id = boot_id().unwrap_or_default();
        let into_reading = |(target, look): (&Target, Look)| Reading {
            at,
            awake_at,
            boot_id: boot_id.to_owned(),
            instance_id: target.instance_id.clone(),
            root: target.root.clone(),
            collector: self.id.clone(),
            service: services
                .remove(&target.instance_id)
                .unwrap_or_else(|| unread_service(target, look.usage.has_ended(), awake_at)),
            usage: look.usage,
            traffic: look.traffic,
        };
        targets.iter().zip(looks).map(into_reading).collect()
    }

    /// What this machine's kernel shows of each target. Blocks a thread of the blocking pool for a few milliseconds.
    async fn read_kernel(&mut self, targets: &[Target]) -> Vec<Option<Look>> {
        let mut kernel = self
            .kernel
            .take()
            .unwrap_or_else(|| Kernel::new(self.own.clone()));
        let clock = Arc::clone(&self.clock);
        let wanted: Vec<(Root, Vec<u16>)> = targets
            .iter()
            .map(|target| (target.root.clone(), target.ports.clone()))
            .collect();
        let blocking = task::spawn_blocking(move || {
            let looks = kernel.read(&wanted, clock.as_ref());
            (kernel, looks)
        });
        match blocking.await {
            Ok((kernel, looks)) => {
                self.kernel = Some(kernel);
                looks
            }
            Err(error) => {
                let reason = Absent::unreadable("the kernel", &error);
                vec![Some(Look::absent(self.clock.awake(), &reason)); targets.len()]
            }
        }
    }

    /// Adds what the kernel does not show: containers of other machines.
    async fn complete(&mut self, targets: &[Target], looks: Vec<Option<Look>>) -> Vec<Look> {
        let elsewhere =
            targets
                .iter()
                .zip(&looks)
                .filter_map(|(target, look)| match (&target.root, look) {
                    (Root::Container(root), None) => Some(root),
                    _ => None,
                });
        let elsewhere: Vec<&ContainerRoot> = elsewhere.collect();
        let mut remote = self
            .remote
            .read(&elsewhere, self.clock.as_ref())
            .await
            .into_iter();
        let at = self.clock.awake();
        looks
            .into_iter()
            // The kernel leaves out nothing but containers.
            .map(|look| look.or_else(|| remote.next()))
            .map(|look| look.unwrap_or_else(|| Look::absent(at, &Absent::NoInstance)))
            .collect()
    }

    /// Waits, some seconds at most, for the first values of containers whose engine is asked; `false` = there are none
    /// among the targets that were read last.
    pub async fn wait_for_engine(&mut self) -> bool {
        self.remote.wait_for_first_items().await
    }
}

/// The service's part of a reading when nobody was asked.
fn unread_service(target: &Target, has_ended: bool, at: Uptime) -> ServiceReading {
    let reason = match (&target.metrics, target.address) {
        (MetricsSpec::ProcessOnly, _) => return ServiceReading::without_source(at),
        _ if has_ended => Absent::ProcessEnded,
        (_, None) => Absent::NoPort,
        (_, Some(address)) => Absent::Unreadable {
            what: address.to_string(),
            problem: "could not be asked".to_owned(),
        },
    };
    ServiceReading {
        counters: Err(reason),
        ..ServiceReading::without_source(at)
    }
}

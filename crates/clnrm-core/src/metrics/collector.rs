//! Gathers readings of many instances at once: one look at the processes, one at the sockets, and one question to each
//! service, all services at the same time.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use super::absent::Absent;
use super::http_get::Page;
use super::kernel::{Kernel, Look};
use super::nginx::Nginx;
use super::postgres::Postgres;
use super::prometheus::Prometheus;
use super::reading::{CollectorId, Reading, ServiceReading};
use super::redis::Redis;
use super::remote_container::RemoteContainers;
use super::root::{ContainerRoot, Root};
use super::sock_diag::OwnConnections;
use super::{MetricsSource, READ_TIMEOUT};
use crate::clock::{Clock, Timestamp};
use crate::config::definition::MetricsSpec;
use crate::runtime::docker::Engine;

/// An instance that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Names the instance in its readings.
    pub instance_id: String,
    /// Its process tree or its container.
    pub root: Root,
    /// Every port of this machine at which it is reached; of a container, the published ones.
    pub ports: Vec<u16>,
    /// Its main address; `None` = it has no port.
    pub address: Option<SocketAddr>,
    /// What to ask it, with all placeholders filled in.
    pub metrics: MetricsSpec,
}

/// Reads instances. Network bytes and connections to the services live as long as this value, so keep it.
#[derive(Debug)]
pub struct Collector {
    clock: Arc<dyn Clock>,
    id: CollectorId,
    own: OwnConnections,
    /// `None` before the first reading, and after one that failed or was cancelled.
    kernel: Option<Kernel>,
    remote: RemoteContainers,
    /// By instance.
    services: HashMap<String, Service>,
}

/// How long a service that did not answer in time is left alone.
const REST_AFTER_TIMEOUT: Duration = Duration::from_secs(15);

/// A service that can be asked, and what it was made from.
struct Service {
    spec: MetricsSpec,
    address: Option<SocketAddr>,
    source: Box<dyn MetricsSource>,
    /// Set after a time-out: until then it is not asked again, so that it does not slow every sample down.
    rests_until: Option<Instant>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The specification may hold a password.
        f.write_str(self.source.endpoint())
    }
}

impl Collector {
    /// Reads everything but containers of other machines. Does nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::build(clock, None)
    }

    /// Asks this engine about containers that cannot be read on this machine. Does nothing yet.
    pub fn with_engine(clock: Arc<dyn Clock>, engine: Arc<Engine>) -> Self {
        Self::build(clock, Some(engine))
    }

    fn build(clock: Arc<dyn Clock>, engine: Option<Arc<Engine>>) -> Self {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let sequence = CREATED.fetch_add(1, Ordering::Relaxed);
        let id = format!(
            "{}-{}-{sequence}",
            clock.now().as_millis(),
            std::process::id()
        );
        Self {
            clock,
            id: CollectorId(id),
            own: OwnConnections::default(),
            kernel: None,
            remote: RemoteContainers::of(engine),
            services: HashMap::new(),
        }
    }

    /// One reading per target, in the same order. Takes at most about two seconds, however slow the services are.
    pub async fn read(&mut self, targets: &[Target]) -> Vec<Reading> {
        let looks = self.read_kernel(targets).await;
        let looks = self.complete(targets, looks).await;
        let living: Vec<&Target> = targets
            .iter()
            .zip(&looks)
            .filter(|(_, look)| !look.usage.has_ended())
            .map(|(target, _)| target)
            .collect();
        let mut services = self.read_services(&living).await;

        let at = self.clock.now();
        let into_reading = |(target, look): (&Target, Look)| Reading {
            at,
            instance_id: target.instance_id.clone(),
            root: target.root.clone(),
            collector: self.id.clone(),
            service: services
                .remove(&target.instance_id)
                .unwrap_or_else(|| unread_service(target, look.usage.has_ended(), at)),
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
                vec![Some(Look::absent(self.clock.now(), &reason)); targets.len()]
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
        let at = self.clock.now();
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

    /// Asks all services at the same time.
    async fn read_services(&mut self, targets: &[&Target]) -> HashMap<String, ServiceReading> {
        let wanted: HashSet<&str> = targets
            .iter()
            .map(|target| target.instance_id.as_str())
            .collect();
        self.services.retain(|id, _| wanted.contains(id.as_str()));
        let mut reading = JoinSet::new();
        for target in targets {
            let address = target.address;
            let known = self
                .services
                .remove(&target.instance_id)
                .filter(|known| known.spec == target.metrics && known.address == address);
            let Some(mut service) =
                known.or_else(|| Service::new(&target.metrics, address, &self.own))
            else {
                continue;
            };
            let instance_id = target.instance_id.clone();
            let clock = Arc::clone(&self.clock);
            reading.spawn(async move {
                let result = service.read(clock.as_ref()).await;
                (instance_id, service, result)
            });
        }
        let mut results = HashMap::new();
        while let Some(joined) = reading.join_next().await {
            // A task that panicked has no result: its service reads as not asked, and is set up anew next time.
            if let Ok((instance_id, service, result)) = joined {
                self.services.insert(instance_id.clone(), service);
                results.insert(instance_id, result);
            }
        }
        results
    }
}

/// The service's part of a reading when nobody was asked.
fn unread_service(target: &Target, has_ended: bool, at: Timestamp) -> ServiceReading {
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

/// Whether the specification says where to ask, so that it matters not whether the service has a port.
fn has_own_address(spec: &MetricsSpec) -> bool {
    match spec {
        MetricsSpec::Nginx { path } => path.contains("://"),
        MetricsSpec::Prometheus(spec) => spec.endpoint.contains("://"),
        MetricsSpec::ProcessOnly | MetricsSpec::Redis { .. } | MetricsSpec::Postgres { .. } => {
            false
        }
    }
}

impl Service {
    /// `None` when there is nothing to ask.
    fn new(spec: &MetricsSpec, address: Option<SocketAddr>, own: &OwnConnections) -> Option<Self> {
        let host_and_port = match address {
            Some(address) => address.to_string(),
            None if has_own_address(spec) => String::new(),
            None => return None,
        };
        let page = |path: &str| Page::new(path, &host_and_port, own.clone());
        let source: Box<dyn MetricsSource> = match spec {
            MetricsSpec::ProcessOnly => return None,
            MetricsSpec::Redis { username, password } => Box::new(Redis::new(
                host_and_port,
                username.as_ref(),
                password.as_ref(),
                own.clone(),
            )),
            MetricsSpec::Nginx { path } => Box::new(Nginx::new(page(path))),
            MetricsSpec::Postgres {
                user,
                password,
                database,
            } => Box::new(Postgres::new(
                host_and_port,
                user,
                password.as_ref(),
                database,
                own.clone(),
            )),
            MetricsSpec::Prometheus(spec) => Box::new(Prometheus::new(page(&spec.endpoint), spec)),
        };
        Some(Self {
            spec: spec.clone(),
            address,
            source,
            rests_until: None,
        })
    }

    fn timed_out(&self) -> Absent {
        Absent::Unreadable {
            what: self.source.endpoint().to_owned(),
            problem: format!("timed out after {} s", READ_TIMEOUT.as_secs()),
        }
    }

    async fn read(&mut self, clock: &dyn Clock) -> ServiceReading {
        let counters = if self.rests_until.is_some_and(|until| Instant::now() < until) {
            Err(self.timed_out())
        } else {
            let answer = tokio::time::timeout(READ_TIMEOUT, self.source.read()).await;
            self.rests_until = answer.is_err().then(|| Instant::now() + REST_AFTER_TIMEOUT);
            answer.unwrap_or_else(|_| Err(self.timed_out()))
        };
        ServiceReading {
            at: clock.now(),
            source: Some(self.source.source()),
            counters,
        }
    }
}

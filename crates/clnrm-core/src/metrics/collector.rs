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

use super::absent::{Absent, Measured};
use super::http_get::Page;
use super::nginx::Nginx;
use super::postgres::Postgres;
use super::procfs::ProcessTrees;
use super::prometheus::Prometheus;
use super::reading::{CollectorId, ProcessUsage, Reading, ServiceReading, SocketUsage};
use super::redis::Redis;
use super::root::Root;
use super::sock_diag::{OwnConnections, SocketStatistics};
use super::{MetricsSource, READ_TIMEOUT};
use crate::clock::{Clock, Timestamp};
use crate::config::definition::MetricsSpec;
use crate::procfs::ProcessIdentity;

/// An instance that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Names the instance in its readings.
    pub instance_id: String,
    /// Its process tree or its container.
    pub root: Root,
    /// Every port that it listens on.
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
    /// By instance.
    services: HashMap<String, Service>,
}

/// What is read from the kernel, in one go for all instances.
#[derive(Debug)]
struct Kernel {
    processes: ProcessTrees,
    sockets: Option<SocketStatistics>,
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
    /// Does nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
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
            services: HashMap::new(),
        }
    }

    /// One reading per target, in the same order. Takes at most about two seconds, however slow the services are.
    pub async fn read(&mut self, targets: &[Target]) -> Vec<Reading> {
        let kernel_readings = self.read_kernel(targets).await;
        let living: Vec<&Target> = targets
            .iter()
            .zip(&kernel_readings)
            .filter(|(_, (process, _))| process != &Err(Absent::ProcessEnded))
            .map(|(target, _)| target)
            .collect();
        let mut services = self.read_services(&living).await;

        let at = self.clock.now();
        let into_reading = |(target, (process, sockets)): (&Target, _)| Reading {
            at,
            instance_id: target.instance_id.clone(),
            root: target.root.clone(),
            collector: self.id.clone(),
            service: services
                .remove(&target.instance_id)
                .unwrap_or_else(|| unread_service(target, &process, at)),
            process,
            sockets,
        };
        targets
            .iter()
            .zip(kernel_readings)
            .map(into_reading)
            .collect()
    }

    /// Process and socket usage per target. Blocks a thread of the blocking pool for a few milliseconds.
    async fn read_kernel(
        &mut self,
        targets: &[Target],
    ) -> Vec<(Measured<ProcessUsage>, SocketUsage)> {
        let mut kernel = self.kernel.take().unwrap_or_else(|| Kernel {
            processes: ProcessTrees::default(),
            sockets: None,
        });
        let opened = match kernel.sockets.take() {
            Some(sockets) => Ok(sockets),
            None => SocketStatistics::open(self.own.clone())
                .map_err(|error| Absent::unreadable("sock_diag", &error)),
        };
        let clock = Arc::clone(&self.clock);
        let wanted: Vec<(Root, Vec<u16>)> = targets
            .iter()
            .map(|target| (target.root.clone(), target.ports.clone()))
            .collect();
        let blocking = task::spawn_blocking(move || {
            let readings = kernel.read(opened, &wanted, clock.as_ref());
            (kernel, readings)
        });
        match blocking.await {
            Ok((kernel, readings)) => {
                self.kernel = Some(kernel);
                readings
            }
            Err(error) => {
                let reason = Absent::unreadable("the kernel", &error);
                let sockets = SocketUsage {
                    at: self.clock.now(),
                    connections: Err(reason.clone()),
                    network: Err(reason.clone()),
                };
                vec![(Err(reason), sockets); targets.len()]
            }
        }
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
fn unread_service(
    target: &Target,
    process: &Measured<ProcessUsage>,
    at: Timestamp,
) -> ServiceReading {
    let reason = match (process, &target.metrics, target.address) {
        (_, MetricsSpec::ProcessOnly, _) => return ServiceReading::without_source(at),
        (Err(reason), _, _) => reason.clone(),
        (_, _, None) => Absent::NoPort,
        (_, _, Some(address)) => Absent::Unreadable {
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

impl Kernel {
    /// Usage per target, in the same order.
    fn read_processes(
        &mut self,
        wanted: &[(Root, Vec<u16>)],
        clock: &dyn Clock,
    ) -> Vec<Measured<ProcessUsage>> {
        let trees: Vec<&ProcessIdentity> = wanted
            .iter()
            .filter_map(|(root, _)| match root {
                Root::ProcessTree(shim) => Some(shim),
                Root::Container(_) => None,
            })
            .collect();
        let mut of_trees = self.processes.read(&trees, clock).into_iter();
        let usage = |(root, _): &(Root, _)| match root {
            Root::ProcessTree(_) => of_trees.next().unwrap_or(Err(Absent::NoInstance)),
            Root::Container(container) => Err(Absent::Unreadable {
                what: format!("container {}", container.container_id),
                problem: "cannot be measured yet".to_owned(),
            }),
        };
        wanted.iter().map(usage).collect()
    }

    fn read(
        &mut self,
        sockets: Measured<SocketStatistics>,
        wanted: &[(Root, Vec<u16>)],
        clock: &dyn Clock,
    ) -> Vec<(Measured<ProcessUsage>, SocketUsage)> {
        let ports: Vec<&[u16]> = wanted.iter().map(|(_, ports)| ports.as_slice()).collect();
        let processes = self.read_processes(wanted, clock);

        let at = clock.now();
        let usage = sockets.and_then(|mut sockets| {
            let usage = sockets
                .read(&ports)
                .map_err(|error| Absent::unreadable("sock_diag", &error))?;
            // Kept only while it works.
            self.sockets = Some(sockets);
            Ok(usage)
        });
        let socket_usage = |(index, ports): (usize, &&[u16])| {
            let usage = match &usage {
                _ if ports.is_empty() => Err(Absent::NoPort),
                Ok(usage) => usage.get(index).ok_or(Absent::NoPort),
                Err(reason) => Err(reason.clone()),
            };
            SocketUsage {
                at,
                connections: usage.clone().map(|usage| usage.connections),
                network: usage.and_then(|usage| usage.network.clone()),
            }
        };
        let sockets: Vec<SocketUsage> = ports.iter().enumerate().map(socket_usage).collect();
        // What a process that has ended listened on may be another's by now.
        let of_the_living = |(process, sockets): (Measured<ProcessUsage>, SocketUsage)| {
            let ended = process == Err(Absent::ProcessEnded);
            let sockets = if ended {
                SocketUsage {
                    at,
                    connections: Err(Absent::ProcessEnded),
                    network: Err(Absent::ProcessEnded),
                }
            } else {
                sockets
            };
            (process, sockets)
        };
        processes
            .into_iter()
            .zip(sockets)
            .map(of_the_living)
            .collect()
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

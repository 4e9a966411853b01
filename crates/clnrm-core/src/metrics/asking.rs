//! Asks services for their own numbers, each in its own time: who is slow delays nothing but its own values.
//!
//! An answer that comes too late for one reading belongs to the next; it says itself when it came. Endpoints that
//! several instances name by one full URL are asked once.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clnrm_decide::Absent;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::reading::ServiceReading;
use super::sock_diag::OwnConnections;
use super::source::{MetricsSource, OpenSource, READ_TIMEOUT};
use super::target::Target;
use crate::clock::{Clock, Uptime};
use crate::config::definition::{MetricsSpec, ServerSpec};

/// How long a service that did not answer in time is left alone.
const REST_AFTER_TIMEOUT: Duration = Duration::from_secs(15);

/// What clnrm knows of a service that nobody has asked for so long, goes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// The questions to all services, and what came of them.
#[derive(Debug)]
pub(super) struct Questions {
    clock: Arc<dyn Clock>,
    own: OwnConnections,
    open_source: OpenSource,
    idle: HashMap<Key, Service>,
    running: JoinSet<Answered>,
    /// By the task that waits for the answer.
    open: HashMap<Id, Open>,
    /// Answers that no reading has had yet.
    answers: HashMap<Key, ServiceReading>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// One instance at its own address.
    Instance(String),
    /// Whatever stands at a full URL, for all that ask the same of it.
    Shared(ServerSpec),
}

/// A question without an answer so far.
#[derive(Debug)]
struct Open {
    key: Key,
    endpoint: String,
}

type Answered = (Key, Service, ServiceReading);

/// A service that can be asked, and what it was made from.
struct Service {
    spec: ServerSpec,
    address: Option<SocketAddr>,
    source: Box<dyn MetricsSource>,
    /// Set after a time-out: until then it is not asked again.
    rests_until: Option<Instant>,
    asked_at: Instant,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The specification may hold a password.
        f.write_str(self.source.endpoint())
    }
}

impl Questions {
    pub(super) fn new(clock: Arc<dyn Clock>, own: OwnConnections, open_source: OpenSource) -> Self {
        Self {
            clock,
            own,
            open_source,
            idle: HashMap::new(),
            running: JoinSet::new(),
            open: HashMap::new(),
            answers: HashMap::new(),
        }
    }

    /// The answers of all that can be asked, by instance. Takes no longer than `patience`; where that is shorter than
    /// the services' own limit, who was slow before is not waited for at all.
    pub(super) async fn ask(
        &mut self,
        targets: &[&Target],
        patience: Duration,
    ) -> HashMap<String, ServiceReading> {
        while let Some(joined) = self.running.try_join_next_with_id() {
            self.book(joined);
        }
        let wanted: HashMap<Key, &Target> = (targets.iter())
            .map(|target| (Key::of(target), *target))
            .collect();
        self.forget_the_forgotten();
        let was_open: HashSet<Key> = self.open.values().map(|open| open.key.clone()).collect();
        for (key, target) in wanted {
            if !was_open.contains(&key) {
                self.start(key, target);
            }
        }
        let waits_for = |open: &Open| patience >= READ_TIMEOUT || !was_open.contains(&open.key);
        let deadline = Instant::now() + patience;
        while self.open.values().any(waits_for)
            && let Ok(Some(joined)) = timeout_at(deadline, self.running.join_next_with_id()).await
        {
            self.book(joined);
        }
        self.hand_out(targets)
    }

    /// A reading may be of some instances only: the others are kept for a while.
    fn forget_the_forgotten(&mut self) {
        self.idle
            .retain(|_, service| service.asked_at.elapsed() < FORGOTTEN_AFTER);
        self.answers.retain(|key, _| self.idle.contains_key(key));
    }

    /// `None` when there is nothing to ask.
    fn new_service(&self, spec: &ServerSpec, address: Option<SocketAddr>) -> Option<Service> {
        let clock = Arc::clone(&self.clock);
        Some(Service {
            spec: spec.clone(),
            address,
            source: (self.open_source)(spec, address, self.own.clone(), clock)?,
            rests_until: None,
            asked_at: Instant::now(),
        })
    }

    fn start(&mut self, key: Key, target: &Target) {
        let MetricsSpec::Server(spec) = &target.metrics else {
            return;
        };
        let address = target.address;
        let known = (self.idle.remove(&key))
            .filter(|known| known.spec == *spec && known.address == address);
        let Some(mut service) = known.or_else(|| self.new_service(spec, address)) else {
            return;
        };
        let open = Open {
            key: key.clone(),
            endpoint: service.source.endpoint().to_owned(),
        };
        service.asked_at = Instant::now();
        let clock = Arc::clone(&self.clock);
        let task = self.running.spawn(async move {
            let reading = service.read(clock.as_ref()).await;
            (key, service, reading)
        });
        self.open.insert(task.id(), open);
    }

    fn book(&mut self, joined: Result<(Id, Answered), JoinError>) {
        match joined {
            Ok((id, (key, service, reading))) => {
                self.open.remove(&id);
                self.idle.insert(key.clone(), service);
                self.answers.insert(key, reading);
            }
            // A task that panicked has no answer: its service reads as not asked, and is set up anew next time.
            Err(error) => {
                self.open.remove(&error.id());
            }
        }
    }

    fn hand_out(&mut self, targets: &[&Target]) -> HashMap<String, ServiceReading> {
        let at = self.clock.awake();
        let mut handed_out = HashMap::new();
        for target in targets {
            if let Some(mut reading) = self.newest(&Key::of(target), at) {
                reading.shared = shared(&target.metrics)
                    .and_then(ServerSpec::shared_url)
                    .map(str::to_owned);
                handed_out.insert(target.instance_id.clone(), reading);
            }
        }
        for target in targets {
            self.answers.remove(&Key::of(target));
        }
        handed_out
    }

    fn newest(&self, key: &Key, at: Uptime) -> Option<ServiceReading> {
        if let Some(answer) = self.answers.get(key) {
            return Some(answer.clone());
        }
        let open = self.open.values().find(|open| open.key == *key)?;
        let what = open.endpoint.clone();
        Some(ServiceReading {
            counters: Err(Absent::NotAnsweredYet { what }),
            ..ServiceReading::without_source(at)
        })
    }
}

impl Key {
    fn of(target: &Target) -> Self {
        match shared(&target.metrics) {
            Some(server) => Self::Shared(server.clone()),
            None => Self::Instance(target.instance_id.clone()),
        }
    }
}

/// A server that several instances name by one full URL.
fn shared(spec: &MetricsSpec) -> Option<&ServerSpec> {
    match spec {
        MetricsSpec::Server(server) => server.shared_url().map(|_| server),
        MetricsSpec::ProcessOnly => None,
    }
}

impl Service {
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
            let answer = timeout(READ_TIMEOUT, self.source.read()).await;
            self.rests_until = answer.is_err().then(|| Instant::now() + REST_AFTER_TIMEOUT);
            answer.unwrap_or_else(|_| Err(self.timed_out()))
        };
        ServiceReading {
            at: clock.awake(),
            source: Some(self.source.source()),
            shared: None,
            counters,
        }
    }
}

//! The services of one test: started in the order of their dependencies, in parallel where they can.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::event::EventKind;
use super::neighbourhood::Neighbourhood;
use super::result::ServiceFailure;
use super::run_state::RunState;
use crate::backend::{NetworkNames, OnPull};
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::Where;
use crate::exit::Fatal as _;
use crate::lifecycle::{LiveInstance, StartCause, StartFailure, StartPlan};
use crate::text::one_line;

/// Which test wants its services, and how.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) test: usize,
    pub(super) name: String,
    /// Nothing that another test has used.
    pub(super) fresh_only: bool,
}

/// What became of the services of a test.
#[derive(Debug, Default)]
pub(super) struct ServiceSet {
    /// Ready, in the order in which they became so.
    pub(super) ready: Vec<LiveInstance>,
    /// Those that failed by themselves; what was only given up because of them is not listed.
    pub(super) failures: Vec<ServiceFailure>,
    /// Those that were not ready when somebody ended the wait.
    pub(super) given_up: Vec<ServiceFailure>,
}

/// Starts them all, or gives up with the first failure (what is ready then stays for the caller to stop).
pub(super) async fn start_all(
    shared: &Arc<RunState>,
    wish: &Wish,
    services: &[ServiceDefinition],
    cancel: &CancellationToken,
) -> ServiceSet {
    let test = wish.test;
    let mut waiting: Vec<&ServiceDefinition> = services.iter().collect();
    let mut set = ServiceSet::default();
    let mut bindings: BTreeMap<String, Where> = BTreeMap::new();
    let mut starting = JoinSet::new();
    let neighbourhood = Neighbourhood::of(services, shared.project.random_number());
    loop {
        if !cancel.is_cancelled() {
            let (startable, blocked): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|service| {
                service
                    .depends_on
                    .iter()
                    .all(|name| bindings.contains_key(name))
            });
            waiting = blocked;
            for service in startable {
                shared.events.tell(EventKind::ServiceStarting {
                    test,
                    service: service.name.clone(),
                });
                starting.spawn(get_one(
                    Arc::clone(shared),
                    wish.clone(),
                    service.clone(),
                    Surroundings {
                        names: neighbourhood.names_of(&service.name, &bindings),
                        neighbours: bindings.clone(),
                    },
                    cancel.clone(),
                ));
            }
        }
        match starting.join_next().await {
            None => {
                // The wait may end in the moment between one that is ready and the next.
                if set.given_up.is_empty() {
                    set.given_up.extend(waiting.into_iter().map(not_begun));
                }
                return set;
            }
            Some(Ok(Ok(instance))) => {
                for warning in &instance.running.warnings {
                    let service = &instance.definition.name;
                    shared
                        .events
                        .warn(format!("service `{service}`: {warning}"));
                }
                shared.events.tell(ready_event(test, &instance));
                bindings.insert(instance.definition.name.clone(), instance.reached.clone());
                set.ready.push(instance);
            }
            Some(Ok(Err(failure))) => {
                let described = describe(&failure);
                if failure.cause.is_cancellation() {
                    set.given_up.push(described);
                } else {
                    shared.events.tell(EventKind::ServiceFailed {
                        test,
                        failure: described.clone(),
                    });
                    set.failures.push(described);
                }
                cancel.cancel();
            }
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

fn ready_event(test: usize, instance: &LiveInstance) -> EventKind {
    let service = instance.definition.name.clone();
    let took = instance.acquired.waited;
    if instance.is_job() {
        return EventKind::JobDone {
            test,
            service,
            took,
        };
    }
    EventKind::ServiceReady {
        test,
        service,
        took,
        address: instance.reached.address(),
    }
}

/// What a service that starts knows of others.
struct Surroundings {
    /// Those that are ready.
    neighbours: BTreeMap<String, Where>,
    /// How containers find each other.
    names: NetworkNames,
}

/// A warm instance where there is one, else a cold start.
async fn get_one(
    shared: Arc<RunState>,
    wish: Wish,
    definition: ServiceDefinition,
    surroundings: Surroundings,
    cancel: CancellationToken,
) -> Result<LiveInstance, StartFailure> {
    if !wish.fresh_only {
        let warm = shared.lease_warm(&definition, &wish.name, &cancel).await;
        match warm {
            Ok(Some(instance)) => {
                shared.refill(&definition);
                return Ok(instance);
            }
            Ok(None) => {}
            // Without its pool a test still has its cold start.
            Err(error) => shared.warn(&error),
        }
    }
    let test = wish.test;
    let service = shared.service_id(&definition);
    let plan = StartPlan {
        service,
        definition: &definition,
        run: Some(shared.run),
        neighbours: &surroundings.neighbours,
        names: surroundings.names,
        preferred: None,
        cancel,
        on_pull: OnPull::new({
            let (events, service) = (Arc::clone(&shared.events), definition.name.clone());
            move |progress| {
                events.tell(EventKind::ImagePulling {
                    test,
                    service: service.clone(),
                    image: progress.image,
                    downloaded_bytes: progress.downloaded_bytes,
                });
            }
        }),
    };
    let started = shared.project.start_fresh(&plan).await;
    // Only now: until it is ready nobody can tell its start from one that is for the pool.
    shared.refill(&definition);
    started
}

fn not_begun(service: &ServiceDefinition) -> ServiceFailure {
    ServiceFailure {
        service: service.name.clone(),
        instance_id: None,
        message: "its start had not begun".to_owned(),
        hint: None,
        log_tail: Vec::new(),
        log_file: None,
    }
}

/// A failed start as reports show it.
pub(super) fn describe(failure: &StartFailure) -> ServiceFailure {
    let cause = &failure.cause;
    ServiceFailure {
        service: failure.service.clone(),
        instance_id: failure.instance.as_ref().map(|id| id.0.clone()),
        message: match cause {
            StartCause::NotReady(source) => source.to_string(),
            StartCause::Spawn(source) => one_line(source),
            StartCause::Job(source) => source.to_string(),
            other => one_line(other),
        },
        hint: failure.hint(),
        log_tail: failure.log_tail.clone(),
        log_file: failure.log_file.clone(),
    }
}

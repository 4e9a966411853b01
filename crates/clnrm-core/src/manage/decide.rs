//! What the history says of every service, spread over the cores.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::decided::{Decided, Decider, Undecided, finished};
use super::error::ManageError;
use super::evidence;
use super::options::ManageOptions;
use crate::clock::Timestamp;
use crate::lifecycle::project::Project;
use crate::lifecycle::recover::Conditions;
use crate::services::service_manager::{Requested, ServiceManager};
use crate::store::{InstanceRow, ServiceId, ServiceRow, StoreError, StoreHandle};

/// For so many services, a connection and a thread of their own save more than opening it costs.
const WORTH_A_READER: usize = 25;

/// Decide: service by service, so that memory does not grow with the length of their histories.
pub(super) async fn decide(
    project: &Arc<Project>,
    services: Vec<ServiceRow>,
    options: &ManageOptions,
    conditions: Conditions,
    now: Timestamp,
) -> Result<Vec<Decided>, ManageError> {
    // The samples that were just taken carry sources newer than those of `services`.
    let (instances, leases, mut sources) = project
        .store
        .call(|store| {
            Ok((
                store.live_instances()?,
                store.open_leases()?,
                store.sources()?,
            ))
        })
        .await?;
    let mut live: BTreeMap<ServiceId, Vec<InstanceRow>> = BTreeMap::new();
    for instance in instances {
        live.entry(instance.start.service)
            .or_default()
            .push(instance);
    }
    let undecided: Vec<Undecided> = services
        .into_iter()
        .map(|row| Undecided {
            live: live.remove(&row.id).unwrap_or_default(),
            sources: sources.remove(&row.id),
            row,
        })
        .collect();
    let decider = Decider {
        leases: Arc::new(leases),
        manager: ServiceManager {
            requested: Requested {
                horizon: options.horizon,
                predict_load: options.predict_load,
                auto_scale: options.auto_scale,
                optimize_resources: options.optimize_resources,
            },
            now,
        },
        cost: options.cost.clone(),
        conditions: Arc::new(conditions),
    };
    Ok(decider.decide_all(&project.store, undecided).await?)
}

impl Decider {
    /// Spreads the services over the cores; the answers keep their order.
    async fn decide_all(
        self,
        store: &StoreHandle,
        services: Vec<Undecided>,
    ) -> Result<Vec<Decided>, StoreError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let readers = (services.len() / WORTH_A_READER).clamp(1, cores);
        let queue = Arc::new(Mutex::new(services.into_iter().enumerate()));
        let mut others = Vec::with_capacity(readers);
        for _ in 1..readers {
            let (decider, queue) = (self.clone(), Arc::clone(&queue));
            let another = store.another().await?;
            others.push(tokio::spawn(async move {
                decider.work_off(&another, queue).await
            }));
        }
        let mut decided = self.work_off(store, queue).await?;
        for other in others {
            decided.extend(finished(other.await)?);
        }
        decided.sort_unstable_by_key(|(place, _)| *place);
        Ok(decided.into_iter().map(|(_, decided)| decided).collect())
    }

    /// Takes services one by one, so that a core that is busy with something else takes fewer.
    async fn work_off(
        self,
        store: &StoreHandle,
        queue: Arc<Queue>,
    ) -> Result<Vec<(usize, Decided)>, StoreError> {
        let next = move || {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.next()
        };
        store
            .call(move |store| {
                std::iter::from_fn(next)
                    .map(|(place, service)| {
                        Ok((place, evidence::decide_one(store, service, &self)?))
                    })
                    .collect()
            })
            .await
    }
}

/// Services that nobody has taken yet, each with its place.
type Queue = Mutex<std::iter::Enumerate<std::vec::IntoIter<Undecided>>>;

//! What the history says of one service, put together for a decision.

use std::time::Duration;

use super::decided::{Decided, Decider, Undecided};
use crate::backend::Condition;
use crate::clock::Timestamp;
use crate::config::definition::ServiceDefinition;
use crate::config::project::CostRates;
use crate::lifecycle::pool_size::LOOK_BACK;
use crate::lifecycle::recover::Conditions;
use crate::services::service_manager::pool::usual_start_time;
use crate::services::service_manager::{
    Allotment, Fleet, HealthLimits, InstanceCap, InstanceStart, LimitedMemory, ManagedService,
    MemoryKills, MetricsHistory, PastAction, PoolDemand, PoolReport, PoolUsage, ResourcePool,
    WarmPool,
};
use crate::store::{
    ActionRow, InstanceId, InstanceRow, InstanceState, LeaseRow, ServiceRow, Store, StoreError,
};

/// Kills for lack of memory that are older say nothing about now.
const KILLS_LOOK_BACK: Duration = Duration::from_secs(5 * 60);

/// Reads what is known of a service and decides about it.
pub(super) fn decide_one(
    store: &Store,
    service: Undecided,
    decider: &Decider,
) -> Result<Decided, StoreError> {
    let Undecided { row, live, sources } = service;
    let manager = &decider.manager;
    let instances = count(live.len());
    let history = store.history(row.id, |raw| manager.wanted(raw, instances))?;
    let actions = store.actions(row.id, LOOK_BACK)?;
    let start_time = usual_start_time(store.start_durations(row.id, LOOK_BACK)?);
    let instances_by_use = by_use(&row, &live, &decider.leases);
    let demand = match manager.requested.optimize_resources {
        true => PoolDemand::of(&store.lease_spans(row.id, LOOK_BACK)?, start_time),
        false => PoolDemand::of(&[], start_time),
    };
    let warm = match manager.requested.optimize_resources && row.definition.pool.is_wanted() {
        true => Some(warm_pool(
            store,
            &row,
            &demand,
            instances_by_use.available,
            &history,
        )?),
        false => None,
    };
    let pool = PoolReport {
        instances: instances_by_use,
        demand,
        warm,
    };
    let impaired = impaired(&live, &decider.conditions);
    let newest = live.iter().map(|instance| instance.start.created_at).max();
    let fixed_port = row.definition.fixed_ports.first();
    let assessment = manager.assess(&ManagedService {
        name: &row.name,
        history: &history,
        scale: &row.definition.scale,
        limits: limits(&row.definition),
        allotment: allotment(&row.definition, &live, &decider.cost),
        fleet: Fleet {
            instances,
            leased: pool.instances.in_use,
            newest_start: newest.map(|started_at| InstanceStart {
                started_at,
                start_time,
            }),
            instance_cap: fixed_port.map(|port| InstanceCap::FixedPort { port: *port }),
            past_actions: actions.iter().map(past_action).collect(),
            not_serving: count(impaired.len()),
        },
        memory: limited_memory(store, &row, manager.now)?,
        pool: Some(pool),
    });
    Ok(Decided {
        decision: None,
        last_action: actions.first().map(|action| action.id),
        row,
        live,
        assessment,
        sources,
        impaired,
    })
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn past_action(action: &ActionRow) -> PastAction {
    PastAction {
        at: action.at,
        from: action.from_instances,
        to: action.to_instances,
        memory_before_mb: action.memory_mb_before,
    }
}

/// How the service's instances are used now.
fn by_use(row: &ServiceRow, live: &[InstanceRow], leases: &[LeaseRow]) -> ResourcePool {
    let leased = leases.iter().filter(|lease| lease.service == row.id);
    let is_clean = |instance: &&InstanceRow| {
        instance.state == InstanceState::Running && instance.warm_until.is_some()
    };
    let is_warm = row.definition.pool.is_wanted();
    let clean = is_warm.then(|| count(live.iter().filter(is_clean).count()));
    ResourcePool::of(count(live.len()), count(leased.count()), clean)
}

/// What the service's pool should hold, and what it has been worth.
fn warm_pool(
    store: &Store,
    row: &ServiceRow,
    demand: &PoolDemand,
    available: u32,
    history: &MetricsHistory,
) -> Result<WarmPool, StoreError> {
    let used = store.pool_use(row.id, LOOK_BACK)?;
    let usage = PoolUsage {
        leases: used.leases,
        warm: used.warm,
        waits: used.waits,
        waited: used.waited,
        start_time: demand.start_time,
        memory_mb: history.latest().and_then(|sample| sample.memory_mb),
    };
    Ok(WarmPool {
        size: row.definition.pool.wanted(demand.advised_size()),
        worth: usage.worth(available),
    })
}

fn limits(definition: &ServiceDefinition) -> HealthLimits {
    let default = HealthLimits::default();
    HealthLimits {
        memory_limit_mb: definition
            .memory_bytes
            .map_or(default.memory_limit_mb, megabytes),
        response_target_ms: definition.response_target_ms,
    }
}

/// What the file of a container states is enforced; of a process it is only what numbers are relative to.
fn limited_memory(
    store: &Store,
    service: &ServiceRow,
    now: Timestamp,
) -> Result<LimitedMemory, StoreError> {
    let definition = &service.definition;
    if definition.launch.image().is_none() {
        return Ok(LimitedMemory::default());
    }
    let kills = store.memory_kills(service.id, now - KILLS_LOOK_BACK)?;
    Ok(LimitedMemory {
        limit_mb: definition.memory_bytes.map(megabytes),
        kills: kills.map(|count| MemoryKills {
            kills: count.kills,
            within: now.since(count.from),
        }),
    })
}

fn impaired(live: &[InstanceRow], conditions: &Conditions) -> Vec<(InstanceId, Condition)> {
    let ids = live.iter().map(|instance| &instance.start.id);
    ids.filter_map(|id| Some((id.clone(), *conditions.get(id)?)))
        .collect()
}

fn allotment(definition: &ServiceDefinition, live: &[InstanceRow], cost: &CostRates) -> Allotment {
    let allowed = live.iter().filter_map(|instance| instance.cpus);
    Allotment {
        cpus: allowed.reduce(f64::min).or(definition.cpus),
        memory_mb: definition.memory_bytes.map(megabytes),
        cpu_hour: cost.cpu_hour,
        gb_hour: cost.gb_hour,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of memory are far below 2^53"
)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

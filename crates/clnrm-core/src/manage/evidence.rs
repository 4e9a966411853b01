//! What the history says of one service, put together for a decision.

use std::time::Duration;

use super::decide::{Decided, Decider, Undecided};
use crate::clock::Timestamp;
use crate::config::definition::{Launch, ServiceDefinition};
use crate::config::project::CostRates;
use crate::lifecycle::pool_size::{LOOK_BACK, arrivals_per_second, concurrency, median};
use crate::lifecycle::recover::Conditions;
use crate::services::service_manager::{
    Allotment, Fleet, HealthLimits, InstanceCap, InstanceStart, LimitedMemory, MemoryKills,
    PastAction, PoolCounts, PoolDemand, PoolUsage, PoolWorth, ServiceView, assess, wanted,
};
use crate::store::{InstanceRow, InstanceState, ServiceRow, Store, StoreError};

/// Kills for lack of memory that are older say nothing about now.
const KILLS_LOOK_BACK: Duration = Duration::from_secs(5 * 60);

/// What a service's pool is to hold, and what it was worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolDetails {
    pub(super) size: u32,
    pub(super) worth: PoolWorth,
}

/// Reads what is known of a service and decides about it.
pub(super) fn decide_one(
    store: &Store,
    service: Undecided,
    decider: &Decider,
) -> Result<Decided, StoreError> {
    let Undecided { row, live, sources } = service;
    let requested = &decider.requested;
    let instances = u32::try_from(live.len()).unwrap_or(u32::MAX);
    let history = store.history(row.id, |raw| wanted(raw, requested, instances))?;
    let actions = store.actions(row.id, LOOK_BACK)?;
    let past_actions: Vec<PastAction> = actions
        .iter()
        .map(|action| PastAction {
            at: action.at,
            from: action.from_instances,
            to: action.to_instances,
            memory_before_mb: action.memory_mb_before,
        })
        .collect();
    let start_time = median(store.start_durations(row.id, LOOK_BACK)?);
    let spans = if requested.optimize_resources {
        store.lease_spans(row.id, LOOK_BACK)?
    } else {
        Vec::new()
    };
    let concurrent = concurrency(&spans);
    let leased = decider
        .leases
        .iter()
        .filter(|lease| lease.service == row.id)
        .count();
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let is_pooled = row.definition.pool.is_wanted();
    let available = if is_pooled {
        let free = |instance: &&InstanceRow| {
            instance.state == InstanceState::Running && instance.warm_until.is_some()
        };
        live.iter().filter(free).count()
    } else {
        live.len().saturating_sub(leased)
    };
    let counts = PoolCounts {
        available: count(available),
        in_use: count(leased.min(live.len())),
    };
    let demand = PoolDemand {
        concurrent_leases: &concurrent,
        arrivals_per_second: arrivals_per_second(&spans),
        start_time,
    };
    let newest = live.iter().map(|instance| instance.start.created_at).max();
    let mut view = ServiceView {
        name: &row.name,
        history: &history,
        scale: &row.definition.scale,
        limits: limits(&row.definition),
        allotment: allotment(&row.definition, &live, &decider.cost),
        fleet: Fleet {
            instances,
            leased: counts.in_use,
            newest_start: newest.map(|started_at| InstanceStart {
                started_at,
                start_time,
            }),
            instance_cap: row
                .definition
                .fixed_ports
                .first()
                .map(|port| InstanceCap::FixedPort { port: *port }),
            past_actions: &past_actions,
            not_serving: 0,
        },
        memory: limited_memory(store, &row, decider.now)?,
        pool: Some((counts, demand)),
    };
    let impaired = impaired(&live, &decider.conditions);
    view.fleet.not_serving = count(impaired.len());
    let assessment = assess(&view, requested, decider.now);
    let pool_basis = demand
        .advised_size()
        .map(|_| pool_basis(&concurrent, &demand));
    let pool_details = if is_pooled && requested.optimize_resources {
        let used = store.pool_use(row.id, LOOK_BACK)?;
        let usage = PoolUsage {
            leases: used.leases,
            warm: used.warm,
            waits: used.waits,
            waited: used.waited,
            start_time,
            memory_mb: history.latest().and_then(|sample| sample.memory_mb),
        };
        Some(PoolDetails {
            size: row.definition.pool.wanted(demand.advised_size()),
            worth: usage.worth(counts.available),
        })
    } else {
        None
    };
    let last_action = actions.first().map(|action| action.id);
    Ok(Decided {
        row,
        live,
        assessment,
        pool_basis,
        pool_details,
        last_action,
        sources,
        impaired,
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
    if matches!(definition.launch, Launch::Process(_)) {
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

fn impaired(live: &[InstanceRow], conditions: &Conditions) -> Vec<String> {
    let sentence = |instance: &InstanceRow| {
        let id = &instance.start.id;
        Some(format!("{id} is {}", conditions.get(id)?))
    };
    live.iter().filter_map(sentence).collect()
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

fn pool_basis(concurrent: &[u32], demand: &PoolDemand<'_>) -> String {
    let arrivals = demand.arrivals_per_second.unwrap_or_default();
    let start = demand.start_time.unwrap_or_default();
    let leased = demand.usually_leased().unwrap_or_default();
    format!(
        "95th percentile of concurrent leases, resets included: {leased} of {} leases; plus {arrivals:.3} leases/s × {} ms start time = {:.2}, rounded up",
        concurrent.len(),
        start.as_millis(),
        leased + demand.arriving().unwrap_or_default()
    )
}

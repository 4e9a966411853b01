//! A container's statistics as the engine streams them, one item a second.
//!
//! The stream is opened once and kept: asked for a single item, Docker 20.10 waits for two of its ticks each time. No
//! field is taken for granted, as Podman leaves some out; the engine's own CPU percentages are not used, because the
//! two disagree on what they are relative to.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::{InspectContainerOptions, StatsOptionsBuilder};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::container::exit_of;
use super::engine::Engine;
use super::error::EngineError;
use super::moment;
use super::state_words::understood;
use crate::clock::Timestamp;

/// One item. `None` = the engine does not say.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EngineStats {
    /// When the engine looked, by its clock.
    pub read_at: Option<Timestamp>,
    /// When the item came; `None` = it has not come over a stream.
    pub arrived: Option<Instant>,
    /// CPU time used so far.
    pub cpu_seconds: Option<f64>,
    /// Memory in use, with the file cache.
    pub memory_bytes: Option<u64>,
    /// What that is made of.
    pub memory_parts: Option<MemoryParts>,
    /// Bytes received and sent over all networks so far.
    pub network_bytes: Option<u64>,
}

/// What the memory of a control group is made of, by its `memory.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryParts {
    /// Memory of processes, shared memory, tmpfs and what is locked, for which there is no other place.
    pub own_bytes: u64,
    /// Contents of files and caches of the kernel that can be made again: it drops them before it lets a process wait or
    /// die for lack of memory, whether they were used lately ("active") or not. `None` = version 1, which does not tell
    /// what of the kernel's own memory is of that kind (16 MB for a file of 600 MB).
    pub droppable_bytes: Option<u64>,
}

impl MemoryParts {
    /// Of the lines of a `memory.stat`, of either version.
    pub fn of(field: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let sum = |names: [&str; 3]| names.iter().map(|name| field(name)).sum::<Option<u64>>();
        // Version 1 has the group's own values, and by these names those with the groups below.
        let with_groups_below = [
            "total_active_anon",
            "total_inactive_anon",
            "total_unevictable",
        ];
        if let Some(own_bytes) = sum(with_groups_below) {
            return Some(Self {
                own_bytes,
                droppable_bytes: None,
            });
        }
        Some(Self {
            own_bytes: sum(["active_anon", "inactive_anon", "unevictable"])?,
            droppable_bytes: Some(sum(["active_file", "inactive_file", "slab_reclaimable"])?),
        })
    }

    /// How much of so much memory in use cannot be dropped. The two were not read at the same moment.
    pub fn kept_of(self, usage_bytes: u64) -> u64 {
        let without = |droppable| usage_bytes.saturating_sub(droppable);
        let kept = self.droppable_bytes.map_or(0, without);
        kept.max(self.own_bytes)
    }
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq)]
pub enum StatsStream {
    /// Nothing has come yet.
    Waiting,
    /// The newest item.
    Newest(EngineStats),
    /// The container does not run any more.
    Ended,
    /// The stream is broken, and the container may still run.
    Broken(EngineError),
}

/// Follows a container's statistics until nobody holds the receiver any more.
pub fn follow_stats(engine: Arc<Engine>, container_id: String) -> watch::Receiver<StatsStream> {
    let (sender, receiver) = watch::channel(StatsStream::Waiting);
    tokio::spawn(async move {
        tokio::select! {
            last = follow(&engine, &container_id, &sender) => {
                sender.send_replace(last);
            }
            () = sender.closed() => {}
        }
    });
    receiver
}

/// What the stream ended with.
async fn follow(
    engine: &Engine,
    container_id: &str,
    sender: &watch::Sender<StatsStream>,
) -> StatsStream {
    let client = match engine.connected().await {
        Ok(connected) => connected.client.clone(),
        Err(error) => return StatsStream::Broken(error),
    };
    let options = StatsOptionsBuilder::default().stream(true).build();
    let mut items = pin!(client.stats(container_id, Some(options)));
    while let Some(Ok(item)) = items.next().await {
        if !is_running(&item) {
            return StatsStream::Ended;
        }
        sender.send_replace(StatsStream::Newest(EngineStats {
            arrived: Some(Instant::now()),
            ..plain(&item)
        }));
    }
    why_it_ended(engine, container_id).await
}

/// A stream ends with its container or with its engine.
async fn why_it_ended(engine: &Engine, container_id: &str) -> StatsStream {
    let inspect = |client: Docker| async move {
        let found = client.inspect_container(container_id, None::<InspectContainerOptions>);
        understood(found.await)
    };
    match engine.ask("inspect a container", inspect).await {
        Ok(container) if exit_of(&container, false).is_none() => {
            StatsStream::Broken(EngineError::Unreachable {
                address: engine.address().unwrap_or_default().to_owned(),
                message: "it closed the stream of statistics".to_owned(),
            })
        }
        Ok(_) => StatsStream::Ended,
        Err(error) if error.is_not_found() => StatsStream::Ended,
        Err(error) => StatsStream::Broken(error),
    }
}

/// Docker sends items of the year 1 for a container that does not run.
fn is_running(item: &ContainerStatsResponse) -> bool {
    item.read
        .as_ref()
        .is_none_or(|moment| !moment.starts_with("0001-"))
}

fn plain(item: &ContainerStatsResponse) -> EngineStats {
    let cpu = item.cpu_stats.as_ref();
    let memory = item.memory_stats.as_ref();
    let memory_detail = memory.and_then(|memory| memory.stats.as_ref());
    EngineStats {
        read_at: item.read.as_deref().and_then(moment::timestamp),
        arrived: None,
        cpu_seconds: cpu
            .and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage)
            .map(|nanoseconds| Duration::from_nanos(nanoseconds).as_secs_f64()),
        memory_bytes: memory.and_then(|memory| memory.usage),
        memory_parts: MemoryParts::of(|name| memory_detail?.get(name).copied()),
        network_bytes: item.networks.as_ref().map(|networks| {
            networks
                .values()
                .flat_map(|network| [network.rx_bytes, network.tx_bytes])
                .flatten()
                .fold(0, u64::saturating_add)
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(item: serde_json::Value) -> ContainerStatsResponse {
        serde_json::from_value(item).unwrap()
    }

    #[test]
    fn an_item_of_docker_is_read_whole() {
        let item = read(json!({
            "read": "2026-11-23T12:41:06.256397123Z",
            "cpu_stats": { "cpu_usage": { "total_usage": 2_500_000_000_u64 }, "system_cpu_usage": 1 },
            "memory_stats": { "usage": 900, "stats": {
                "active_anon": 5, "inactive_anon": 1, "unevictable": 0, "active_file": 3, "inactive_file": 7,
                "total_active_anon": 50, "total_inactive_anon": 10, "total_unevictable": 1
            } },
            "networks": { "eth0": { "rx_bytes": 40, "tx_bytes": 2 }, "eth1": { "rx_bytes": 100, "tx_bytes": 0 } }
        }));
        assert!(is_running(&item));
        let expected = EngineStats {
            read_at: Some(Timestamp::from_millis(1_795_437_666_256)),
            arrived: None,
            cpu_seconds: Some(2.5),
            memory_bytes: Some(900),
            memory_parts: Some(MemoryParts {
                own_bytes: 61,
                droppable_bytes: None,
            }),
            network_bytes: Some(142),
        };
        assert_eq!(plain(&item), expected);
    }

    #[test]
    fn what_podman_leaves_out_is_absent() {
        let item = read(json!({
            "read": "2026-11-23T14:41:06.256397123+02:00",
            "cpu_stats": { "cpu_usage": { "total_usage": 1_000_000_000 } },
            "memory_stats": { "usage": 900 },
            "networks": { "network": { "rx_bytes": 40, "tx_bytes": 2 } }
        }));
        let expected = EngineStats {
            read_at: Some(Timestamp::from_millis(1_795_437_666_256)),
            arrived: None,
            cpu_seconds: Some(1.0),
            memory_bytes: Some(900),
            memory_parts: None,
            network_bytes: Some(42),
        };
        assert_eq!(plain(&item), expected);
        assert_eq!(plain(&read(json!({}))), EngineStats::default());
    }

    #[test]
    fn an_item_of_the_year_1_is_of_a_container_that_does_not_run() {
        let item = json!({ "read": "0001-01-01T00:00:00Z", "cpu_stats": {} });
        assert!(!is_running(&read(item)));
    }
}

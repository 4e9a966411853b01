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
use crate::backend::stats::{EngineStats, MemoryParts, StatsStream};

/// Follows a container's statistics until nobody holds the receiver any more.
pub(super) fn follow_stats(
    engine: Arc<Engine>,
    container_id: String,
) -> watch::Receiver<StatsStream> {
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
        Err(error) => return StatsStream::Broken(error.into()),
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
            let closed = EngineError::Unreachable {
                address: engine.address().unwrap_or_default().to_owned(),
                message: "it closed the stream of statistics".to_owned(),
            };
            StatsStream::Broken(closed.into())
        }
        Ok(_) => StatsStream::Ended,
        Err(error) if error.is_not_found() => StatsStream::Ended,
        Err(error) => StatsStream::Broken(error.into()),
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
    use crate::clock::Timestamp;

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

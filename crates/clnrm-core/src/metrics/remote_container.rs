//! Containers that cannot be read on this machine, by the statistics that their engine streams.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::absent::Absent;
use super::cgroup::without_cache;
use super::kernel::Look;
use super::reading::{NetworkCounter, ResourceUsage, Source, Traffic};
use super::root::ContainerRoot;
use crate::clock::{Clock, Timestamp};
use crate::runtime::docker::{Engine, EngineStats, StatsStream, follow_stats};

/// A reading that comes just before the engine's tick waits for it, so that it does not see the former item again. An
/// engine ticks once a second.
const FRESH_ITEM_PATIENCE: Duration = Duration::from_millis(500);
/// Docker 20.10 sends the first item after one to two seconds.
const FIRST_ITEM_PATIENCE: Duration = Duration::from_secs(3);

/// Streams of an engine's statistics, each opened at the first reading and kept.
#[derive(Debug, Default)]
pub(super) struct RemoteContainers {
    engine: Option<Arc<Engine>>,
    streams: HashMap<ContainerRoot, Stream>,
}

#[derive(Debug)]
struct Stream {
    receiver: watch::Receiver<StatsStream>,
    /// What was handed out last.
    seen: Option<EngineStats>,
}

impl RemoteContainers {
    pub(super) fn of(engine: Option<Arc<Engine>>) -> Self {
        Self {
            engine,
            streams: HashMap::new(),
        }
    }

    /// One look per container, in the same order.
    pub(super) async fn read(&mut self, roots: &[&ContainerRoot], clock: &dyn Clock) -> Vec<Look> {
        // A reading of some does not close the streams of the others: they would need seconds to begin anew.
        self.streams
            .retain(|root, stream| roots.contains(&root) || stream.receiver.has_changed().is_ok());
        let Some(engine) = self.engine.clone() else {
            let problem = "cannot be read on this machine, and no engine is known".to_owned();
            let what = "the container".to_owned();
            let reason = Absent::Unreadable { what, problem };
            return vec![absent(clock.now(), &reason); roots.len()];
        };
        let deadline = Instant::now() + FRESH_ITEM_PATIENCE;
        let mut looks = Vec::with_capacity(roots.len());
        for root in roots {
            let stream = self
                .streams
                .entry((*root).clone())
                .or_insert_with(|| Stream {
                    receiver: follow_stats(Arc::clone(&engine), root.container_id.clone()),
                    seen: None,
                });
            let state = stream.newest(deadline).await;
            if matches!(state, StatsStream::Broken(_)) {
                // The next reading tries again.
                self.streams.remove(*root);
            }
            looks.push(look(&state, clock.now()));
        }
        looks
    }

    /// Waits until each stream has sent something; at once where there is none, which is `false`.
    pub(super) async fn wait_for_first_items(&mut self) -> bool {
        let deadline = Instant::now() + FIRST_ITEM_PATIENCE;
        for stream in self.streams.values_mut() {
            let arrived = stream
                .receiver
                .wait_for(|state| *state != StatsStream::Waiting);
            // What has not come by then is absent, and says why.
            let _ = timeout_at(deadline, arrived).await;
        }
        !self.streams.is_empty()
    }
}

impl Stream {
    /// The newest state: not the item that was handed out before, unless no other comes in time.
    async fn newest(&mut self, deadline: Instant) -> StatsStream {
        if let Some(seen) = self.seen {
            let fresh = self
                .receiver
                .wait_for(|state| *state != StatsStream::Newest(seen));
            let _ = timeout_at(deadline, fresh).await;
        }
        let state = self.receiver.borrow_and_update().clone();
        if let StatsStream::Newest(stats) = state {
            self.seen = Some(stats);
        }
        state
    }
}

fn look(state: &StatsStream, now: Timestamp) -> Look {
    let stats = match state {
        StatsStream::Newest(stats) => stats,
        StatsStream::Waiting => return absent(now, &Absent::NoStatisticsYet),
        StatsStream::Ended => return absent(now, &Absent::ProcessEnded),
        StatsStream::Broken(error) => {
            return absent(now, &Absent::unreadable("the engine's statistics:", error));
        }
    };
    let source = Source::EngineStats;
    let not_exposed = Absent::NotExposed {
        source_name: source,
    };
    let at = stats.read_at.unwrap_or(now);
    // Without its own time an item cannot make a rate: when it came says little of when it was read.
    let timed = stats.read_at.ok_or_else(|| not_exposed.clone());
    let memory = stats.memory_bytes.ok_or_else(|| not_exposed.clone());
    Look {
        usage: ResourceUsage {
            at,
            source,
            cpu_seconds: timed
                .clone()
                .and(stats.cpu_seconds.ok_or_else(|| not_exposed.clone())),
            memory_bytes: memory
                .map(|usage| without_cache(usage, stats.cache_bytes.unwrap_or_default())),
        },
        traffic: Traffic {
            at,
            source,
            connections: Err(not_exposed.clone()),
            network: timed
                .and(stats.network_bytes.ok_or(not_exposed))
                .map(NetworkCounter::since_start),
        },
    }
}

fn absent(at: Timestamp, reason: &Absent) -> Look {
    Look {
        usage: ResourceUsage::absent(at, Source::EngineStats, reason),
        traffic: Traffic::absent(at, Source::EngineStats, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(9_000);

    #[test]
    fn each_missing_field_is_absent_alone() {
        let stats = EngineStats {
            read_at: Some(Timestamp::from_millis(8_000)),
            cpu_seconds: Some(2.5),
            memory_bytes: Some(100),
            ..EngineStats::default()
        };
        let not_exposed = Absent::NotExposed {
            source_name: Source::EngineStats,
        };
        let whole = look(&StatsStream::Newest(stats), NOW);
        assert_eq!(whole.usage.at, Timestamp::from_millis(8_000));
        assert_eq!(whole.usage.cpu_seconds, Ok(2.5));
        assert_eq!(whole.usage.memory_bytes, Ok(100));
        assert_eq!(whole.traffic.network, Err(not_exposed.clone()));

        let untimed = EngineStats {
            read_at: None,
            network_bytes: Some(5),
            ..stats
        };
        let untimed = look(&StatsStream::Newest(untimed), NOW);
        assert_eq!(untimed.usage.cpu_seconds, Err(not_exposed.clone()));
        assert_eq!(untimed.traffic.network, Err(not_exposed));
        assert_eq!(untimed.usage.memory_bytes, Ok(100));
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_is_not_handed_out_twice_if_another_comes_in_time() {
        let item = |seconds: f64| {
            StatsStream::Newest(EngineStats {
                cpu_seconds: Some(seconds),
                ..EngineStats::default()
            })
        };
        let (sender, receiver) = watch::channel(StatsStream::Waiting);
        let mut stream = Stream {
            receiver,
            seen: None,
        };
        let soon = || Instant::now() + FRESH_ITEM_PATIENCE;
        let waiting = Instant::now();
        assert_eq!(stream.newest(soon()).await, StatsStream::Waiting);
        assert_eq!(Instant::now(), waiting, "the first item is not waited for");
        sender.send_replace(item(1.0));
        assert_eq!(stream.newest(soon()).await, item(1.0));
        let later = async {
            tokio::time::sleep(FRESH_ITEM_PATIENCE / 2).await;
            sender.send_replace(item(2.0));
        };
        let (newest, ()) = tokio::join!(stream.newest(soon()), later);
        assert_eq!(newest, item(2.0));
        assert_eq!(stream.newest(soon()).await, item(2.0), "nothing else came");
        sender.send_replace(StatsStream::Ended);
        drop(sender);
        assert_eq!(stream.newest(soon()).await, StatsStream::Ended);
    }
}

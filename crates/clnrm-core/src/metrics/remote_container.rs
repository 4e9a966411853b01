//! Containers that cannot be read on this machine, by the statistics that their engine streams.

use std::collections::HashMap;
use std::time::Duration;

use clnrm_decide::{Absent, Source};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::kernel::Look;
use super::reading::{NetworkCounter, ResourceUsage, Traffic};
use crate::backend::Backends;
use crate::backend::root::ContainerRoot;
use crate::backend::stats::{EngineStats, StatsStream};
use crate::clock::{Clock, Timestamp, Uptime};

/// A reading that comes just before the engine's tick waits for it, so that it does not see the former item again. An
/// engine ticks once a second.
const FRESH_ITEM_PATIENCE: Duration = Duration::from_millis(500);
/// Items take less than this from the engine to us; where the two clocks differ by more, somebody has set the engine's.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);
/// Docker 20.10 sends the first item after one to two seconds.
const FIRST_ITEM_PATIENCE: Duration = Duration::from_secs(3);

/// Streams of an engine's statistics, each opened at the first reading and kept.
#[derive(Debug, Default)]
pub(super) struct RemoteContainers {
    backends: Backends,
    streams: HashMap<ContainerRoot, Stream>,
}

#[derive(Debug)]
struct Stream {
    receiver: watch::Receiver<StatsStream>,
    /// What was handed out last.
    seen: Option<EngineStats>,
    /// When the engine read what was handed out last, by its clock and by ours.
    read_at: Option<(Timestamp, Uptime)>,
}

impl RemoteContainers {
    pub(super) fn of(backends: Backends) -> Self {
        Self {
            backends,
            streams: HashMap::new(),
        }
    }

    /// One look per container, in the same order.
    pub(super) async fn read(&mut self, roots: &[&ContainerRoot], clock: &dyn Clock) -> Vec<Look> {
        // A reading of some does not close the streams of the others: they would need seconds to begin anew.
        self.streams
            .retain(|root, stream| roots.contains(&root) || stream.receiver.has_changed().is_ok());
        let deadline = Instant::now() + FRESH_ITEM_PATIENCE;
        let mut looks = Vec::with_capacity(roots.len());
        for root in roots {
            if !self.streams.contains_key(*root)
                && let Some(receiver) = self.backends.follow_stats(&root.container_id)
            {
                let stream = Stream {
                    receiver,
                    seen: None,
                    read_at: None,
                };
                self.streams.insert((*root).clone(), stream);
            }
            let Some(stream) = self.streams.get_mut(*root) else {
                let problem = "cannot be read on this machine, and no engine is known".to_owned();
                let what = "the container".to_owned();
                let reason = Absent::Unreadable { what, problem };
                looks.push(absent(clock.awake(), &reason));
                continue;
            };
            let state = stream.newest(deadline).await;
            let at = stream.moment(&state, clock.awake());
            if matches!(state, StatsStream::Broken(_)) {
                // The next reading tries again.
                self.streams.remove(*root);
            }
            looks.push(look(&state, at));
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

    /// When the newest item was read, by our clock. The engine's clock says best how far two items are apart, as long as
    /// ours agrees that nobody has set it in between.
    fn moment(&mut self, state: &StatsStream, now: Uptime) -> Uptime {
        let StatsStream::Newest(stats) = state else {
            return now;
        };
        let Some(read_at) = stats.read_at else {
            return now;
        };
        let arrived = now - stats.arrived.map(|at| at.elapsed()).unwrap_or_default();
        let at = match self.read_at {
            Some((before, at)) if read_at == before => at,
            Some((before, at)) => {
                let by_the_engine = at + read_at.since(before);
                if by_the_engine.distance(arrived) < CLOCK_TOLERANCE {
                    by_the_engine
                } else {
                    arrived
                }
            }
            None => arrived,
        };
        self.read_at = Some((read_at, at));
        at
    }
}

fn look(state: &StatsStream, at: Uptime) -> Look {
    let stats = match state {
        StatsStream::Newest(stats) => stats,
        StatsStream::Waiting => return absent(at, &Absent::NoStatisticsYet),
        StatsStream::Ended => return absent(at, &Absent::ProcessEnded),
        StatsStream::Broken(error) => {
            return absent(at, &Absent::unreadable("the engine's statistics:", error));
        }
    };
    let not_exposed = Absent::NotExposed {
        source_name: Source::EngineStats,
    };
    // Without its own time an item cannot make a rate: when it came says little of when it was read.
    let timed = stats.read_at.ok_or_else(|| not_exposed.clone());
    let memory = stats.memory_bytes.ok_or_else(|| not_exposed.clone());
    Look {
        usage: ResourceUsage {
            at,
            source: Source::EngineStats,
            cpu_seconds: timed
                .clone()
                .and(stats.cpu_seconds.ok_or_else(|| not_exposed.clone())),
            memory_bytes: memory.map(|usage| {
                stats
                    .memory_parts
                    .map_or(usage, |parts| parts.kept_of(usage))
            }),
            memory_source: Source::EngineStats,
            memory_kills: None,
        },
        traffic: Traffic {
            at,
            source: Source::EngineStats,
            connections: Err(not_exposed.clone()),
            network: timed
                .and(stats.network_bytes.ok_or(not_exposed))
                .map(NetworkCounter::since_start),
        },
    }
}

fn absent(at: Uptime, reason: &Absent) -> Look {
    Look {
        usage: ResourceUsage::absent(at, Source::EngineStats, reason),
        traffic: Traffic::absent(at, Source::EngineStats, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Uptime = Uptime::from_micros(9_000_000);

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
        assert_eq!(whole.usage.at, NOW);
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
    async fn an_engine_whose_clock_is_set_still_makes_true_intervals() {
        let (_sender, receiver) = watch::channel(StatsStream::Waiting);
        let mut stream = Stream {
            receiver,
            seen: None,
            read_at: None,
        };
        let mut moment = |engine_millis: i64, now_millis: u64| {
            let stats = EngineStats {
                read_at: Some(Timestamp::from_millis(engine_millis)),
                arrived: Some(Instant::now()),
                ..EngineStats::default()
            };
            let now = Uptime::from_micros(now_millis * 1_000);
            stream.moment(&StatsStream::Newest(stats), now)
        };
        let millis = |millis: u64| Uptime::from_micros(millis * 1_000);
        assert_eq!(moment(5_000, 100_000), millis(100_000));
        // It came 80 ms late; the engine knows when it was read.
        assert_eq!(moment(6_000, 101_080), millis(101_000));
        assert_eq!(
            moment(6_000, 101_500),
            millis(101_000),
            "the same item again"
        );
        // An hour ahead, then back again.
        assert_eq!(moment(3_607_000, 102_010), millis(102_010));
        assert_eq!(moment(3_608_000, 103_050), millis(103_010));
        assert_eq!(moment(9_000, 104_020), millis(104_020));
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
            read_at: None,
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

//! Whether a step failed because a container ran out of memory under it: the kernel then kills one of its processes, and
//! whoever waits for that hears of a closed connection or of exit code 137, not why.

use super::cause::MemoryKill;
use crate::lifecycle::LiveInstance;
use crate::metrics::memory_kills;

/// The containers of a test on this machine, and how many of their processes were killed so far.
pub(super) struct MemoryWatch<'a> {
    watched: Vec<(&'a LiveInstance, u64)>,
}

impl<'a> MemoryWatch<'a> {
    pub(super) fn of(services: &'a [LiveInstance]) -> Self {
        let watched = services.iter();
        Self {
            watched: watched
                .filter_map(|instance| Some((instance, counted(instance)?)))
                .collect(),
        }
    }

    /// Each container of which processes were killed since the last call.
    pub(super) fn kills(&mut self) -> Vec<MemoryKill> {
        let mut found = Vec::new();
        for (instance, before) in &mut self.watched {
            // A container that has ended tells by itself how.
            let now = counted(instance).unwrap_or(*before);
            let kills = now.saturating_sub(*before);
            *before = now;
            if kills > 0 {
                found.push(MemoryKill {
                    service: instance.definition.name.clone(),
                    memory_bytes: instance.definition.memory_bytes,
                    processes: kills,
                });
            }
        }
        found
    }
}

fn counted(instance: &LiveInstance) -> Option<u64> {
    let container = instance.running.container.as_ref()?;
    memory_kills(&container.id, instance.running.main_pid?)
}

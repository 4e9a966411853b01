//! Whether a step failed because a container ran out of memory under it: the kernel then kills one of its processes, and
//! whoever waits for that hears of a closed connection or of exit code 137, not why.

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

    /// One sentence for each container of which processes were killed since the last call.
    pub(super) fn kills(&mut self) -> Vec<String> {
        let mut sentences = Vec::new();
        for (instance, before) in &mut self.watched {
            // A container that has ended tells by itself how.
            let now = counted(instance).unwrap_or(*before);
            let kills = now.saturating_sub(*before);
            *before = now;
            if kills > 0 {
                sentences.push(sentence(instance, kills));
            }
        }
        sentences
    }
}

fn counted(instance: &LiveInstance) -> Option<u64> {
    let container = instance.running.container.as_ref()?;
    memory_kills(&container.id, instance.running.main_pid?)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
fn sentence(instance: &LiveInstance, kills: u64) -> String {
    let definition = &instance.definition;
    let ran_out = match definition.memory_bytes {
        Some(bytes) => format!(
            "the container of `{}` ran out of its {:.0} MB",
            definition.name,
            bytes as f64 / 1e6
        ),
        None => format!(
            "the machine ran out of memory for the container of `{}`",
            definition.name
        ),
    };
    let killed = match kills {
        1 => "1 process of it was".to_owned(),
        many => format!("{many} processes of it were"),
    };
    format!("{ran_out} meanwhile: {killed} killed")
}

//! What is read of an instance, and what was read of it last.

use std::net::SocketAddr;
use std::time::Duration;

use crate::backend::root::Root;
use crate::clock::Timestamp;
use crate::config::definition::{MetricsSpec, PAGE, ServiceDefinition};
use crate::config::placeholder::{PlaceholderError, Where, render};
use crate::lifecycle::live::LiveInstance;
use crate::lifecycle::project::{Project, root};
use crate::metrics::{Reading, Target};
use crate::procfs::boot_id;
use crate::store::{InstanceId, InstanceRow, NewMemoryKills, ServiceId, ServiceRow};

/// A rate goes on from the last reading of another command only if that is no older: it is to say what is now.
const YOUNG_ENOUGH: Duration = Duration::from_secs(5);

/// An instance to be read.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) service: ServiceId,
    /// CPU that 100 % means, in cores: what its engine allows, else what its file says.
    pub(super) cpus: f64,
    pub(super) target: Target,
    /// The reading before the next one.
    pub(super) last: Option<Reading>,
    /// Kills for lack of memory that are on record, or happened before anybody looked.
    memory_kills_seen: Option<MemoryKillsSeen>,
}

/// How many processes of an instance had been killed for lack of memory at some time.
#[derive(Debug, Clone, Copy)]
struct MemoryKillsSeen {
    at: Timestamp,
    kills: u64,
}

impl Watched {
    /// One that this command uses.
    pub(super) fn of_live(
        instance: &LiveInstance,
        project: &Project,
    ) -> Result<Self, PlaceholderError> {
        let definition = &instance.definition;
        let (id, root) = (&instance.id, instance.running.root.clone());
        Ok(Self {
            service: instance.service,
            cpus: cpus(instance.running.cpus, definition),
            target: target(project, definition, id, root, &instance.reached)?,
            last: None,
            memory_kills_seen: None,
        })
    }

    /// One of the history, with the last reading of any command; `None` = there is nothing to read it by.
    pub(super) fn of_row(
        row: &InstanceRow,
        service: &ServiceRow,
        stored: Option<Reading>,
        project: &Project,
    ) -> Result<Option<Self>, PlaceholderError> {
        let Some(root) = root(row) else {
            return Ok(None);
        };
        let definition = &service.definition;
        Ok(Some(Self {
            service: service.id,
            cpus: cpus(row.cpus, definition),
            target: target(project, definition, &row.start.id, root, &row.start.reached)?,
            memory_kills_seen: stored.as_ref().and_then(MemoryKillsSeen::of),
            last: stored.filter(|reading| is_young(reading, project)),
        }))
    }

    /// What was killed since anybody counted, however long ago that was.
    pub(super) fn new_memory_kills(&mut self, reading: &Reading) -> Option<NewMemoryKills> {
        let now = MemoryKillsSeen::of(reading)?;
        let before = self.memory_kills_seen.replace(now)?;
        // A smaller number is of a container that was started again.
        let kills = now.kills.checked_sub(before.kills)?;
        (kills > 0).then(|| NewMemoryKills {
            service: self.service,
            instance: InstanceId(reading.instance_id.clone()),
            from: before.at,
            at: now.at,
            kills,
        })
    }
}

impl MemoryKillsSeen {
    /// `None` = nobody counts them.
    fn of(reading: &Reading) -> Option<Self> {
        let kills = reading.usage.memory_kills?;
        Some(Self {
            at: reading.at,
            kills,
        })
    }
}

fn is_young(reading: &Reading, project: &Project) -> bool {
    let now = project.clock.awake();
    boot_id().is_ok_and(|boot_id| boot_id == reading.boot_id)
        && reading.awake_at <= now
        && now.since(reading.awake_at) <= YOUNG_ENOUGH
}

fn cpus(allowed: Option<f64>, definition: &ServiceDefinition) -> f64 {
    allowed.unwrap_or_else(|| definition.cpus_or_default())
}

fn target(
    project: &Project,
    definition: &ServiceDefinition,
    id: &InstanceId,
    root: Root,
    reached: &Where,
) -> Result<Target, PlaceholderError> {
    let mut metrics = definition.metrics.clone();
    if let MetricsSpec::Server(server) = &mut metrics
        && let Some(page) = server.settings.get_mut(PAGE)
    {
        *page = render(page, &project.own_bindings(&definition.name, reached))?;
    }
    let address = |port| Some(SocketAddr::new(reached.host.parse().ok()?, port));
    Ok(Target {
        instance_id: id.0.clone(),
        root,
        ports: reached.ports().collect(),
        address: reached.port.and_then(address),
        metrics,
    })
}

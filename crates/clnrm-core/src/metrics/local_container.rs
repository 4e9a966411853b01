//! Containers of an engine on this machine, read without asking it: it would need one to two seconds for an answer.

use std::collections::HashMap;

use clnrm_decide::{Absent, Source};

use super::cgroup::Cgroup;
use super::network_namespace::NetworkNamespace;
use super::reading::{NetworkCounter, ResourceUsage, Traffic};
use crate::backend::root::ContainerRoot;
use crate::clock::Clock;
use crate::procfs::ProcessIdentity;

/// Where each container is read: decided at the first look at it, and kept.
#[derive(Debug, Default)]
pub(super) struct LocalContainers {
    /// `None` = not on this machine, or not readable here.
    known: HashMap<ContainerRoot, Option<LocalContainer>>,
}

/// A container whose processes this machine's kernel shows.
#[derive(Debug)]
pub(super) struct LocalContainer {
    main_process: ProcessIdentity,
    cgroup: Cgroup,
    /// `None` = it shares this machine's.
    network: Option<NetworkNamespace>,
}

impl LocalContainers {
    /// Forgets all others.
    pub(super) fn keep(&mut self, wanted: &[&ContainerRoot]) {
        self.known.retain(|root, _| wanted.contains(&root));
    }

    /// `None` = not on this machine, or not readable here.
    pub(super) fn get(&mut self, root: &ContainerRoot) -> Option<&mut LocalContainer> {
        self.known
            .entry(root.clone())
            .or_insert_with(|| LocalContainer::find(root))
            .as_mut()
    }
}

impl LocalContainer {
    fn find(root: &ContainerRoot) -> Option<Self> {
        // Before its group is looked at, so that a later process of the same number is not taken for it.
        let main_process = ProcessIdentity::of(root.main_pid?).ok()??;
        Some(Self {
            cgroup: Cgroup::of_container(&root.container_id, main_process.pid)?,
            network: NetworkNamespace::of_process(main_process.pid),
            main_process,
        })
    }

    /// Its usage, and its traffic unless it shares this machine's network. `own_connections` are those that clnrm
    /// holds to its ports.
    pub(super) fn read(
        &mut self,
        own_connections: u64,
        clock: &dyn Clock,
    ) -> (ResourceUsage, Option<Traffic>) {
        let at = clock.awake();
        let usage = ResourceUsage {
            at,
            source: Source::Cgroup,
            cpu_seconds: self.cgroup.cpu_seconds(),
            memory_bytes: self.cgroup.memory_bytes(),
            memory_source: Source::Cgroup,
            memory_kills: self.cgroup.memory_kills().ok(),
        };
        let traffic = self.network.as_mut().map(|network| Traffic {
            at: clock.awake(),
            source: Source::NetworkNamespace,
            // Ours reach the container one to one, whether the engine relays them or the kernel redirects them.
            connections: network
                .connections()
                .map(|all| all.saturating_sub(own_connections)),
            network: network.bytes().map(NetworkCounter::since_start),
        });
        // Only now is it certain that all of this was still the container's.
        if self.main_process.is_alive() {
            return (usage, traffic);
        }
        let ended = Absent::ProcessEnded;
        (
            ResourceUsage::absent(at, Source::Cgroup, &ended),
            self.network
                .as_ref()
                .map(|_| Traffic::absent(at, Source::NetworkNamespace, &ended)),
        )
    }
}

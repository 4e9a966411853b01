//! CPU and memory of whole process trees: one look at the process table for all instances.
//!
//! CPU of a tree = what its living processes used, what they collected from children that they waited for, and what
//! the root (the shim, which adopts and reaps orphans) collected; so no ended child is lost. The root's own use is
//! clnrm's, not the service's, and is left out. Memory is resident memory, as `ps` shows it; of several processes see
//! `shared_memory`.

use std::collections::HashMap;
use std::io;

use clnrm_decide::{Absent, Measured, Source};

use super::reading::ResourceUsage;
use super::shared_memory::{Resident, SharedMemory};
use crate::clock::Clock;
use crate::procfs::{
    ProcessIdentity, ProcessStat, ProcessTable, proportional_bytes, resident_bytes,
};

/// Looks at one tree until two successive looks agree. Only a tree that reaps children within microseconds needs more.
const MAX_LOOKS: usize = 4;

/// Reads process trees, and remembers what each had used so that CPU time never runs backwards.
#[derive(Debug, Default)]
pub(crate) struct ProcessTrees {
    progress: HashMap<ProcessIdentity, Progress>,
    shared: SharedMemory,
}

impl ProcessTrees {
    /// One value per root, in the same order.
    pub(crate) fn read(
        &mut self,
        roots: &[&ProcessIdentity],
        clock: &dyn Clock,
    ) -> Vec<ResourceUsage> {
        self.progress.retain(|root, _| roots.contains(&root));
        self.shared.retain(roots);
        if roots.is_empty() {
            return Vec::new();
        }
        let table = ProcessTable::scan().map_err(|error| Absent::unreadable("/proc", &error));
        let usage = |root: &&ProcessIdentity| {
            let at = clock.awake();
            match self.read_tree(root, &table) {
                Ok(tree) => {
                    let (memory_bytes, memory_source) =
                        self.shared
                            .bytes(root, &tree.resident, clock, proportional_bytes);
                    ResourceUsage {
                        at,
                        source: Source::Procfs,
                        cpu_seconds: Ok(seconds(tree.cpu_ticks)),
                        memory_bytes,
                        memory_source,
                        memory_kills: None,
                    }
                }
                Err(reason) => ResourceUsage::absent(at, Source::Procfs, &reason),
            }
        };
        roots.iter().map(usage).collect()
    }

    /// With the CPU time of children that nobody waited for.
    fn read_tree(
        &mut self,
        root: &ProcessIdentity,
        table: &Measured<ProcessTable>,
    ) -> Measured<Tree> {
        let table = table.as_ref().map_err(Absent::clone)?;
        let mut tree = Tree::read(root, table)
            .map_err(|error| Absent::unreadable("/proc", &error))?
            .ok_or(Absent::ProcessEnded)?;
        let progress = self.progress.entry(root.clone()).or_default();
        tree.cpu_ticks = progress.advance(tree.cpu_ticks, tree.settled);
        Ok(tree)
    }
}

/// The CPU time that a tree was last seen to have used.
#[derive(Debug, Default)]
struct Progress {
    /// The highest value reported, in clock ticks.
    reported: u64,
    /// Ticks of ended children that nobody waited for (a parent may ignore SIGCHLD): the kernel forgets them, we do not.
    forgotten: u64,
}

impl Progress {
    fn advance(&mut self, ticks: u64, settled: bool) -> u64 {
        let total = ticks.saturating_add(self.forgotten);
        if settled && total < self.reported {
            self.forgotten += self.reported - total;
        }
        // A look that did not settle may miss a child for once; the next look has it again.
        self.reported = self.reported.max(total);
        self.reported
    }
}

/// One consistent look at a tree.
#[derive(Debug)]
struct Tree {
    cpu_ticks: u64,
    resident: Vec<Resident>,
    settled: bool,
}

/// What must not change between two looks: the processes, and what each has reaped.
type Reaped = (i32, u64, u64);

impl Tree {
    /// `None` when the root has gone.
    ///
    /// The processes of a tree are read one after the other. If a child ends in between and is reaped, its time would
    /// count twice (in the child, read before, and in its parent, read after) or not at all. So the tree is read until
    /// the same processes are there *and* none of them has reaped anything since the look before: then the
    /// former look's sums were all true at the moment between the two.
    fn read(root: &ProcessIdentity, table: &ProcessTable) -> io::Result<Option<Self>> {
        let in_table = table.get(root.pid).filter(|stat| is_root(root, stat));
        let Some(root_stat) = in_table else {
            return Ok(None);
        };
        let mut members: Vec<ProcessStat> = vec![*root_stat];
        members.extend(table.descendants(root.pid).into_iter().copied());
        let mut settled = false;
        for _ in 1..MAX_LOOKS {
            let before: Vec<Reaped> = members.iter().map(reaped).collect();
            members = read_again(&before)?;
            settled = members.iter().map(reaped).eq(before);
            if settled {
                break;
            }
        }
        let Some((root_stat, descendants)) = members.split_first() else {
            return Ok(None);
        };
        if !is_root(root, root_stat) {
            return Ok(None);
        }
        let mut tree = Self {
            cpu_ticks: root_stat.reaped_cpu_ticks,
            resident: Vec::with_capacity(descendants.len()),
            settled,
        };
        for process in descendants {
            tree.cpu_ticks += process.cpu_ticks + process.reaped_cpu_ticks;
            tree.resident.push(Resident {
                pid: process.pid,
                bytes: resident_bytes(process.pid)?.unwrap_or(0),
            });
        }
        Ok(Some(tree))
    }
}

fn is_root(root: &ProcessIdentity, stat: &ProcessStat) -> bool {
    root.matches(stat) && stat.is_alive()
}

fn reaped(process: &ProcessStat) -> Reaped {
    (process.pid, process.start_ticks, process.reaped_cpu_ticks)
}

fn read_again(processes: &[Reaped]) -> io::Result<Vec<ProcessStat>> {
    let mut found = Vec::with_capacity(processes.len());
    for (pid, start_ticks, _) in processes {
        found.extend(ProcessStat::read(*pid)?.filter(|stat| stat.start_ticks == *start_ticks));
    }
    Ok(found)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2⁵³ clock ticks are three million years"
)]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn time_of_children_that_nobody_waited_for_is_kept() {
        let mut progress = Progress::default();
        assert_eq!(progress.advance(500, true), 500);
        assert_eq!(
            progress.advance(100, true),
            500,
            "a child with 400 ticks was forgotten"
        );
        assert_eq!(
            progress.advance(130, true),
            530,
            "what came after it counts at once"
        );
    }

    #[test]
    fn a_child_missed_for_once_is_no_spike_when_it_is_back() {
        let mut progress = Progress::default();
        progress.advance(500, true);
        assert_eq!(progress.advance(100, false), 500);
        assert_eq!(progress.advance(510, true), 510);
    }

    #[test]
    fn a_root_of_another_boot_or_start_is_not_read() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = ProcessIdentity::of(pid).unwrap().unwrap();
        let table = ProcessTable::scan().unwrap();
        assert!(Tree::read(&own, &table).unwrap().is_some());
        let other = ProcessIdentity {
            start_ticks: own.start_ticks + 1,
            ..own
        };
        assert!(Tree::read(&other, &table).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn cpu_time_never_runs_backwards(looks: Vec<(u32, bool)>) {
            let mut progress = Progress::default();
            let mut last = 0;
            for (ticks, settled) in looks {
                let now = progress.advance(u64::from(ticks), settled);
                prop_assert!(now >= last);
                last = now;
            }
        }
    }
}

//! Memory of process trees, in which no page counts twice.
//!
//! Workers that were forked share what their parent had loaded, and PostgreSQL its buffers: the sum of their resident
//! memory counts those pages once for each. The kernel's proportional set size divides each page among those who map it,
//! but costs it a walk through all page tables (about 20 µs per MB). So it is asked for only where sharing can matter, and
//! the more seldom the longer it takes.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use clnrm_decide::{Absent, Measured, Source};

use crate::clock::{Clock, Uptime};
use crate::procfs::ProcessIdentity;

/// What the other processes of a tree have together may be this part of what the largest has: what is counted several
/// times is no more than that.
const NEGLIGIBLE_DIVISOR: u64 = 100;
/// All trees together are asked so seldom that it takes at most one part in this many of one core.
const REST_PER_WORK: u32 = 400;
/// No value is kept for longer, whatever a new one costs.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Resident memory of one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    pub(super) pid: i32,
    pub(super) bytes: u64,
}

/// What was last read of the trees that share memory.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    known: HashMap<ProcessIdentity, Known>,
}

#[derive(Debug)]
struct Known {
    bytes: u64,
    read_at: Uptime,
    took: Duration,
}

impl SharedMemory {
    /// Forgets all other trees.
    pub(super) fn retain(&mut self, roots: &[&ProcessIdentity]) {
        self.known.retain(|root, _| roots.contains(&root));
    }

    /// Memory of the tree of these processes, and who said so. `proportional` asks the kernel about one process.
    pub(super) fn bytes(
        &mut self,
        root: &ProcessIdentity,
        resident: &[Resident],
        clock: &dyn Clock,
        proportional: impl Fn(i32) -> io::Result<Option<u64>>,
    ) -> (Measured<u64>, Source) {
        let sum: u64 = resident.iter().map(|process| process.bytes).sum();
        let largest = resident.iter().map(|process| process.bytes).max();
        let largest = largest.unwrap_or_default();
        // A tree that has been measured in proportion stays so: with every short-lived child its memory would seem to change.
        if !self.known.contains_key(root) && sum - largest <= largest / NEGLIGIBLE_DIVISOR {
            return (Ok(sum), Source::Procfs);
        }
        if let Some(bytes) = self.rested(root, clock.awake()) {
            // A page counts at most once in proportion for each time that it counts here.
            return (Ok(bytes.min(sum)), Source::SmapsRollup);
        }
        let began = clock.awake();
        let bytes = read(resident, proportional);
        if let Ok(bytes) = bytes {
            let read_at = clock.awake();
            let took = read_at.since(began);
            let known = Known {
                bytes,
                read_at,
                took,
            };
            self.known.insert(root.clone(), known);
        }
        (bytes, Source::SmapsRollup)
    }

    /// What was read last, while it is too early to ask again.
    fn rested(&self, root: &ProcessIdentity, now: Uptime) -> Option<u64> {
        let known = self.known.get(root)?;
        let trees = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let rest = known
            .took
            .saturating_mul(REST_PER_WORK)
            .saturating_mul(trees);
        (now.since(known.read_at) < rest.min(LONGEST_REST)).then_some(known.bytes)
    }
}

fn read(
    resident: &[Resident],
    proportional: impl Fn(i32) -> io::Result<Option<u64>>,
) -> Measured<u64> {
    let mut sum = 0_u64;
    for Resident { pid, .. } in resident.iter().filter(|process| process.bytes > 0) {
        let bytes = proportional(*pid).map_err(|error| {
            let what = format!(
                "/proc/{pid}/smaps_rollup, without which shared memory would count several times:"
            );
            Absent::unreadable(&what, &error)
        })?;
        sum = sum.saturating_add(bytes.unwrap_or_default());
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::Timestamp;

    /// Goes on by hand, and by what an answer of the kernel takes.
    #[derive(Debug, Default)]
    struct Watch(AtomicU64);

    impl Watch {
        fn pass(&self, millis: u64) {
            self.0.fetch_add(millis * 1_000, Ordering::Relaxed);
        }
    }

    impl Clock for Watch {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }

        fn awake(&self) -> Uptime {
            Uptime::from_micros(self.0.load(Ordering::Relaxed))
        }

        fn started_at(&self) -> Timestamp {
            Timestamp::default()
        }
    }

    fn root(pid: i32) -> ProcessIdentity {
        ProcessIdentity {
            pid,
            start_ticks: 1,
            boot_id: "boot".to_owned(),
        }
    }

    fn processes(megabytes: &[u64]) -> Vec<Resident> {
        (1..)
            .zip(megabytes)
            .map(|(pid, megabytes)| Resident {
                pid,
                bytes: megabytes * 1_000_000,
            })
            .collect()
    }

    #[test]
    fn the_kernel_is_asked_only_where_sharing_can_matter() {
        let (mut shared, watch) = (SharedMemory::default(), Watch::default());
        let nobody = |_: i32| -> io::Result<Option<u64>> { panic!("asked") };
        for (alone, sum) in [(&[50][..], 50), (&[500, 2, 3], 505), (&[], 0)] {
            let (bytes, source) = shared.bytes(&root(1), &processes(alone), &watch, nobody);
            assert_eq!((bytes, source), (Ok(sum * 1_000_000), Source::Procfs));
        }
        let (bytes, source) = shared.bytes(&root(1), &processes(&[150, 150, 150]), &watch, |_| {
            Ok(Some(51_000_000))
        });
        assert_eq!((bytes, source), (Ok(153_000_000), Source::SmapsRollup));
        let (bytes, source) = shared.bytes(&root(1), &processes(&[150]), &watch, |_| {
            Ok(Some(149_000_000))
        });
        assert_eq!(
            (bytes, source),
            (Ok(149_000_000), Source::SmapsRollup),
            "measured as before"
        );
    }

    #[test]
    fn the_longer_it_takes_the_more_seldom_the_kernel_is_asked() {
        for (takes_millis, trees, expected) in [(1, 1, 100), (10, 1, 25), (10, 4, 7), (5_000, 1, 2)]
        {
            let (mut shared, watch) = (SharedMemory::default(), Watch::default());
            let asked = AtomicU64::new(0);
            for _ in 0..100 {
                for tree in 0..trees {
                    let answer = |_: i32| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        watch.pass(takes_millis / 2);
                        Ok(Some(20_000_000))
                    };
                    let answer = shared.bytes(&root(tree), &processes(&[30, 30]), &watch, answer);
                    assert_eq!(answer, (Ok(40_000_000), Source::SmapsRollup));
                }
                watch.pass(1_000);
            }
            let times = asked.load(Ordering::Relaxed) / 2 / u64::from(trees.unsigned_abs());
            assert!(
                times.abs_diff(expected) <= expected / 10 + 1,
                "{takes_millis} ms, {trees} trees: {times}"
            );
        }
    }

    #[test]
    fn what_is_kept_is_never_more_than_what_is_resident() {
        let (mut shared, watch) = (SharedMemory::default(), Watch::default());
        let answer = |_: i32| {
            watch.pass(100);
            Ok(Some(20_000_000))
        };
        shared
            .bytes(&root(1), &processes(&[30, 30, 30]), &watch, answer)
            .0
            .unwrap();
        let (bytes, _) = shared.bytes(&root(1), &processes(&[20, 20]), &watch, answer);
        assert_eq!(
            bytes,
            Ok(40_000_000),
            "60 MB were seen with a third process"
        );
    }

    #[test]
    fn without_the_kernels_answer_there_is_no_value() {
        let (mut shared, watch) = (SharedMemory::default(), Watch::default());
        let refused = |_: i32| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let (bytes, source) = shared.bytes(&root(1), &processes(&[30, 30]), &watch, refused);
        assert_eq!(source, Source::SmapsRollup);
        assert_eq!(
            bytes.unwrap_err().to_string(),
            "/proc/1/smaps_rollup, without which shared memory would count several times: permission denied"
        );
    }
}

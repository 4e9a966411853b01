//! What `/proc` says about processes: identity, state, parents and CPU time.
//!
//! The ground floor of both the runtime (which process is ours, is it alive, what belongs to it) and the
//! metrics. Deliberately absent: signals, and any notion of services or rates.
//!
//! Read by hand, because the sampler reads every process once a second: the crate `procfs` (0.18) takes 10.1 µs of CPU for
//! the `stat` of one process, this 6.9 µs.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

mod memory;

pub use memory::{proportional_bytes, resident_bytes};

/// Tells one process from every other, past or present: a pid alone is reused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `stat`).
    pub start_ticks: u64,
    /// The kernel's random id of this boot.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The identity of the process that now has this pid; `None` when there is none.
    ///
    /// Errors: `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        let Some(process) = ProcessStat::read(pid)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            pid,
            start_ticks: process.start_ticks,
            boot_id: boot_id()?.to_owned(),
        }))
    }

    /// Whether this very process still runs. A zombie is dead, and so is a pid that now names another process.
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot_id| boot_id == self.boot_id)
            && matches!(ProcessStat::read(self.pid), Ok(Some(process))
                if process.start_ticks == self.start_ticks && process.is_alive())
    }

    /// Whether this is the process that `stat` was read from, given that both are of this boot.
    pub fn matches(&self, stat: &ProcessStat) -> bool {
        self.pid == stat.pid
            && self.start_ticks == stat.start_ticks
            && boot_id().is_ok_and(|boot_id| boot_id == self.boot_id)
    }
}

/// The kernel's random id of this boot, read once.
///
/// # Errors
/// `/proc` cannot be read.
pub fn boot_id() -> io::Result<&'static str> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(boot_id) = BOOT_ID.get() {
        return Ok(boot_id);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT_ID.get_or_init(|| text.trim().to_owned()))
}

/// The fields of `/proc/[pid]/stat` that clnrm needs. See proc_pid_stat(5).
///
/// Resident memory is not among them: that field is an approximation (off by 10 % for small processes);
/// [`resident_bytes`] reads the exact one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    pub pid: i32,
    /// `R`, `S`, `Z`, …
    pub state: u8,
    /// The parent: the one that reaps it.
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// CPU time of all its threads, in clock ticks.
    pub cpu_ticks: u64,
    /// CPU time of the children that it waited for, and of theirs, in clock ticks.
    pub reaped_cpu_ticks: u64,
    /// Threads that have not ended.
    pub threads: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessStat {
    /// Reads one process; `None` when it does not exist (any more).
    pub fn read(pid: i32) -> io::Result<Option<Self>> {
        // 52 numbers and a name of at most 64 bytes: one page is more than ever comes.
        let mut buffer = [0; 4096];
        let Some(length) = read_proc_file(pid, "stat", &mut buffer)? else {
            return Ok(None);
        };
        let text = buffer.get(..length).unwrap_or_default();
        Self::parse(text).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat is malformed"),
            )
        })
    }

    /// Parses the text of a `stat` file. The name in parentheses may itself hold parentheses, spaces and any
    /// bytes, so the fields are counted from the *last* closing one.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(text.get(..open)?).ok()?.trim();
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let mut ticks = fields.by_ref().skip(7); // tty … cmajflt, up to utime (field 14)
        let mut cpu = || -> Option<u64> {
            // The kernel prints the children's times as signed numbers.
            let value: i64 = ticks.next()?.parse().ok()?;
            Some(value.max(0).unsigned_abs())
        };
        let cpu_ticks = cpu()?.saturating_add(cpu()?);
        let reaped_cpu_ticks = cpu()?.saturating_add(cpu()?);
        let threads = fields.nth(2)?.parse::<i64>().ok()?; // after priority and nice
        let start_ticks = fields.nth(1)?.parse().ok()?; // after itrealvalue
        Some(Self {
            pid: pid.parse().ok()?,
            state,
            parent,
            group,
            session,
            cpu_ticks,
            reaped_cpu_ticks,
            threads: u32::try_from(threads).unwrap_or(0),
            start_ticks,
        })
    }

    /// Whether it runs. A zombie does not, unless only its first thread has ended and others live on.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x') || self.threads > 1
    }
}

/// Reads a small file of one process; `None` when the process has gone.
fn read_proc_file(pid: i32, name: &str, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut read = || File::open(format!("/proc/{pid}/{name}"))?.read(buffer);
    match read() {
        Ok(length) => Ok(Some(length)),
        Err(error) if has_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A process that ends between `open` and `read` yields ESRCH instead of ENOENT.
fn has_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Every process of the machine at (nearly) one moment.
#[derive(Debug, Clone, Default)]
pub struct ProcessTable {
    /// Sorted by pid.
    processes: Vec<ProcessStat>,
    /// (parent, index into `processes`), sorted.
    children: Vec<(i32, usize)>,
}

impl ProcessTable {
    /// Reads all processes, in about 8 µs each.
    ///
    /// Errors: `/proc` cannot be read. Processes that may not be looked at are left out.
    pub fn scan() -> io::Result<Self> {
        let mut pids: Vec<i32> = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
        }
        let mut processes = Vec::with_capacity(pids.len());
        for pid in pids {
            processes.extend(read_if_allowed(pid)?);
        }
        repair_parents(&mut processes)?;
        Ok(Self::from_processes(processes))
    }

    fn from_processes(mut processes: Vec<ProcessStat>) -> Self {
        processes.sort_unstable_by_key(|process| process.pid);
        let mut children: Vec<_> = processes
            .iter()
            .enumerate()
            .map(|(index, process)| (process.parent, index))
            .collect();
        children.sort_unstable();
        Self {
            processes,
            children,
        }
    }

    /// The process with this pid.
    pub fn get(&self, pid: i32) -> Option<&ProcessStat> {
        let index = self
            .processes
            .binary_search_by_key(&pid, |process| process.pid)
            .ok()?;
        self.processes.get(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ProcessStat> {
        self.processes.iter()
    }

    /// The children of `pid`, their children and so on, without `pid` itself; parents come before their children.
    pub fn descendants(&self, pid: i32) -> Vec<&ProcessStat> {
        let mut found: Vec<&ProcessStat> = Vec::new();
        let mut next_parent = Some(pid);
        let mut visited = 0;
        while let Some(parent) = next_parent {
            // Every process has one parent, so a loop (of stale parents) could only lead back to `pid`.
            found.extend(self.children_of(parent).filter(|child| child.pid != pid));
            next_parent = found.get(visited).map(|process| process.pid);
            visited += 1;
        }
        found
    }

    fn children_of(&self, pid: i32) -> impl Iterator<Item = &ProcessStat> {
        let start = self.children.partition_point(|(parent, _)| *parent < pid);
        self.children
            .iter()
            .skip(start)
            .take_while(move |(parent, _)| *parent == pid)
            .filter_map(|(_, index)| self.processes.get(*index))
    }
}

fn read_if_allowed(pid: i32) -> io::Result<Option<ProcessStat>> {
    match ProcessStat::read(pid) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        result => result,
    }
}

/// Reads those processes again whose parent ended during the scan: they have another parent by now, and without
/// it they would be missing from their tree.
fn repair_parents(processes: &mut Vec<ProcessStat>) -> io::Result<()> {
    // A parent outside this pid namespace is 0. Three rounds: a chain of parents that end one by one is rare.
    for _ in 0..3 {
        let known: HashSet<i32> = processes.iter().map(|process| process.pid).collect();
        let is_orphan =
            |process: &ProcessStat| process.parent != 0 && !known.contains(&process.parent);
        let orphans: Vec<i32> = processes
            .iter()
            .filter(|process| is_orphan(process))
            .map(|process| process.pid)
            .collect();
        if orphans.is_empty() {
            return Ok(());
        }
        processes.retain(|process| !is_orphan(process));
        for pid in orphans {
            processes.extend(read_if_allowed(pid)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn process(pid: i32, parent: i32) -> ProcessStat {
        ProcessStat {
            pid,
            state: b'S',
            parent,
            group: 1,
            session: 1,
            cpu_ticks: 0,
            reaped_cpu_ticks: 0,
            threads: 1,
            start_ticks: 1,
        }
    }

    fn pids(found: &[&ProcessStat]) -> Vec<i32> {
        found.iter().map(|process| process.pid).collect()
    }

    #[test]
    fn a_name_may_hold_parentheses_spaces_and_bytes_that_are_no_text() {
        let stat = b"77 (a) R 1 (\xff\xfe b)) S 12 13 14 0 -1 4194560 1 2 3 4 50 6 700 8 20 0 3 0 99 1 2 3";
        assert_eq!(
            ProcessStat::parse(stat),
            Some(ProcessStat {
                pid: 77,
                state: b'S',
                parent: 12,
                group: 13,
                session: 14,
                cpu_ticks: 56,
                reaped_cpu_ticks: 708,
                threads: 3,
                start_ticks: 99,
            })
        );
    }

    #[test]
    fn a_zombie_is_dead_unless_other_threads_live_on() {
        let zombie = ProcessStat {
            state: b'Z',
            ..process(5, 1)
        };
        assert!(!zombie.is_alive());
        assert!(
            ProcessStat {
                threads: 2,
                ..zombie
            }
            .is_alive()
        );
    }

    #[test]
    fn descendants_are_found_at_every_depth_and_loops_end() {
        let table = ProcessTable::from_processes(vec![
            process(10, 4),
            process(4, 2),
            process(3, 2),
            process(2, 1),
            process(9, 1),
        ]);
        assert_eq!(pids(&table.descendants(2)), [3, 4, 10]);
        assert_eq!(pids(&table.descendants(10)), [0; 0]);
        let looped = ProcessTable::from_processes(vec![process(2, 3), process(3, 2)]);
        assert_eq!(pids(&looped.descendants(2)), [3]);
    }

    #[test]
    fn this_process_is_alive_under_its_own_identity_only() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let identity = ProcessIdentity::of(pid).unwrap().unwrap();
        assert!(identity.is_alive());
        let later_start = ProcessIdentity {
            start_ticks: identity.start_ticks + 1,
            ..identity.clone()
        };
        let other_boot = ProcessIdentity {
            boot_id: "another".to_owned(),
            ..identity
        };
        assert!(!later_start.is_alive());
        assert!(!other_boot.is_alive());
        assert_eq!(ProcessIdentity::of(i32::MAX).unwrap(), None);
    }

    #[tokio::test]
    async fn a_child_that_nobody_waited_for_is_dead_and_still_listed() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = ProcessIdentity::of(pid).unwrap().unwrap();
        assert!(identity.is_alive());
        let own_pid = i32::try_from(std::process::id()).unwrap();
        assert!(pids(&ProcessTable::scan().unwrap().descendants(own_pid)).contains(&pid));
        // Just executed, it has hardly touched its memory.
        tokio::time::timeout(Duration::from_secs(10), async {
            while resident_bytes(pid).unwrap().unwrap() <= 100_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("a running program has resident memory");

        drop(child.stdin.take());
        tokio::time::timeout(Duration::from_secs(10), async {
            while identity.is_alive() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("cat ends when its input ends");
        assert!(
            ProcessTable::scan().unwrap().get(pid).is_some(),
            "a zombie still has a row"
        );
        child.wait().unwrap();
        assert_eq!(ProcessIdentity::of(pid).unwrap(), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes: Vec<u8>) {
            ProcessStat::parse(&bytes);
        }

        #[test]
        fn parsing_never_panics_on_nearly_right_text(text in "[0-9]{1,3} \\(.{0,5}\\) [A-Z] [-0-9 ]{0,80}") {
            ProcessStat::parse(text.as_bytes());
        }
    }
}

//! CPU and memory of a container from its control group's files, of version 1 and 2. See cgroups(7).
//!
//! A group's counters cover the groups below it, so a container that divides itself further is counted whole.

mod parse;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use clnrm_decide::{Absent, Measured};

use self::parse::{CgroupMount, Hierarchy, Membership};
use crate::backend::stats::MemoryParts;

/// The directories with one container's counters. A hybrid host has some controllers in version 1 and some in 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    cpu: (Version, PathBuf),
    memory: (Version, PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// How many processes of a container on this machine were killed so far for lack of memory; `None` = it is elsewhere.
pub fn memory_kills(container_id: &str, main_pid: i32) -> Option<u64> {
    let counts = |cgroup: &Cgroup| cgroup.memory_kills().is_ok();
    let cgroup = Cgroup::on_this_machine(container_id, main_pid, &counts)?;
    cgroup.memory_kills().ok()
}

impl Cgroup {
    /// The group that carries this container's id and that the process is in, if its counters can be read here.
    ///
    /// `None` also when the process is another machine's (or another PID namespace's): then its number names nobody
    /// here, or somebody in another group.
    pub(super) fn of_container(container_id: &str, main_pid: i32) -> Option<Self> {
        Self::on_this_machine(container_id, main_pid, &|cgroup| {
            cgroup.cpu_seconds().is_ok() && cgroup.memory_bytes().is_ok()
        })
    }

    fn on_this_machine(
        container_id: &str,
        main_pid: i32,
        readable: &dyn Fn(&Self) -> bool,
    ) -> Option<Self> {
        let memberships = fs::read(format!("/proc/{main_pid}/cgroup")).ok()?;
        Self::find(
            container_id,
            &String::from_utf8_lossy(&memberships),
            mounted()?,
            readable,
        )
    }

    fn find(
        container_id: &str,
        memberships: &str,
        mounts: &[CgroupMount],
        readable: &dyn Fn(&Self) -> bool,
    ) -> Option<Self> {
        let memberships: Vec<Membership<'_>> = parse::memberships(memberships).collect();
        let candidates = |controller: &str| -> Vec<(Version, PathBuf)> {
            let of = |version, hierarchy: Hierarchy<'_>| {
                let paths = parse::directories(&memberships, mounts, hierarchy, container_id);
                paths.into_iter().map(move |path| (version, path))
            };
            // Where version 1 has the controller, version 2 has it not.
            of(Version::V1, Hierarchy::Controller(controller))
                .chain(of(Version::V2, Hierarchy::Unified))
                .collect()
        };
        let memories = candidates("memory");
        candidates("cpuacct")
            .into_iter()
            .flat_map(|cpu| {
                memories
                    .iter()
                    .map(move |memory| (cpu.clone(), memory.clone()))
            })
            .map(|(cpu, memory)| Self { cpu, memory })
            .find(readable)
    }

    /// CPU time used so far.
    pub(super) fn cpu_seconds(&self) -> Measured<f64> {
        let (version, directory) = &self.cpu;
        match version {
            Version::V1 => read(&directory.join("cpuacct.usage"), |text| {
                Some(Duration::from_nanos(parse::number(text)?).as_secs_f64())
            }),
            Version::V2 => read(&directory.join("cpu.stat"), |text| {
                Some(Duration::from_micros(parse::field(text, "usage_usec")?).as_secs_f64())
            }),
        }
    }

    /// Memory in use that the kernel cannot drop: without the contents of files, with shared memory and tmpfs.
    pub(super) fn memory_bytes(&self) -> Measured<u64> {
        let (version, directory) = &self.memory;
        let parts = read(&directory.join("memory.stat"), |text| {
            MemoryParts::of(|name| parse::field(text, name))
        })?;
        let usage = match version {
            // It adds nothing to the parts.
            Version::V1 => 0,
            Version::V2 => read(&directory.join("memory.current"), parse::number)?,
        };
        Ok(parts.kept_of(usage))
    }

    /// How many of its processes were killed so far for lack of memory.
    pub(super) fn memory_kills(&self) -> Measured<u64> {
        let (version, directory) = &self.memory;
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        read(&directory.join(file), |text| parse::field(text, "oom_kill"))
    }
}

/// The hierarchies of this machine. Read once: they are mounted when it starts, and the file grows with every container.
fn mounted() -> Option<&'static [CgroupMount]> {
    static MOUNTED: OnceLock<Vec<CgroupMount>> = OnceLock::new();
    if let Some(mounted) = MOUNTED.get() {
        return Some(mounted);
    }
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let mounts = String::from_utf8_lossy(&mounts);
    Some(MOUNTED.get_or_init(|| parse::cgroup_mounts(&mounts).collect()))
}

/// One value of one file.
pub(super) fn read<T>(path: &Path, value: impl Fn(&str) -> Option<T>) -> Measured<T> {
    let what = || path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Absent::unreadable(&what(), &error))?;
    value(&text).ok_or_else(|| Absent::Unreadable {
        what: what(),
        problem: "is malformed".to_owned(),
    })
}

#[cfg(test)]
mod tests;

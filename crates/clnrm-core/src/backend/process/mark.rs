//! A mark that every descendant of an instance carries, whatever it does to hide.
//!
//! Process groups, sessions, parentage and the environment can each be left behind (`setsid`, a double fork,
//! `env -i`). Resource limits cannot be shed by accident: they are inherited through fork and exec, and nothing
//! resets them. So the shim lowers its hard limit on *real-time CPU time* (`RLIMIT_RTTIME`, microseconds; it only
//! concerns tasks under a real-time scheduler) from infinity to a number of more than 36 000 years whose low bits
//! identify the instance. Anyone may lower a limit and read another process's limits in `/proc/[pid]/limits`.

use std::fs;

use rustix::process::{Resource, Rlimit, setrlimit};
use sha2::{Digest, Sha256};

/// 2⁶⁰ µs is 36 533 years.
const MARK_BASE: u64 = 1 << 60;
/// How many bits identify the instance.
const MARK_BITS: u32 = 48;

/// The mark of an instance: the same for the same id, different for any two that matter.
pub(super) fn mark_of(instance_id: &str) -> u64 {
    let digest = Sha256::digest(instance_id.as_bytes());
    let bits = digest
        .iter()
        .take(8)
        .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    MARK_BASE | (bits & ((1 << MARK_BITS) - 1))
}

/// Marks this process and all that it will start.
///
/// Fails without harm where a lower hard limit is in force already (clnrm run below another clnrm without
/// privileges); the environment mark and the session remain.
pub(super) fn mark_self(mark: u64) -> rustix::io::Result<()> {
    setrlimit(
        Resource::Rttime,
        Rlimit {
            current: Some(mark),
            maximum: Some(mark),
        },
    )
}

/// The mark that a process carries; `None` when it has none or is gone.
pub(super) fn mark_on(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    parse_mark(&limits)
}

fn parse_mark(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    let mark: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    (mark & MARK_BASE != 0).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_hard_limit_of_the_kernels_table() {
        let mark = mark_of("cache-1f");
        let table = format!(
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max realtime priority     0                    0                    \n\
             Max realtime timeout      unlimited            {mark}  us        \n"
        );
        assert_eq!(parse_mark(&table), Some(mark));
        assert_eq!(
            parse_mark("Max realtime timeout      unlimited            unlimited            us\n"),
            None
        );
        assert_eq!(
            parse_mark("Max realtime timeout      200000               200000               us\n"),
            None
        );
    }

    #[test]
    fn different_instances_have_different_marks() {
        assert_ne!(mark_of("cache-1f"), mark_of("cache-20"));
        assert_eq!(mark_of("cache-1f"), mark_of("cache-1f"));
    }
}

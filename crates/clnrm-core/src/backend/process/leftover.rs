//! Ends what a killed shim left behind.
//!
//! While a shim lives it owns its tree as a subreaper. When it was killed, its orphans went to init and only their
//! marks tell whose they were: the limit ([`super::mark`]), the session that the shim led, and the environment.
//! Any one of them is enough; nothing without one of ours is ever touched.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::error::StopError;
use super::mark::{mark_of, mark_on};
use super::shim_protocol::INSTANCE_VARIABLE;
use crate::backend::signal;
use crate::procfs::{ProcessStat, ProcessTable};

/// Processes that hang in the kernel longer than this after SIGKILL are reported as survivors.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const KILL_ROUND: Duration = Duration::from_millis(10);

/// Kills every process of an instance whose shim is dead; returns what it found, as `name (pid 12)`.
///
/// `shim_pid` is the session that the shim led; 0 when it is not known.
pub(super) async fn end_leftovers(id: &str, shim_pid: i32) -> Result<Vec<String>, StopError> {
    let give_up = Instant::now() + KILL_PATIENCE;
    let mut found: Vec<String> = Vec::new();
    loop {
        let left = leftovers(id, shim_pid);
        if left.is_empty() {
            return Ok(found);
        }
        let names: Vec<String> = left.iter().map(|process| name_of(process.pid)).collect();
        if Instant::now() >= give_up {
            return Err(StopError::Survivors {
                id: id.to_owned(),
                survivors: names,
            });
        }
        found.extend(
            names
                .into_iter()
                .filter(|name| !found.contains(name))
                .collect::<Vec<_>>(),
        );
        for process in &left {
            // A failure shows as a survivor.
            let _ = signal::send(process.pid, process.start_ticks, Signal::KILL);
        }
        sleep(KILL_ROUND).await;
    }
}

/// Living processes that carry a mark of this instance.
pub(super) fn leftovers(id: &str, shim_pid: i32) -> Vec<ProcessStat> {
    let Ok(table) = ProcessTable::scan() else {
        return Vec::new();
    };
    let mark = mark_of(id);
    // While a process with that number lives, it is not the dead shim, and the session may be its own.
    let session = (table.get(shim_pid).is_none()).then_some(shim_pid);
    table
        .iter()
        .filter(|process| process.is_alive())
        .filter(|process| {
            mark_on(process.pid) == Some(mark)
                || (process.session > 0 && Some(process.session) == session)
                || names_instance(process.pid, id)
        })
        .copied()
        .collect()
}

fn name_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim())
}

/// Whether the environment that a process was started with names the instance.
fn names_instance(pid: i32, id: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    let wanted = format!("{INSTANCE_VARIABLE}={id}");
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == wanted.as_bytes())
}

/// Ends whatever still carries the mark of an instance that was recorded as ended; names it with its instance.
pub(super) async fn end_survivors(ids: &[String]) -> Vec<String> {
    let mut leaked = Vec::new();
    for id in ids_with_survivors(ids) {
        match end_leftovers(&id, 0).await {
            Ok(found) => leaked.extend(
                found
                    .into_iter()
                    .map(|process| format!("{process} of {id}")),
            ),
            Err(survivors) => leaked.push(survivors.to_string()),
        }
    }
    leaked
}

/// One look at all processes for any number of instances.
fn ids_with_survivors(ids: &[String]) -> Vec<String> {
    let Ok(table) = ProcessTable::scan() else {
        return Vec::new();
    };
    let marks: HashSet<u64> = table
        .iter()
        .filter(|process| process.is_alive())
        .filter_map(|process| mark_on(process.pid))
        .collect();
    ids.iter()
        .filter(|id| marks.contains(&mark_of(id)))
        .cloned()
        .collect()
}

//! The guard of a project: this binary, executed again, detached from whoever left instances warm.
//!
//! One per project: it holds a lock as long as it lives, and says who it is in a file beside it. Deliberately absent:
//! what it does (`lifecycle::guard`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, fstat};
use rustix::process::{Signal, setsid};
use tokio::time::sleep;

use super::signal;
use crate::procfs::ProcessIdentity;

/// The hidden subcommand; its argument is the state directory.
pub const GUARD_SUBCOMMAND: &str = "__guard";
/// How often a guard looks whether there is still something to guard.
const POST_LOOK: Duration = Duration::from_secs(1);
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// A guard that was asked to leave finishes what it has begun.
const LEAVING_LOOKS: u32 = 200;
/// What earlier guards wrote is dropped beyond this.
const LOG_LIMIT_BYTES: u64 = 1_000_000;

/// The right to guard a project: a lock that came with the process, as its standard input, from whoever started it.
#[derive(Debug)]
pub struct GuardPost {
    record: PathBuf,
}

impl GuardPost {
    /// Takes the post, detached from the starter; `None` = somebody else has it.
    pub fn take(state_dir: &Path, me: &ProcessIdentity) -> Option<Self> {
        // Fails only for a process group leader, which has a session's independence already.
        let _ = setsid();
        flock(io::stdin(), FlockOperation::NonBlockingLockExclusive).ok()?;
        // The starter may have recorded it already; without a record nobody can ask it to leave, and it leaves later.
        let _ = record(state_dir, me);
        Some(Self {
            record: record_path(state_dir),
        })
    }
}

impl GuardPost {
    /// Resolves when the project's state was deleted: its lock, which came with this process, has no name any more.
    pub async fn abolished(&self) {
        while self.exists() {
            sleep(POST_LOOK).await;
        }
    }

    fn exists(&self) -> bool {
        !fstat(io::stdin()).is_ok_and(|lock| lock.st_nlink == 0)
    }
}

impl Drop for GuardPost {
    fn drop(&mut self) {
        // A record of a guard that is gone is recognized as such. Where the post is gone, it may be another's.
        if self.exists() {
            let _ = fs::remove_file(&self.record);
        }
        let _ = flock(io::stdin(), FlockOperation::Unlock);
    }
}

/// The guard of a project; `None` = there is none.
pub fn present(state_dir: &Path) -> Option<ProcessIdentity> {
    let record = fs::read(record_path(state_dir)).ok()?;
    let guard: ProcessIdentity = serde_json::from_slice(&record).ok()?;
    guard.is_alive().then_some(guard)
}

/// Starts a guard unless there is one.
pub fn ensure(
    program: &Path,
    state_dir: &Path,
    environment: &BTreeMap<String, String>,
) -> io::Result<()> {
    let Some(lock) = try_lock(state_dir)? else {
        return Ok(());
    };
    let log = state_dir.join("guard.log");
    let too_long = fs::metadata(&log).is_ok_and(|log| log.len() > LOG_LIMIT_BYTES);
    let log = OpenOptions::new()
        .create(true)
        .append(!too_long)
        .write(true)
        .truncate(too_long)
        .mode(0o600)
        .open(log)?;
    let child = tokio::process::Command::new(program)
        .arg(GUARD_SUBCOMMAND)
        .arg(state_dir)
        .env_clear()
        .envs(environment)
        .current_dir(state_dir)
        // The lock goes over to it, without a moment in which nobody has it.
        .stdin(lock)
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(false)
        .spawn()?;
    // So that it can be dismissed from its first moment on.
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    match pid.map(ProcessIdentity::of).transpose()?.flatten() {
        Some(guard) => record(state_dir, &guard),
        None => Ok(()),
    }
}

/// Asks the guard to leave, and waits until it has. `false` = it does not.
pub async fn dismiss(state_dir: &Path) -> io::Result<bool> {
    let Some(guard) = present(state_dir) else {
        return Ok(true);
    };
    signal::send(guard.pid, guard.start_ticks, Signal::TERM)?;
    for _ in 0..LEAVING_LOOKS {
        if !guard.is_alive() {
            return Ok(true);
        }
        sleep(LOOK_PAUSE).await;
    }
    Ok(false)
}

/// In one piece: whoever reads it beside this sees the old or the new one.
fn record(state_dir: &Path, guard: &ProcessIdentity) -> io::Result<()> {
    let writer = std::process::id();
    let complete = state_dir.join(format!("guard.json.{writer}"));
    fs::write(&complete, serde_json::to_vec(guard)?)?;
    fs::rename(complete, record_path(state_dir))
}

fn record_path(state_dir: &Path) -> PathBuf {
    state_dir.join("guard.json")
}

fn try_lock(state_dir: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(state_dir.join("guard.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

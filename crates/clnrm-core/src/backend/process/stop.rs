//! Finds process trees by what their shims wrote, watches them again, and ends them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::StopError;
use super::leftover;
use super::shim_protocol::{END_NOW, ShimRecord};
use crate::backend::exit::ExitRecord;
use crate::backend::instance::{Ended, Loss, Patience, Running, TreeState};
use crate::backend::root::Root;
use crate::procfs::ProcessIdentity;

/// What a shim gets beyond the grace period of its tree before it is killed itself.
const SHIM_GRACE: Duration = Duration::from_secs(5);

/// What a later command finds in an instance's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Alive(ShimRecord),
    /// It ended and said how.
    Ended(ExitRecord),
    /// Its shim was killed (or could not record the end); its processes may live on.
    Lost(ShimRecord),
    /// No shim ever recorded itself: nothing was spawned.
    NeverStarted,
}

/// What is there of the instance whose folder this is.
pub(super) fn find(dir: &Path) -> io::Result<Found> {
    let Some(record) = ShimRecord::read(dir)? else {
        return Ok(Found::NeverStarted);
    };
    if record.shim.is_alive() {
        return Ok(Found::Alive(record));
    }
    // Read after the look at the process: a shim records the end and then leaves.
    Ok(ExitRecord::read(dir)?.map_or(Found::Lost(record), Found::Ended))
}

/// Watches an instance whose shim is another command's child; `None` = the shim is gone.
pub(super) fn watch_again(
    id: &str,
    dir: &Path,
    record: ShimRecord,
) -> Result<Option<Running>, StopError> {
    let Some(descriptor) = open_verified(id, &record.shim)? else {
        return Ok(None);
    };
    let exited = readable_on_exit(descriptor).map_err(|source| StopError::Signal {
        id: id.to_owned(),
        source,
    })?;
    let (sender, state) = watch::channel(TreeState::Running);
    let folder = dir.to_owned();
    tokio::spawn(async move {
        tokio::select! {
            _ = exited.readable() => {
                let exit = ExitRecord::read(&folder).ok().flatten();
                sender.send_replace(
                    exit.map_or(TreeState::Lost(Loss::SupervisorKilled), TreeState::Ended),
                );
            }
            // Nobody listens any more.
            () = sender.closed() => {}
        }
    });
    let root = Root::ProcessTree(record.shim);
    Ok(Some(Running::of(root, record.main_pid, dir, state)))
}

/// Asks the shim to end its tree and waits for that: as long as `patience` says, then SIGKILL, until nothing is left.
pub(super) async fn stop(
    id: &str,
    dir: &Path,
    shim: &ProcessIdentity,
    patience: &Patience,
) -> Result<Ended, StopError> {
    let mut killed = false;
    if let Some(descriptor) = open_verified(id, shim)? {
        send(id, shim.pid, &descriptor, Signal::TERM)?;
        let exited = readable_on_exit(descriptor).map_err(|source| StopError::Signal {
            id: id.to_owned(),
            source,
        })?;
        let in_time = timeout(patience.grace + SHIM_GRACE, exited.readable());
        let has_left = match patience.hurry.run_until_cancelled(in_time).await {
            Some(in_time) => in_time.is_ok(),
            None => {
                send(id, shim.pid, exited.get_ref(), END_NOW)?;
                timeout(SHIM_GRACE, exited.readable()).await.is_ok()
            }
        };
        if !has_left {
            // A shim that was stopped (SIGSTOP) or hangs: take over its work.
            killed = true;
            send(id, shim.pid, exited.get_ref(), Signal::KILL)?;
            let _ = exited.readable().await;
        }
    }
    let exit = ExitRecord::read(dir).ok().flatten();
    if exit.is_none() {
        killed |= !leftover::end_leftovers(id, shim.pid).await?.is_empty();
    }
    Ok(Ended {
        exit,
        killed: killed || exit.is_some_and(|exit| exit.killed),
        leftovers: Vec::new(),
    })
}

#[expect(
    deprecated,
    reason = "an OwnedFd stays open as long as it is registered; the other constructor is unsafe"
)]
fn readable_on_exit(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

/// `None` when the process is gone, or its number belongs to another one now.
fn open_verified(id: &str, shim: &ProcessIdentity) -> Result<Option<OwnedFd>, StopError> {
    let Some(pid) = Pid::from_raw(shim.pid) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The identity is compared after the descriptor was opened: see `signal::send`.
        Ok(descriptor) => Ok(shim.is_alive().then_some(descriptor)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(StopError::Signal {
            id: id.to_owned(),
            source: error.into(),
        }),
    }
}

fn send(id: &str, pid: i32, descriptor: impl AsFd, signal: Signal) -> Result<(), StopError> {
    match pidfd_send_signal(descriptor, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) => Err(StopError::NotOurs {
            id: id.to_owned(),
            pid,
        }),
        Err(error) => Err(StopError::Signal {
            id: id.to_owned(),
            source: error.into(),
        }),
    }
}

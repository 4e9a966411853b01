//! The log of a container: kept by the engine while it lives, and in the instance's folder afterwards.
//!
//! Entries are asked for with their times, so that whoever goes on from one knows which is the next: an engine that keeps
//! a part of a log only tells it from another beginning each time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::query_parameters::{AttachContainerOptions, LogsOptions};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::engine::Connected;
use super::error::EngineError;
use super::moment::{self, Nanoseconds};
use crate::backend::log_file::CappedLog;
use crate::backend::wanted_lines::LineWatch;

/// Writes what the container has printed so far (its last `lines`, or all that the engine has) into `path`, in place of
/// what is there; returns the time of the last entry
/// where only `lines` were asked for.
pub(super) async fn fetch(
    connected: &Connected,
    id: &str,
    path: &Path,
    limit_bytes: u64,
    lines: Option<usize>,
) -> Result<Option<Nanoseconds>, EngineError> {
    let beside = beside(path);
    let part = Part {
        lines,
        after: None,
        follow: false,
    };
    let last = part.copy(connected, id, &beside, limit_bytes).await?;
    // Best effort: on a full disk the log is lost, the container must still end.
    let _ = replace(&beside, path);
    Ok(last)
}

/// Appends what comes `after` to `path`, until the container ends or `cancel`.
pub(super) async fn follow(
    connected: &Connected,
    id: &str,
    path: &Path,
    after: Option<Nanoseconds>,
    cancel: &CancellationToken,
) -> Result<(), EngineError> {
    let part = Part {
        lines: None,
        after,
        follow: true,
    };
    let copied = cancel
        .run_until_cancelled(part.copy(connected, id, path, u64::MAX))
        .await;
    copied.unwrap_or(Ok(None)).map(drop)
}

/// Appends what a container that is not started yet will print to `path`, until it ends, and counts the lines that are
/// waited for. Unlike the engine's log this has a line before it is complete.
pub(super) async fn attach(
    connected: &Connected,
    id: &str,
    path: &Path,
    limit_bytes: u64,
    mut lines: LineWatch,
) -> Result<(), EngineError> {
    let options = AttachContainerOptions {
        stream: true,
        stdout: true,
        stderr: true,
        ..AttachContainerOptions::default()
    };
    let attached = connected.client.attach_container(id, Some(options)).await;
    let mut pieces = attached
        .map_err(|error| {
            EngineError::from_client(error, "attach to a container", &connected.address)
        })?
        .output;
    let path = path.to_owned();
    tokio::spawn(async move {
        let Ok(mut log) = CappedLog::open(&path, limit_bytes) else {
            return;
        };
        // What is missed here is fetched when the container ends.
        while let Some(Ok(piece)) = pieces.next().await {
            log.append(piece.as_ref());
            lines.feed(piece.as_ref());
        }
    });
    Ok(())
}

/// Which part of a log is asked for.
struct Part {
    /// The last ones; `None` = all that the engine has.
    lines: Option<usize>,
    /// Entries up to this one are known.
    after: Option<Nanoseconds>,
    /// Whether it goes on until the container ends.
    follow: bool,
}

impl Part {
    /// Whether somebody goes on from it. A time with every entry costs as much as the entry.
    fn is_timed(&self) -> bool {
        self.lines.is_some() || self.follow
    }

    /// Appends it to `path`; returns the time of the last entry.
    async fn copy(
        &self,
        connected: &Connected,
        id: &str,
        path: &Path,
        limit_bytes: u64,
    ) -> Result<Option<Nanoseconds>, EngineError> {
        let options = LogsOptions {
            follow: self.follow,
            stdout: true,
            stderr: true,
            timestamps: self.is_timed(),
            since: self.after.map_or(0, moment::whole_seconds),
            tail: self.lines.map_or("all".to_owned(), |n| n.to_string()),
            ..LogsOptions::default()
        };
        let mut entries = connected.client.logs(id, Some(options));
        let mut last = None;
        let Ok(mut log) = CappedLog::open(path, limit_bytes) else {
            return Ok(None);
        };
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| {
                EngineError::from_client(error, "read a log", &connected.address)
            })?;
            let (at, text) = match self.is_timed() {
                true => timed(entry.as_ref()),
                false => (None, entry.as_ref()),
            };
            // The engine counts in whole seconds where we count in nanoseconds.
            if at.is_none() || at > self.after {
                log.append(text);
            }
            last = at.or(last);
        }
        Ok(last)
    }
}

/// The time and the text of an entry.
fn timed(entry: &[u8]) -> (Option<Nanoseconds>, &[u8]) {
    let space = entry.iter().position(|byte| *byte == b' ');
    let parts = space.and_then(|space| {
        let time = std::str::from_utf8(entry.get(..space)?).ok()?;
        Some((moment::nanoseconds(time)?, entry.get(space + 1..)?))
    });
    parts.map_or((None, entry), |(at, text)| (Some(at), text))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    // Of a command that was killed.
    let _ = fs::remove_file(&beside);
    beside
}

fn replace(beside: &Path, path: &Path) -> io::Result<()> {
    use crate::backend::log_file::older;
    match fs::rename(older(beside), older(path)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_its_time_and_its_text() {
        let second = 1_000_000_000;
        assert_eq!(
            timed(b"1970-01-01T00:00:02.000000007Z a line\n"),
            (Some(2 * second + 7), &b"a line\n"[..])
        );
        assert_eq!(
            timed(b"1970-01-01T00:00:02Z "),
            (Some(2 * second), &b""[..])
        );
        for untimed in [&b"a line\n"[..], b"", b" ", b"\xff\xfe x"] {
            assert_eq!(timed(untimed), (None, untimed));
        }
    }
}

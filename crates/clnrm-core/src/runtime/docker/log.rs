//! The log of a container: kept by the engine while it lives, and in the instance's folder afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::engine::Connected;
use super::error::EngineError;
use crate::runtime::log_file::CappedLog;

/// Lines that are asked for at most, counted from the end.
const MOST_LINES: &str = "1000000";

/// Writes what the container has printed so far into `path`, in place of what is there; returns how much that was.
pub(super) async fn fetch(
    connected: &Connected,
    id: &str,
    path: &Path,
    limit_bytes: u64,
) -> Result<u64, EngineError> {
    let beside = beside(path);
    let stream = Stream::of(connected, id, false);
    let written = stream.copy(&beside, limit_bytes, 0).await?;
    // Best effort: on a full disk the log is lost, the container must still end.
    let _ = replace(&beside, path);
    Ok(written)
}

/// Brings `path` up to date and appends what comes, until the container ends or `cancel`.
pub(super) async fn follow(
    connected: &Connected,
    id: &str,
    path: &Path,
    limit_bytes: u64,
    cancel: &CancellationToken,
) -> Result<(), EngineError> {
    let fetched = fetch(connected, id, path, limit_bytes).await?;
    // The engine tells a log from its beginning; what was fetched comes again first.
    let stream = Stream::of(connected, id, true);
    let copied = cancel
        .run_until_cancelled(stream.copy(path, limit_bytes, fetched))
        .await;
    copied.unwrap_or(Ok(0)).map(drop)
}

pub(super) fn follow_in_background(connected: &Connected, id: &str, path: &Path, limit_bytes: u64) {
    let (connected, id, path) = (connected.clone(), id.to_owned(), path.to_owned());
    tokio::spawn(async move {
        // What is missed here is fetched when the container ends.
        let _ = follow(
            &connected,
            &id,
            &path,
            limit_bytes,
            &CancellationToken::new(),
        )
        .await;
    });
}

/// The log of one container, as the engine tells it.
struct Stream<'a> {
    connected: &'a Connected,
    id: &'a str,
    /// Whether it goes on until the container ends.
    follow: bool,
}

impl<'a> Stream<'a> {
    fn of(connected: &'a Connected, id: &'a str, follow: bool) -> Self {
        Self {
            connected,
            id,
            follow,
        }
    }

    /// Appends all but the first `skipped` bytes to `path`; returns how many there were in all.
    async fn copy(&self, path: &Path, limit_bytes: u64, skipped: u64) -> Result<u64, EngineError> {
        let options = LogsOptions {
            follow: self.follow,
            stdout: true,
            stderr: true,
            tail: MOST_LINES.to_owned(),
            ..LogsOptions::default()
        };
        let mut pieces = self.connected.client.logs(self.id, Some(options));
        let Ok(mut log) = CappedLog::open(path, limit_bytes) else {
            return Ok(0);
        };
        let mut seen: u64 = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                EngineError::from_client(error, "read a log", &self.connected.address)
            })?;
            let bytes = piece.as_ref();
            let known = usize::try_from(skipped.saturating_sub(seen)).unwrap_or(usize::MAX);
            log.append(bytes.get(known..).unwrap_or_default());
            seen += bytes.len() as u64;
        }
        Ok(seen)
    }
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
    use crate::runtime::log_file::older;
    match fs::rename(older(beside), older(path)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::rename(beside, path)
}

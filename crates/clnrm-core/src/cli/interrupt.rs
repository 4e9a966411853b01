//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly end, a later one for an end without any grace.
//!
//! Terminals, npm and make deliver one Ctrl-C twice, and some CI sends SIGINT and SIGTERM together: what comes within
//! [`ONE_SIGNAL`] is one signal.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{CliError, CommandFailure};

/// Signals within this time are one.
const ONE_SIGNAL: Duration = Duration::from_secs(1);
/// What the end without grace takes at most; whoever signals after it is not kept waiting any longer.
const HURRIED_END: Duration = Duration::from_secs(5);
/// What ends a command, with the numbers that Linux gives it on every architecture that clnrm supports.
const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Asks running work to end when a signal comes.
#[derive(Debug, Clone)]
pub(super) struct Interrupt {
    /// Cancelled by the first signal.
    pub(super) token: CancellationToken,
    /// Cancelled by a later second one: nobody gets time to end by himself any more.
    pub(super) hurry: CancellationToken,
    received: Arc<AtomicU8>,
}

impl Interrupt {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP. A SIGHUP that was ignored from the start (`nohup`) stays ignored.
    pub(super) fn listen() -> Result<Self, CliError> {
        let interrupt = Self {
            token: CancellationToken::new(),
            hurry: CancellationToken::new(),
            received: Arc::default(),
        };
        let listen = |number: u8| {
            signal(SignalKind::from_raw(number.into())).map_err(|source| CommandFailure::System {
                what: "listen for signals",
                source,
            })
        };
        let ignores_hangup =
            fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored_in(&status, SIGHUP));
        let hangup = (!ignores_hangup).then(|| listen(SIGHUP)).transpose()?;
        let (interrupts, terminates) = (listen(SIGINT)?, listen(SIGTERM)?);
        tokio::spawn(interrupt.clone().watch(interrupts, terminates, hangup));
        Ok(interrupt)
    }

    /// The number of the first signal that came.
    pub(super) fn signal(&self) -> Option<u8> {
        match self.received.load(Ordering::Acquire) {
            0 => None,
            number => Some(number),
        }
    }

    /// The name of the first signal that came.
    pub(super) fn name(&self) -> Option<&'static str> {
        Some(match self.signal()? {
            SIGHUP => "SIGHUP",
            SIGINT => "SIGINT",
            _ => "SIGTERM",
        })
    }

    async fn watch(self, mut interrupts: Signal, mut terminates: Signal, hangup: Option<Signal>) {
        let mut hangup = hangup;
        let mut asked = Asked::Nothing;
        loop {
            let number = tokio::select! {
                _ = interrupts.recv() => SIGINT,
                _ = terminates.recv() => SIGTERM,
                () = next(&mut hangup) => SIGHUP,
            };
            let before = asked;
            asked = before.again(Instant::now());
            match (before, asked) {
                (Asked::Nothing, _) => {
                    self.received.store(number, Ordering::Release);
                    self.token.cancel();
                }
                (Asked::ToEnd(_), Asked::ToHurry(_)) => self.hurry.cancel(),
                // Everything that runs is on record: the next command ends what this one leaves.
                (_, Asked::ToLeave) => {
                    std::process::exit(128 + i32::from(self.signal().unwrap_or(number)))
                }
                _ => {}
            }
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// What the signals so far ask for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    ToEnd(Instant),
    ToHurry(Instant),
    ToLeave,
}

impl Asked {
    fn again(self, now: Instant) -> Self {
        match self {
            Self::Nothing => Self::ToEnd(now),
            Self::ToEnd(since) if now - since >= ONE_SIGNAL => Self::ToHurry(now),
            Self::ToHurry(since) if now - since >= HURRIED_END => Self::ToLeave,
            asked => asked,
        }
    }
}

/// Whether a process with this `/proc/[pid]/status` ignores a signal.
fn ignored_in(status: &str, number: u8) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked after signals at these milliseconds.
    fn after(signals_ms: &[u64]) -> Asked {
        let start = Instant::now();
        let at = |ms: &u64| start + Duration::from_millis(*ms);
        signals_ms.iter().map(at).fold(Asked::Nothing, Asked::again)
    }

    #[test]
    fn signals_within_a_second_are_one() {
        for signals in [&[0][..], &[0, 5], &[0, 300, 600, 999]] {
            assert!(matches!(after(signals), Asked::ToEnd(_)), "{signals:?}");
        }
        for signals in [&[0, 1000][..], &[0, 5, 1200], &[0, 1200, 1205, 3000, 6100]] {
            assert!(matches!(after(signals), Asked::ToHurry(_)), "{signals:?}");
        }
        assert_eq!(after(&[0, 1000, 6000]), Asked::ToLeave);
    }

    #[test]
    fn an_ignored_signal_is_a_bit_of_the_kernels_mask() {
        let status = "Name:\tclnrm\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignored_in(status, SIGHUP));
        assert!(!ignored_in(status, SIGINT));
        assert!(!ignored_in("Name:\tclnrm\n", SIGHUP));
    }
}

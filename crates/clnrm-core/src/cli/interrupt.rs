//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second does not wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::CliError;

/// Asks running work to end when a signal comes.
#[derive(Debug, Clone)]
pub(super) struct Interrupt {
    /// Cancelled by the first signal.
    pub(super) token: CancellationToken,
    received: Arc<AtomicU8>,
}

impl Interrupt {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP.
    pub(super) fn listen() -> Result<Self, CliError> {
        let interrupt = Self {
            token: CancellationToken::new(),
            received: Arc::default(),
        };
        for (kind, number) in [
            (SignalKind::interrupt(), 2),
            (SignalKind::terminate(), 15),
            (SignalKind::hangup(), 1),
        ] {
            let stream = signal(kind).map_err(|source| CliError::System {
                what: "listen for signals",
                source,
            })?;
            tokio::spawn(interrupt.clone().watch(stream, number));
        }
        Ok(interrupt)
    }

    /// The number of the signal that came.
    pub(super) fn signal(&self) -> Option<u8> {
        match self.received.load(Ordering::Acquire) {
            0 => None,
            number => Some(number),
        }
    }

    /// The name of the signal that came.
    pub(super) fn name(&self) -> Option<&'static str> {
        Some(match self.signal()? {
            1 => "SIGHUP",
            2 => "SIGINT",
            _ => "SIGTERM",
        })
    }

    async fn watch(self, mut stream: Signal, number: u8) {
        while stream.recv().await.is_some() {
            if self.received.swap(number, Ordering::AcqRel) != 0 {
                // Everything that runs is on record: the next command ends what this one leaves.
                std::process::exit(128 + i32::from(number));
            }
            self.token.cancel();
        }
    }
}

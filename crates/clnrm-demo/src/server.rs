//! A small real HTTP server: listens, serves connections, ends gracefully. What it answers is in `routes`.
//!
//! Deliberately absent: any address but loopback, TLS, configuration, state that outlives the process.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::routes::{OpenConnection, State, answer};

/// Connections served at once; the next ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// How long requests in flight may take to finish after the signal to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which is usually a lack of file descriptors: an instant retry would spin.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How the server is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeOptions {
    /// Port on 127.0.0.1; 0 = chosen by the kernel.
    pub port: u16,
    /// Most memory that requests can make it hold, in MB (10⁶ bytes). The oldest is dropped first.
    pub memory_limit_mb: u32,
    /// The present moment, since 1970: what it says of its own start.
    pub started_at: Duration,
}

/// Why the server could not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken or not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        source: io::Error,
    },
    /// Nobody reads the line that names the address.
    #[error("cannot announce that the server listens on {address}")]
    Announce {
        address: SocketAddr,
        source: io::Error,
    },
}

/// Serves until `shutdown` completes, then lets requests in flight finish.
///
/// Writes one line to `announce` once connections are accepted: `listening on 127.0.0.1:PORT`.
pub async fn serve(
    options: ServeOptions,
    mut announce: impl Write,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let server = Server::bind(options).await?;
    let address = server.address();
    writeln!(announce, "listening on {address}")
        .and_then(|()| announce.flush())
        .map_err(|source| ServeError::Announce { address, source })?;
    server.run(shutdown).await;
    Ok(())
}

/// Completes on SIGTERM or SIGINT, which are caught from this call on.
pub fn termination_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// A server that listens already.
#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    pub(super) async fn bind(options: ServeOptions) -> Result<Self, ServeError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listen_error = |source| ServeError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let memory_limit_bytes = options.memory_limit_mb as usize * 1_000_000;
        Ok(Self {
            listener,
            address,
            state: Arc::new(State::new(options.started_at, memory_limit_bytes)),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let stopping = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let Ok((stream, _)) = accepted else {
                sleep(ACCEPT_RETRY_PAUSE).await;
                continue;
            };
            let connection = serve_connection(stream, Arc::clone(&self.state), stopping.clone());
            connections.spawn(async move {
                let _permit = permit;
                connection.await;
            });
        }
        drop(self.listener);
        stopping.cancel();
        let finished = async { while connections.join_next().await.is_some() {} };
        // Whoever has not finished by now is cut off when the set is dropped.
        let _ = timeout(SHUTDOWN_GRACE, finished).await;
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>, stopping: CancellationToken) {
    let _open = OpenConnection::new(&state);
    // Without it an answer can wait 40 ms for the client's delayed ACK; the server works just as well when it cannot be set.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(Arc::clone(&state), request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
    );
    // An error here means that the client broke off or sent no HTTP: its loss, and nothing to answer to.
    let _ = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

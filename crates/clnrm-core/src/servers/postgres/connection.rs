//! A session with PostgreSQL. Deliberately absent: TLS.

use std::io;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};

use crate::servers::kind::Server;

/// Why there is no session.
#[derive(Debug, Error)]
#[error(transparent)]
pub(super) enum ConnectError {
    Io(#[from] io::Error),
    Postgres(#[from] tokio_postgres::Error),
}

/// A session; it ends with this value.
pub(super) struct Session {
    pub(super) client: Client,
    /// Such as `15.18 (Debian …)`.
    pub(super) server_version: Option<String>,
    _connection: JoinSet<()>,
}

impl Session {
    /// `opened` is called before anything is said.
    pub(super) async fn open(
        server: &Server<'_>,
        database: &str,
        opened: impl FnOnce(&TcpStream) + Send,
    ) -> Result<Self, ConnectError> {
        let mut config = Config::new();
        config
            .user(server.setting("user").unwrap_or_default())
            .dbname(database)
            .application_name("clnrm");
        if let Some(password) = server.setting("password") {
            config.password(password);
        }
        let stream = TcpStream::connect(server.address).await?;
        opened(&stream);
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        let server_version = connection.parameter("server_version").map(str::to_owned);
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its errors reach whoever uses the client.
            let _ = connection.await;
        });
        Ok(Self {
            client,
            server_version,
            _connection: driver,
        })
    }
}

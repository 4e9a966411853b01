//! What a backend is asked to start, and what it makes of that before it does anything.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::error::BackendError;
use super::instance::{InstancePlace, Running};
use super::names::NetworkNames;
use super::pull::OnPull;
use crate::clock::Timestamp;
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::{Bindings, PlaceholderError, Where};
use crate::procfs::ProcessIdentity;

/// What an instance with an inside calls itself when it listens.
pub const ANY_ADDRESS: &str = "0.0.0.0";

/// An instance to be started.
#[derive(Debug)]
pub struct StartOrder<'a> {
    /// Its id, and the folder that it will have.
    pub place: InstancePlace,
    pub definition: &'a ServiceDefinition,
    /// The run that wants it; `None` = scaling or a restart.
    pub run: Option<String>,
    /// The command that starts it.
    pub owner: &'a ProcessIdentity,
    pub now: Timestamp,
    /// The environment that this command was given.
    pub environment: &'a BTreeMap<String, String>,
    /// This binary, and the ready instances of the services that it depends on.
    pub bindings: Bindings,
    /// How it and the others of its file find each other.
    pub names: NetworkNames,
    /// Ports to take again where they are free.
    pub preferred: Option<Where>,
    /// Ports of this machine that live instances were given.
    pub taken_ports: Vec<u16>,
    /// For the choice of ports.
    pub seed: u64,
}

/// What will be started, and where it will be, as far as that is known.
#[derive(Debug)]
pub struct Intent {
    /// Its own values and its neighbours'.
    pub bindings: Bindings,
    /// Its environment, without what was inherited.
    pub env: BTreeMap<String, String>,
    /// Does it.
    pub deed: Box<dyn Deed>,
}

/// The start itself, with everything chosen and filled in.
#[async_trait]
pub trait Deed: fmt::Debug + Send + Sync {
    /// Starts the instance; it runs when this returns, and need not be ready. It lives on when this process ends.
    async fn start(
        self: Box<Self>,
        on_pull: &OnPull,
        cancel: &CancellationToken,
    ) -> Result<Running, BackendError>;
}

/// Why a start cannot even be prepared.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// A port that the file fixes is in use.
    #[error("port {port} is taken")]
    PortTaken { port: u16 },
    /// No port is free.
    #[error("no port of 127.0.0.1 is free")]
    NoFreePort,
    /// A placeholder has no value.
    #[error("its definition cannot be filled in")]
    Placeholder(#[from] PlaceholderError),
    /// The backend has its reasons.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

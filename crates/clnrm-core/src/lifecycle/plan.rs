//! What is to be started, as whoever wants it says.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::backend::{NetworkNames, OnPull};
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::Where;
use crate::store::{RunId, ServiceId};

/// What to start.
#[derive(Debug, Clone)]
pub struct StartPlan<'a> {
    pub service: ServiceId,
    pub definition: &'a ServiceDefinition,
    /// The run that wants it; `None` = scaling or a restart.
    pub run: Option<RunId>,
    /// Ready instances of the services that it depends on, by name.
    pub neighbours: &'a BTreeMap<String, Where>,
    /// How it and the others of its file find each other, where they have an inside.
    pub names: NetworkNames,
    /// Ports to take again where they are free (a restart).
    pub preferred: Option<Where>,
    /// Gives the start up.
    pub cancel: CancellationToken,
    /// Told when an image is pulled.
    pub on_pull: OnPull,
}

//! What there is to know of a kind of server.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::config::definition::{ServerForm, ServerSpec};
use crate::metrics::{MetricsSource, OwnConnections};

/// A kind of server: all that the rest of clnrm asks of its folder.
pub(crate) struct ServerKind {
    /// What test files may say of it.
    pub(crate) form: ServerForm,
    /// Where its own numbers are read. The source tells [`OwnConnections`] of every connection before it says anything
    /// over it, and takes what clnrm's own questions add off what the server counts.
    pub(crate) source: MakeSource,
    /// `None` = only commands of the test file can make a used one clean.
    pub(crate) cleaner: Option<&'static dyn Cleaner>,
}

pub(crate) type MakeSource =
    fn(&Server<'_>, OwnConnections, Arc<dyn Clock>) -> Box<dyn MetricsSource>;

impl fmt::Debug for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form.name)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Server<'a> {
    /// Host and port; empty where a full URL is asked.
    pub(crate) address: &'a str,
    pub(crate) spec: &'a ServerSpec,
}

impl<'a> Server<'a> {
    pub(crate) fn setting(&self, key: &str) -> Option<&'a str> {
        self.spec.setting(key)
    }
}

/// Makes used servers of a kind as they were when they were fresh, and shows that they are. Errors are sentences of which
/// "its reset failed:" stands before.
#[async_trait]
pub(crate) trait Cleaner: Sync {
    /// Prepares in a fresh server what a later reset takes.
    async fn remember(&self, _server: &Server<'_>) -> Result<(), String> {
        Ok(())
    }

    async fn reset(&self, server: &Server<'_>) -> Result<(), String>;

    /// A text that is the same whenever the server is as it was when it was fresh.
    async fn verify(&self, server: &Server<'_>) -> Result<String, String>;

    /// Both; an error says which of them failed.
    async fn reset_and_verify(
        &self,
        server: &Server<'_>,
    ) -> Result<String, (&'static str, String)> {
        self.reset(server)
            .await
            .map_err(|problem| ("reset", problem))?;
        self.verify(server)
            .await
            .map_err(|problem| ("verify", problem))
    }

    /// Whether a verification that gave this output of a fresh server shows what a reset of the file's own leaves behind:
    /// the built-in ones count and measure, and do not read contents.
    fn proves_other_resets(&self, fresh: &str) -> bool;
}

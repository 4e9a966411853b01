//! What a backend says went wrong, in its own words.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What it means to whoever asked, whatever the backend calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It was asked, and did not do it.
    Refused,
    /// Nobody was reached who could be asked.
    Unreachable,
    /// A port that the instance was to have is somebody else's.
    PortTaken,
    /// The caller wanted it no more.
    GivenUp,
}

/// An error of one backend. It reads as the backend's own, and so do its sources.
#[derive(Clone)]
pub struct BackendError {
    source: Arc<dyn Error + Send + Sync>,
    kind: ErrorKind,
    hint: Option<String>,
}

impl BackendError {
    /// Wraps an error of the backend's own; `hint` is the way out, where one is known.
    pub fn new(
        source: impl Error + Send + Sync + 'static,
        kind: ErrorKind,
        hint: Option<String>,
    ) -> Self {
        Self {
            source: Arc::new(source),
            kind,
            hint,
        }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The way out, where one is known.
    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl fmt::Debug for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Two that say the same are the same.
impl PartialEq for BackendError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.to_string() == other.to_string()
    }
}

impl Eq for BackendError {}

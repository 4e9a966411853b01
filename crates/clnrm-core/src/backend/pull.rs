//! How far an image is on its way here, for whoever waits for it.

use std::fmt;
use std::sync::Arc;

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    pub image: String,
    /// Bytes downloaded so far, as far as the engine tells.
    pub downloaded_bytes: u64,
}

/// Told how a pull goes on.
#[derive(Clone, Default)]
pub struct OnPull(Option<Arc<dyn Fn(PullProgress) + Send + Sync>>);

impl OnPull {
    /// Calls `tell` for every step of a pull.
    pub fn new(tell: impl Fn(PullProgress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(super) fn tell(&self, progress: PullProgress) {
        if let Some(tell) = &self.0 {
            tell(progress);
        }
    }
}

impl fmt::Debug for OnPull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnPull").finish_non_exhaustive()
    }
}

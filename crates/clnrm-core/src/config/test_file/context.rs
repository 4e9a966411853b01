//! What a test file is read with.

use std::path::Path;

use crate::config::definition::ServerForm;
use crate::services::service_manager::AutoScaleConfig;

/// What a test file is read with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The path as it was given.
    pub(crate) file: &'a Path,
    /// Its folder, absolute.
    pub(crate) base_dir: &'a Path,
    /// The same from the project's root on; absolute where it lies elsewhere.
    pub(crate) folder: &'a Path,
    /// `scale` of a service that says nothing else.
    pub(crate) scale_defaults: &'a AutoScaleConfig,
    /// Kinds of servers that `metrics` may name.
    pub(crate) servers: &'a [&'a ServerForm],
}

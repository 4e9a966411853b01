//! Instances that are containers of a Docker Engine, or of whatever speaks its API.

pub mod engine;
pub mod error;

pub use engine::Engine;
pub use error::EngineError;

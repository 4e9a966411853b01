//! Pure data types and decisions: measurements in, decisions with their reasons out.
//!
//! Deliberately absent: async, files, network, environment, clock, randomness, logging.

pub mod autoscale;
pub mod history;
pub mod metrics;

pub use autoscale::AutoScaleConfig;
pub use history::{Rollup, Summary, Tier};
pub use metrics::{Metric, NotFinite, ServiceMetrics};

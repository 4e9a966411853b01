//! What is asked of a pass.

use std::time::Duration;

use crate::config::project::CostRates;

#[derive(Debug, Clone)]
pub struct ManageOptions {
    /// Decide about scaling and, without `dry_run`, carry it out.
    pub auto_scale: bool,
    pub predict_load: bool,
    /// Advise on pools and allotments.
    pub optimize_resources: bool,
    pub horizon: Duration,
    /// Do nothing but say what would be done.
    pub dry_run: bool,
    /// Names or patterns; empty = every service.
    pub selection: Vec<String>,
    pub cost: CostRates,
}

impl ManageOptions {
    /// Whether anything may be started or stopped.
    pub fn acts(&self) -> bool {
        self.auto_scale && !self.dry_run
    }
}

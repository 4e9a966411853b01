//! What a service manager is told about a service.

use super::autoscale::{AutoScaleConfig, Fleet};
use super::cost::Allotment;
use super::health::HealthLimits;
use super::history::MetricsHistory;
use super::memory::LimitedMemory;
use super::pool::PoolReport;

/// One service: histories, pools, actions and configuration in.
#[derive(Debug, Clone)]
pub struct ManagedService<'a> {
    pub name: &'a str,
    pub history: &'a MetricsHistory,
    /// Its thresholds and limits for scaling.
    pub scale: &'a AutoScaleConfig,
    /// What its health is held against.
    pub limits: HealthLimits,
    /// What it is given and what that costs.
    pub allotment: Allotment,
    /// Its instances, and what was done about their number.
    pub fleet: Fleet,
    /// The memory that each is let have.
    pub memory: LimitedMemory,
    /// Its instances as a pool; `None` = that was not looked at.
    pub pool: Option<PoolReport>,
}

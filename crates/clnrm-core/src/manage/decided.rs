//! A service on its way through a pass.

use std::sync::Arc;

use crate::backend::Condition;
use crate::config::project::CostRates;
use crate::lifecycle::recover::Conditions;
use crate::services::service_manager::{Assessment, ServiceManager, Sources};
use crate::store::{ActionId, DecisionId, InstanceId, InstanceRow, LeaseRow, ServiceRow};

/// Everything about one service, before anything is done.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) row: ServiceRow,
    pub(super) live: Vec<InstanceRow>,
    pub(super) assessment: Assessment,
    /// Names the decision, where it was recorded to be carried out.
    pub(super) decision: Option<DecisionId>,
    /// The newest action that the decision took into account.
    pub(super) last_action: Option<ActionId>,
    pub(super) sources: Option<Sources>,
    /// The instances that do not serve.
    pub(super) impaired: Vec<(InstanceId, Condition)>,
}

/// A service that is to be decided about.
pub(super) struct Undecided {
    pub(super) row: ServiceRow,
    pub(super) live: Vec<InstanceRow>,
    pub(super) sources: Option<Sources>,
}

/// What all decisions of one pass share.
#[derive(Clone)]
pub(super) struct Decider {
    pub(super) leases: Arc<Vec<LeaseRow>>,
    pub(super) manager: ServiceManager,
    pub(super) cost: CostRates,
    pub(super) conditions: Arc<Conditions>,
}

/// What a task answered; its panic goes on here.
pub(super) fn finished<T>(answer: Result<T, tokio::task::JoinError>) -> T {
    answer.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

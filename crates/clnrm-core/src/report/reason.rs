//! Why a test did not pass, in one sentence with its cause.

use std::borrow::Cow;

use crate::runner::result::{StepStatus, TestReport};

/// The test's own reason and, where that only names a step or service, what happened there.
pub(super) fn reason(test: &TestReport) -> Cow<'_, str> {
    let cause = service(test).or_else(|| step(test));
    match (&test.reason, cause) {
        (Some(reason), Some((_, cause))) if !reason.contains(cause) && is_of_part(reason) => {
            Cow::Owned(format!("{reason}: {cause}"))
        }
        (Some(reason), _) => Cow::Borrowed(reason),
        (None, Some((part, cause))) => Cow::Owned(format!("{part}: {cause}")),
        (None, None) => Cow::Borrowed(""),
    }
}

fn service(test: &TestReport) -> Option<(String, &str)> {
    let failure = test.service_failures.first()?;
    Some((format!("service {}", failure.service), &failure.message))
}

fn step(test: &TestReport) -> Option<(String, &str)> {
    let mut failed = (test.steps.iter()).filter(|step| step.status == StepStatus::Failed);
    failed.find_map(|step| Some((format!("step {}", step.name), step.reason.as_deref()?)))
}

/// "step `a` failed", "service `b` did not start": the cause is not said yet.
fn is_of_part(reason: &str) -> bool {
    reason.starts_with("step `") || reason.starts_with("service `")
}

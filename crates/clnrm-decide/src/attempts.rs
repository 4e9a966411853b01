//! The verdict over two attempts of a test: one on instances that other tests had used, and one on fresh ones.

use serde::{Deserialize, Serialize};

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestStatus {
    Passed,
    /// A step or an assertion failed.
    Failed,
    /// A service failed, or the test could not be run.
    Error,
    /// Not run.
    Skipped,
    /// It failed on instances that other tests had used, and passed on fresh ones.
    Contaminated,
}

impl TestStatus {
    /// Whether it was run, and not to its good end.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Error | Self::Contaminated)
    }
}

/// What two attempts say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptsVerdict {
    /// It is the test: what the second attempt says stands.
    Confirmed,
    /// What the first failed of is known and stands; the second could not be made.
    NotMadeAgain,
    /// An instance ended under the first, which says nothing of who had used it before.
    InstanceEnded,
    /// Whoever used the instances before spoiled them.
    Contaminated,
}

/// What a first attempt that did not pass on used instances and a second one on fresh ones say together.
/// `an_instance_ended` = under the first.
pub const fn over_two_attempts(
    first: TestStatus,
    an_instance_ended: bool,
    second: TestStatus,
) -> AttemptsVerdict {
    match (first, second, an_instance_ended) {
        (_, TestStatus::Passed, true) => AttemptsVerdict::InstanceEnded,
        (_, TestStatus::Passed, false) => AttemptsVerdict::Contaminated,
        (TestStatus::Failed, TestStatus::Error, _) => AttemptsVerdict::NotMadeAgain,
        _ => AttemptsVerdict::Confirmed,
    }
}

impl AttemptsVerdict {
    /// How the test ended, after attempts that ended so.
    pub const fn status(self, first: TestStatus, second: TestStatus) -> TestStatus {
        match self {
            Self::Confirmed => second,
            Self::NotMadeAgain => first,
            Self::InstanceEnded => TestStatus::Error,
            Self::Contaminated => TestStatus::Contaminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TestStatus::{Contaminated, Error, Failed, Passed, Skipped};
    use super::*;

    #[test]
    fn every_pair_of_attempts_has_its_verdict() {
        use AttemptsVerdict as Verdict;
        // first, whether an instance ended under it, second, the verdict, the status of the test
        for (first, ended, second, verdict, status) in [
            (Failed, false, Passed, Verdict::Contaminated, Contaminated),
            (Error, false, Passed, Verdict::Contaminated, Contaminated),
            (Failed, true, Passed, Verdict::InstanceEnded, Error),
            (Error, true, Passed, Verdict::InstanceEnded, Error),
            (Failed, false, Failed, Verdict::Confirmed, Failed),
            (Failed, true, Failed, Verdict::Confirmed, Failed),
            (Error, false, Failed, Verdict::Confirmed, Failed),
            (Failed, false, Error, Verdict::NotMadeAgain, Failed),
            (Failed, true, Error, Verdict::NotMadeAgain, Failed),
            (Error, false, Error, Verdict::Confirmed, Error),
            (Failed, false, Skipped, Verdict::Confirmed, Skipped),
            (Error, true, Skipped, Verdict::Confirmed, Skipped),
        ] {
            let found = over_two_attempts(first, ended, second);
            assert_eq!(found, verdict, "{first:?}, {ended}, {second:?}");
            assert_eq!(
                found.status(first, second),
                status,
                "{first:?}, {ended}, {second:?}"
            );
        }
    }
}

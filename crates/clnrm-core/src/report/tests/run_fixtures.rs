//! A run with every kind of outcome.

use std::path::PathBuf;
use std::time::Duration;

use super::{NOW, milliseconds};
use crate::backend::ExitStatus;
use crate::config::definition::ExpectedEnd;
use crate::lifecycle::stopped::LeakReport;
use crate::runner::cause::{
    SecondAttempt, StepReason, TestCause, TestReason, TextOf, Violation, WrongText,
};
use crate::runner::result::{
    Afterwards, InstanceOrigin, KeptService, Outcome, RunReport, RunSummary, ServiceFailure,
    ServiceUse, StepReport, StepStatus, Suspect, TestReport, TestStatus,
};

pub(super) fn step(name: &str, status: StepStatus, reason: Option<StepReason>) -> StepReport {
    StepReport {
        name: name.to_owned(),
        status,
        duration: milliseconds(12),
        attempts: 1,
        earlier_failure: None,
        reason: reason.map(Into::into),
        exit_code: None,
        http_status: None,
        output_tail: None,
    }
}

fn step_failed(step: &str) -> TestCause {
    let step = step.to_owned();
    TestReason::StepFailed { step }.into()
}

pub(super) fn wrong_code() -> StepReason {
    StepReason::WrongEnd {
        ended: ExitStatus::Code(1),
        expected: ExpectedEnd::Code(0),
    }
}

pub(super) fn passed() -> TestReport {
    TestReport {
        name: "cache".to_owned(),
        file: PathBuf::from("tests/cache.clnrm.toml"),
        status: TestStatus::Passed,
        duration: milliseconds(1_234),
        services: vec![ServiceUse {
            service: "redis".to_owned(),
            instance_id: "redis-1".to_owned(),
            origin: InstanceOrigin::Fresh,
            job: false,
            ended: None,
            warm: false,
            lease_ms: 9.25,
            verified_ms: None,
            ready_ms: 9,
            address: Some("127.0.0.1:40123".to_owned()),
            condition: None,
            afterwards: None,
        }],
        steps: vec![step("ping", StepStatus::Passed, None)],
        reason: None,
        suspects: Vec::new(),
        service_failures: vec![],
    }
}

pub(super) fn flaky() -> TestReport {
    TestReport {
        name: "flaky".to_owned(),
        steps: vec![StepReport {
            attempts: 2,
            earlier_failure: Some(wrong_code().into()),
            ..step("second time", StepStatus::Passed, None)
        }],
        services: vec![],
        ..passed()
    }
}

pub(super) fn failed() -> TestReport {
    let health = StepReport {
        attempts: 3,
        exit_code: Some(1),
        output_tail: Some("curl: (7)\n\n\u{1b}[31mrefused\u{1b}[0m <&\"]]>\0\n".to_owned()),
        ..step(
            "health #1",
            StepStatus::Failed,
            Some(StepReason::WrongText(WrongText {
                of: TextOf::Output,
                violation: Violation::DoesNotMatch,
                expected: "ok".to_owned(),
                cut: None,
                without_codes: false,
            })),
        )
    };
    TestReport {
        name: "api".to_owned(),
        file: PathBuf::from("./tests/api.clnrm.toml"),
        status: TestStatus::Failed,
        duration: milliseconds(2_100),
        services: vec![],
        steps: vec![
            step("warm up", StepStatus::Passed, None),
            health,
            step(
                "load",
                StepStatus::Skipped,
                Some(StepReason::EarlierStepFailed {
                    step: "health #1".to_owned(),
                }),
            ),
        ],
        reason: Some(step_failed("health #1")),
        suspects: Vec::new(),
        service_failures: vec![],
    }
}

pub(super) fn service_failure() -> ServiceFailure {
    ServiceFailure {
        service: "db".to_owned(),
        instance_id: Some("db-7".to_owned()),
        message: "it exited with code 1 before it was ready".to_owned(),
        hint: Some("is another server using its port?".to_owned()),
        log_tail: vec![
            "LOG: starting".to_owned(),
            "\u{1b}[31mFATAL\u{1b}[0m: port 5432 is taken".to_owned(),
        ],
        log_file: Some(PathBuf::from(".clnrm/instances/db-7/log")),
    }
}

pub(super) fn error() -> TestReport {
    TestReport {
        name: "database".to_owned(),
        file: PathBuf::from("tests/database.clnrm.toml"),
        status: TestStatus::Error,
        duration: milliseconds(310),
        services: vec![],
        steps: vec![step(
            "query",
            StepStatus::Skipped,
            Some(StepReason::ServicesNotStarted),
        )],
        reason: Some(
            TestReason::ServiceNotStarted {
                service: "db".to_owned(),
            }
            .into(),
        ),
        suspects: Vec::new(),
        service_failures: vec![service_failure()],
    }
}

pub(super) fn skipped() -> TestReport {
    TestReport {
        name: "slow".to_owned(),
        file: PathBuf::from("tests/slow.clnrm.toml"),
        status: TestStatus::Skipped,
        duration: Duration::ZERO,
        services: vec![],
        steps: vec![],
        reason: Some(TestReason::FailFast.into()),
        suspects: Vec::new(),
        service_failures: vec![],
    }
}

pub(super) fn contaminated() -> TestReport {
    let mut test = TestReport {
        status: TestStatus::Contaminated,
        reason: Some(TestCause {
            second_attempt: Some(SecondAttempt::Passed),
            ..step_failed("ping")
        }),
        steps: vec![step("ping", StepStatus::Failed, Some(wrong_code()))],
        suspects: vec![Suspect {
            test: "writer".to_owned(),
            run_id: Some("7".to_owned()),
            service: "redis".to_owned(),
            instance_id: "redis-1".to_owned(),
            leased_at: NOW,
        }],
        ..passed()
    };
    if let Some(used) = test.services.first_mut() {
        used.origin = InstanceOrigin::Reused;
        used.warm = true;
        used.lease_ms = 0.3;
        used.verified_ms = Some(0.5);
        used.afterwards = Some(Afterwards {
            outcome: Outcome::Quarantined,
            reason: Some("`cache` failed on it alone".to_owned()),
            cleaned_ms: None,
        });
    }
    test
}

pub(super) fn report(tests: Vec<TestReport>) -> RunReport {
    RunReport {
        schema: RunReport::SCHEMA.to_owned(),
        run_id: Some("r1".to_owned()),
        started_at: NOW,
        duration: milliseconds(4_200),
        summary: RunSummary::of(&tests),
        tests,
        kept: vec![],
        kept_earlier: vec![],
        leaks: LeakReport {
            processes_checked: 9,
            containers_checked: 0,
            unchecked: None,
            leaked: vec![],
        },
        interrupted_by: None,
    }
}

pub(super) fn everything() -> RunReport {
    RunReport {
        kept: vec![KeptService {
            service: "redis".to_owned(),
            address: Some("127.0.0.1:40123".to_owned()),
            warm_until: None,
        }],
        ..report(vec![passed(), failed(), error(), skipped()])
    }
}

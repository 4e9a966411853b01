//! The reports of `services status`, `stop`, `restart` and `logs`, and of `validate` and `init`.

use std::path::PathBuf;

use super::{NOW, milliseconds};
use crate::lifecycle::stopped::{LeakReport, StoppedInstance};
use crate::manage::status_report::{
    GuardStatus, InstanceStatus, Purpose, ReportedState, RestartReport, RestartedInstance,
    StatusReport, StopReport,
};
use crate::report::file_report::{CheckedFile, InitReport, ValidateReport};
use crate::report::human::tests::{PLAIN, VERBOSE, rendered};
use crate::report::human::{View, files, instances, logs};
use crate::report::log_report::{InstanceLog, LogReport};
use crate::report::style::Paint;

fn instance(service: &str, id: &str, state: ReportedState) -> InstanceStatus {
    InstanceStatus {
        service: service.to_owned(),
        id: id.to_owned(),
        state,
        runtime: "process".to_owned(),
        pid: Some(4_242),
        container_id: None,
        address: Some("127.0.0.1:40123".to_owned()),
        started_at: NOW - milliseconds(200_000),
        ready_ms: Some(9),
        exit: None,
        lease: None,
        purpose: None,
        memory_kills: None,
        log: Some(format!(".clnrm/instances/{id}/log")),
    }
}

fn status() -> StatusReport {
    let failed = InstanceStatus {
        pid: None,
        address: None,
        ready_ms: None,
        exit: Some("exit code 1".to_owned()),
        ..instance("database", "database-12", ReportedState::Failed)
    };
    let cache = InstanceStatus {
        purpose: Some(Purpose::Warm {
            until: NOW + milliseconds(900_000),
        }),
        ..instance("cache", "cache-1", ReportedState::Running)
    };
    StatusReport {
        schema: StatusReport::SCHEMA,
        instances: vec![cache, failed],
        guard: Some(GuardStatus { pid: 99 }),
    }
}

#[test]
fn the_table_is_aligned_and_leaves_out_empty_columns() {
    let text = rendered(|out| instances::status(out, &status(), NOW, PLAIN));
    insta::assert_snapshot!(text, @r#"
    SERVICE   ID           STATE    RUNS AS   ADDRESS          AGE    READY IN  WHY                   EXIT
    cache     cache-1      running  pid 4242  127.0.0.1:40123  3 min  9 ms      warm for 15 min more  -
    database  database-12  failed   -         -                3 min  -         -                     exit code 1
    pid 99 guards what is warm
    "#);
    let verbose = rendered(|out| instances::status(out, &status(), NOW, VERBOSE));
    assert!(verbose.ends_with("log of database-12: .clnrm/instances/database-12/log\n"));
}

#[test]
fn colour_does_not_move_the_columns() {
    let view = View {
        paint: Paint::new(true),
        verbose: false,
    };
    let coloured = rendered(|out| instances::status(out, &status(), NOW, view));
    let plain = rendered(|out| instances::status(out, &status(), NOW, PLAIN));
    assert_ne!(coloured, plain);
    let stripped: Vec<String> = crate::report::text::safe_lines(&coloured).collect();
    assert_eq!(stripped.join("\n"), plain.trim_end());
}

#[test]
fn no_instances_say_how_to_start_some() {
    let empty = StatusReport {
        schema: StatusReport::SCHEMA,
        instances: vec![],
        guard: None,
    };
    let text = rendered(|out| instances::status(out, &empty, NOW, PLAIN));
    assert_eq!(text, "No instances.\nStart some: clnrm run --keep tests/\n");
}

#[test]
fn stop_and_restart_name_every_instance() {
    let stopped = |id: &str, took_ms, killed| StoppedInstance {
        service: "cache".to_owned(),
        id: id.to_owned(),
        exit: Some("signal 9 (SIGKILL)".to_owned()).filter(|_| killed),
        took_ms,
        killed,
    };
    let report = StopReport {
        schema: StopReport::SCHEMA,
        stopped: vec![
            stopped("cache-1", 12, false),
            stopped("cache-2", 5_010, true),
        ],
        leaks: LeakReport {
            processes_checked: 2,
            containers_checked: 0,
            unchecked: None,
            leaked: vec![],
        },
    };
    let restart = RestartReport {
        schema: RestartReport::SCHEMA,
        restarted: vec![RestartedInstance {
            service: "cache".to_owned(),
            old_id: "cache-1".to_owned(),
            new_id: "cache-3".to_owned(),
            address: Some("127.0.0.1:40125".to_owned()),
            took_ms: 38,
        }],
    };
    let text = rendered(|out| {
        instances::stop(out, &report, PLAIN)?;
        instances::restart(out, &restart)
    });
    insta::assert_snapshot!(text, @r#"
    stopped cache (cache-1) in 12 ms
    stopped cache (cache-2) in 5.0 s: signal 9 (SIGKILL) (it ignored the stop signal and was killed after its grace period)
    0 leaked (2 processes checked)
    restarted cache: cache-1 → cache-3 at 127.0.0.1:40125 in 38 ms
    "#);
}

#[test]
fn several_logs_are_told_apart() {
    let log = |id: &str| InstanceLog {
        id: id.to_owned(),
        state: ReportedState::Running,
        file: PathBuf::from("log"),
        lines: vec!["\u{1b}[1mready\u{1b}[0m".to_owned()],
    };
    let mut report = LogReport {
        schema: LogReport::SCHEMA,
        service: "cache".to_owned(),
        instances: vec![log("cache-1")],
    };
    assert_eq!(rendered(|out| logs::logs(out, &report, PLAIN)), "ready\n");
    report.instances.push(log("cache-2"));
    assert_eq!(
        rendered(|out| logs::logs(out, &report, PLAIN)),
        "cache-1 | ready\ncache-2 | ready\n"
    );
}

#[test]
fn validate_shows_everything_that_is_wrong() {
    let good = CheckedFile {
        file: PathBuf::from("tests/api.clnrm.toml"),
        name: Some("api".to_owned()),
        services: 1,
        steps: 3,
        errors: vec![],
        warnings: vec!["services.docker: $DOCKER_HOST stays".to_owned()],
    };
    let bad = CheckedFile {
        file: PathBuf::from("tests/bad.clnrm.toml"),
        name: None,
        services: 0,
        steps: 0,
        errors: vec![
            "line 3: unknown key `comand`\n3 | comand = 1".to_owned(),
            "line 9: steps must not be empty".to_owned(),
        ],
        warnings: vec![],
    };
    let report = ValidateReport {
        schema: ValidateReport::SCHEMA,
        files: vec![good, bad],
    };
    let text = rendered(|out| files::validate(out, &report, PLAIN));
    insta::assert_snapshot!(text, @r#"
    OK    tests/api.clnrm.toml  (test api: 1 service, 3 steps)
          warning: services.docker: $DOCKER_HOST stays
    ERROR tests/bad.clnrm.toml
          line 3: unknown key `comand`
            3 | comand = 1
          line 9: steps must not be empty
    2 files: 1 valid, 1 invalid
    "#);
}

#[test]
fn init_says_what_to_do_next() {
    let report = InitReport {
        schema: InitReport::SCHEMA,
        file: PathBuf::from("first.clnrm.toml"),
        replaced: false,
    };
    assert_eq!(
        rendered(|out| files::init(out, &report)),
        "Wrote first.clnrm.toml\nRun it: clnrm run first.clnrm.toml\n"
    );
}

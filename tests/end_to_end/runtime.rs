//! The process runtime below the history: shims, trees, marks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clnrm_core::backend::process::Found;
use clnrm_core::backend::shim_protocol::ExitStatus;
use clnrm_core::backend::{
    CommandOutcome, CommandRequest, CommandResult, InstancePlace, NotReady, ProcessRuntime,
    ReadyContext, Running, StartError, StartRequest, Supervisor, TreeState, readiness::Probe,
    recovery, wait_until_ready,
};
use clnrm_core::config::definition::{StopSignal, StopSpec};
use clnrm_core::procfs::ProcessIdentity;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{clnrm, content, eventually, processes_with};

fn shim(instance: &Running) -> &ProcessIdentity {
    match &instance.supervisor {
        Supervisor::Shim(shim) => shim,
        Supervisor::Container(id) => panic!("a process has no container {id}"),
    }
}

fn runtime() -> ProcessRuntime {
    ProcessRuntime::new(clnrm().to_owned())
}

fn environment() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())])
}

fn request(dir: &Path, id: &str, script: &str) -> StartRequest {
    StartRequest {
        id: id.to_owned(),
        dir: dir.to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: environment(),
        working_dir: dir.to_owned(),
        stop: StopSpec {
            signal: StopSignal::Term,
            grace: Duration::from_millis(300),
        },
        log_limit_bytes: 1 << 20,
        log_patterns: Vec::new(),
    }
}

fn command(script: &str, timeout: Duration) -> CommandRequest {
    CommandRequest {
        id: "step".to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: environment(),
        working_dir: Some(std::env::temp_dir()),
        timeout,
    }
}

async fn run(script: &str, timeout: Duration) -> CommandResult {
    let request = command(script, timeout);
    runtime()
        .run_command(&request, &CancellationToken::new())
        .await
        .unwrap()
}

/// A number of seconds that no other test sleeps for: it names this test's processes.
fn unique_sleep(dir: &TempDir) -> String {
    let digits: String = dir
        .path()
        .to_string_lossy()
        .bytes()
        .map(|byte| char::from(b'0' + byte % 10))
        .collect();
    format!("86400.{digits}")
}

/// Descendants in another group, in another session, without environment, forked twice, and deaf to SIGTERM.
fn hiding_script(sleep: &str) -> String {
    format!(
        "setsid env -i sh -c \"trap '' TERM; (sleep {sleep} &) & exec sleep {sleep}\" & \
         (env -i sleep {sleep} &) & \
         sleep {sleep} & wait"
    )
}

#[tokio::test]
async fn a_tree_that_hides_in_every_way_is_ended_whole() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let name = format!("sleep {sleep}");
    let instance = runtime()
        .start(&request(dir.path(), "hider-1", &hiding_script(&sleep)))
        .await
        .unwrap();
    eventually("four sleepers", || match processes_with(&name).len() {
        5.. => Ok(()),
        found => Err(format!("{found} found")),
    })
    .await;
    assert!(matches!(
        ProcessRuntime::find(dir.path()).unwrap(),
        Found::Alive(_)
    ));

    let outcome = ProcessRuntime::stop(
        "hider-1",
        dir.path(),
        shim(&instance),
        &Duration::from_secs(1).into(),
    )
    .await
    .unwrap();

    assert_eq!(processes_with(&name), [0; 0]);
    assert!(outcome.killed, "one of them is deaf to SIGTERM");
    let exit = outcome.exit.unwrap();
    assert!(exit.requested);
    assert_eq!(
        ProcessRuntime::find(dir.path()).unwrap(),
        Found::Ended(exit)
    );
}

#[tokio::test]
async fn what_a_killed_shim_leaves_is_found_by_its_mark_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let name = format!("sleep {sleep}");
    let id = format!("orphan-{sleep}");
    let instance = runtime()
        .start(&request(dir.path(), &id, &hiding_script(&sleep)))
        .await
        .unwrap();
    eventually("the sleepers", || match processes_with(&name).len() {
        5.. => Ok(()),
        found => Err(format!("{found} found")),
    })
    .await;

    rustix_kill(shim(&instance).pid);
    eventually("the shim is dead", || {
        match ProcessRuntime::find(dir.path()).unwrap() {
            Found::Lost(_) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(
        processes_with(&name).len() >= 4,
        "they outlive their supervisor"
    );

    let ended = recovery::end_leftovers(&id, shim(&instance).pid)
        .await
        .unwrap();
    assert!(ended.len() >= 4, "{ended:?}");
    assert_eq!(processes_with(&name), [0; 0]);
}

fn rustix_kill(pid: i32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_service_that_daemonizes_stays_alive_until_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let mut instance = runtime()
        .start(&request(
            dir.path(),
            "daemon-1",
            &format!("setsid sleep {sleep} & exit 0"),
        ))
        .await
        .unwrap();
    instance
        .state
        .wait_for(|state| *state == TreeState::MainLeft)
        .await
        .unwrap();
    assert!(matches!(
        ProcessRuntime::find(dir.path()).unwrap(),
        Found::Alive(_)
    ));
    ProcessRuntime::stop(
        "daemon-1",
        dir.path(),
        shim(&instance),
        &Duration::from_secs(5).into(),
    )
    .await
    .unwrap();
    assert_eq!(processes_with(&format!("sleep {sleep}")), [0; 0]);
}

#[tokio::test]
async fn readiness_gives_up_at_once_when_the_process_dies() {
    let dir = tempfile::tempdir().unwrap();
    let instance = runtime()
        .start(&request(dir.path(), "dies-1", "echo broken; exit 3"))
        .await
        .unwrap();
    let failure = wait_until_ready(
        &runtime(),
        ReadyContext {
            place: InstancePlace {
                id: String::new(),
                dir: PathBuf::new(),
                container: None,
            },
            probes: vec![Probe::Tcp("127.0.0.1:1".to_owned())],
            timeout: Duration::from_secs(600),
            max_interval: Duration::from_millis(250),
            lines_seen: instance.lines_seen.clone(),
            state: instance.state.clone(),
            cancel: CancellationToken::new(),
        },
    )
    .await
    .unwrap_err();
    assert!(
        matches!(
            failure,
            NotReady::Died {
                status: ExitStatus::Code(3)
            }
        ),
        "{failure:?}"
    );
    let mut state = instance.state;
    state
        .wait_for(|state| matches!(state, TreeState::Ended(_)))
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(instance.log).unwrap(), "broken\n");
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut start = request(dir.path(), "absent-1", "");
    start.argv = vec!["no-such-program".to_owned()];
    let error = runtime().start(&start).await.unwrap_err();
    assert!(
        matches!(&error, StartError::CommandNotFound { program } if program == "no-such-program"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_command_ends_with_what_it_started_and_its_output_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let script = format!("setsid sleep {sleep} & echo out; echo err >&2; exit 7");
    let result = run(&script, Duration::from_secs(60)).await;
    assert_eq!(result.outcome, CommandOutcome::Exited(ExitStatus::Code(7)));
    assert_eq!(String::from_utf8(result.output).unwrap(), "out\nerr\n");
    assert_eq!(processes_with(&format!("sleep {sleep}")), [0; 0]);
}

#[tokio::test]
async fn a_command_is_ended_at_its_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let script = format!("trap '' TERM; echo begun; sleep {sleep}; sleep {sleep}");
    let result = run(&script, Duration::from_millis(200)).await;
    assert_eq!(result.outcome, CommandOutcome::TimedOut);
    assert_eq!(result.output, b"begun\n");
    assert_eq!(processes_with(&format!("sleep {sleep}")), [0; 0]);
}

#[tokio::test]
async fn output_beyond_the_limit_is_counted_and_dropped() {
    let result = run("head -c 20000000 /dev/zero", Duration::from_secs(60)).await;
    assert_eq!(result.outcome, CommandOutcome::Exited(ExitStatus::Code(0)));
    assert_eq!(
        result.output.len() as u64 + result.output_dropped,
        20_000_000
    );
    assert_eq!(
        result.output.len(),
        clnrm_core::backend::command::OUTPUT_LIMIT_BYTES
    );
}

#[tokio::test]
async fn a_command_that_is_cancelled_is_gone_when_its_outcome_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let begun = dir.path().join("begun");
    let cancel = CancellationToken::new();
    let request = command(
        &format!("echo x > {}; sleep {sleep}", begun.display()),
        Duration::from_secs(600),
    );
    let (result, ()) = tokio::join!(
        async { runtime().run_command(&request, &cancel).await.unwrap() },
        async {
            content(begun).await;
            cancel.cancel();
        }
    );
    assert_eq!(result.outcome, CommandOutcome::Cancelled);
    assert_eq!(processes_with(&format!("sleep {sleep}")), [0; 0]);
}

#[tokio::test]
async fn dropping_a_command_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let begun = dir.path().join("begun");
    let script = format!("echo x > {}; sleep {sleep}", begun.display());
    let running = tokio::spawn(async move {
        runtime()
            .run_command(
                &command(&script, Duration::from_secs(600)),
                &CancellationToken::new(),
            )
            .await
    });
    content(begun).await;
    running.abort();
    let name = format!("sleep {sleep}");
    eventually("the command is gone", || {
        match processes_with(&name).len() {
            0 => Ok(()),
            left => Err(format!("{left} left")),
        }
    })
    .await;
}

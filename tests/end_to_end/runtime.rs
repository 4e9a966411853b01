//! The process runtime below the history: shims, trees, marks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clnrm_core::backend::probe::Probe;
use clnrm_core::backend::process::{ProcessBackend, run_command};
use clnrm_core::backend::root::Root;
use clnrm_core::backend::start::StartOrder;
use clnrm_core::backend::{
    Backend, BackendError, CommandOutcome, CommandRequest, CommandResult, Condition, Ended,
    ExitStatus, InstancePlace, Loss, NetworkNames, NotReady, Observed, OnPull, ReadyContext,
    Running, TreeState, wait_until_ready,
};
use clnrm_core::clock::Timestamp;
use clnrm_core::config::definition::{
    CommandLine, Launch, Lifetime, MetricsSpec, PoolSpec, Readiness, ServiceDefinition, StopSignal,
    StopSpec,
};
use clnrm_core::config::placeholder::Bindings;
use clnrm_core::procfs::ProcessIdentity;
use clnrm_core::services::service_manager::AutoScaleConfig;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{clnrm, content, eventually, processes_with};

fn shim(instance: &Running) -> &ProcessIdentity {
    match &instance.root {
        Root::ProcessTree(shim) => shim,
        Root::Container(container) => panic!("a process has no container {container:?}"),
    }
}

fn runtime() -> ProcessBackend {
    ProcessBackend::new(clnrm().to_owned(), Path::new("/nowhere"))
}

fn place(dir: &Path, id: &str) -> InstancePlace {
    InstancePlace {
        id: id.to_owned(),
        dir: dir.to_owned(),
        container: None,
    }
}

async fn observed(place: &InstancePlace) -> Observed {
    let mut observed = runtime().observe(std::slice::from_ref(place)).await;
    observed.remove(0).unwrap()
}

async fn end(place: &InstancePlace, grace: Duration) -> Ended {
    runtime().end(place, &grace.into()).await.unwrap()
}

fn definition(dir: &Path, command: CommandLine) -> ServiceDefinition {
    ServiceDefinition {
        name: "service".to_owned(),
        launch: Launch::Process(command),
        folder: Default::default(),
        env: BTreeMap::new(),
        env_of_caller: Default::default(),
        working_dir: None,
        base_dir: dir.to_owned(),
        fixed_ports: Vec::new(),
        ready: Readiness {
            checks: Vec::new(),
            stated: false,
            timeout: Duration::from_secs(10),
            max_interval: Duration::from_millis(250),
        },
        metrics: MetricsSpec::ProcessOnly,
        cpus: None,
        memory_bytes: None,
        depends_on: Vec::new(),
        scale: AutoScaleConfig::default(),
        pool: PoolSpec::default(),
        stop: StopSpec {
            signal: StopSignal::Term,
            grace: Duration::from_millis(300),
        },
        response_target_ms: 100.0,
        log_limit_bytes: 1 << 20,
        lifetime: Lifetime::Stays,
    }
}

async fn start(place: &InstancePlace, command: CommandLine) -> Result<Running, BackendError> {
    let order = StartOrder {
        place: place.clone(),
        definition: &definition(&place.dir, command),
        run: None,
        owner: &ProcessIdentity::of(i32::try_from(std::process::id()).unwrap())
            .unwrap()
            .unwrap(),
        now: Timestamp::from_millis(0),
        environment: &environment(),
        bindings: Bindings::default(),
        names: NetworkNames::default(),
        preferred: None,
        taken_ports: Vec::new(),
        seed: 0,
    };
    let intent = Arc::new(runtime()).prepare(order).await.unwrap();
    let starting = intent.deed;
    starting
        .start(&OnPull::default(), &CancellationToken::new())
        .await
}

async fn start_script(place: &InstancePlace, script: &str) -> Running {
    let command = CommandLine::Exec(["sh", "-c", script].map(str::to_owned).to_vec());
    start(place, command).await.unwrap()
}

fn environment() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())])
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
    run_command(clnrm(), &request, &CancellationToken::new())
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
    let hider = place(dir.path(), "hider-1");
    start_script(&hider, &hiding_script(&sleep)).await;
    eventually("four sleepers", || match processes_with(&name).len() {
        5.. => Ok(()),
        found => Err(format!("{found} found")),
    })
    .await;
    assert_eq!(observed(&hider).await, Observed::Alive(Condition::Serving));

    let outcome = end(&hider, Duration::from_secs(1)).await;

    assert_eq!(processes_with(&name), [0; 0]);
    assert!(outcome.killed, "one of them is deaf to SIGTERM");
    let exit = outcome.exit.unwrap();
    assert!(exit.requested);
    assert_eq!(observed(&hider).await, Observed::Ended(exit));
}

#[tokio::test]
async fn what_a_killed_shim_leaves_is_found_by_its_mark_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let sleep = unique_sleep(&dir);
    let name = format!("sleep {sleep}");
    let orphan = place(dir.path(), &format!("orphan-{sleep}"));
    let instance = start_script(&orphan, &hiding_script(&sleep)).await;
    eventually("the sleepers", || match processes_with(&name).len() {
        5.. => Ok(()),
        found => Err(format!("{found} found")),
    })
    .await;

    rustix_kill(shim(&instance).pid);
    let shim = shim(&instance).clone();
    eventually("the shim is dead", || match shim.is_alive() {
        false => Ok(()),
        true => Err("it lives".to_owned()),
    })
    .await;
    let lost = Observed::Lost(Loss::SupervisorKilled);
    assert_eq!(observed(&orphan).await, lost);
    assert!(
        processes_with(&name).len() >= 4,
        "they outlive their supervisor"
    );

    let ended = end(&orphan, Duration::from_secs(1)).await.leftovers;
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
    let daemon = place(dir.path(), "daemon-1");
    let script = format!("setsid sleep {sleep} & exit 0");
    let mut instance = start_script(&daemon, &script).await;
    instance
        .state
        .wait_for(|state| *state == TreeState::MainLeft)
        .await
        .unwrap();
    assert_eq!(observed(&daemon).await, Observed::Alive(Condition::Serving));
    end(&daemon, Duration::from_secs(5)).await;
    assert_eq!(processes_with(&format!("sleep {sleep}")), [0; 0]);
}

#[tokio::test]
async fn readiness_gives_up_at_once_when_the_process_dies() {
    let dir = tempfile::tempdir().unwrap();
    let dies = place(dir.path(), "dies-1");
    let instance = start_script(&dies, "echo broken; exit 3").await;
    let failure = wait_until_ready(
        &runtime(),
        ReadyContext {
            place: dies,
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
    let absent = place(dir.path(), "absent-1");
    let command = CommandLine::Exec(vec!["no-such-program".to_owned()]);
    let error = start(&absent, command).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the command `no-such-program` does not exist"
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
        async { run_command(clnrm(), &request, &cancel).await.unwrap() },
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
        let request = command(&script, Duration::from_secs(600));
        run_command(clnrm(), &request, &CancellationToken::new()).await
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

//! Several processes in one history at once, some of them killed in mid-write.
//!
//! The writers are this test binary itself, re-executed with a filter for [`child`] and told what to do by `CLNRM_STORE_CHILD`.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clnrm_core::clock::Timestamp;
use clnrm_core::procfs::ProcessIdentity;
use clnrm_core::services::service_manager::{ServiceMetrics, Tier};
use clnrm_core::store::{InstanceId, NewInstance, ServiceId, Store};

#[path = "fixtures/definition.rs"]
mod fixture;
use fixture::definition;

const CHILD: &str = "CLNRM_STORE_CHILD";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn register(store: &mut Store, name: &str) -> ServiceId {
    store
        .register_service(&definition(name), Path::new("/a.clnrm.toml"), at(0))
        .unwrap()
}

/// Not a test of its own: one writer, which prints the number of each write once it is committed.
#[test]
fn child() {
    let Ok(task) = env::var(CHILD) else {
        return;
    };
    let [state_dir, writer, writes] = task.splitn(3, '\n').collect::<Vec<_>>()[..] else {
        panic!("not a task: {task}");
    };
    let mut store = Store::open(&PathBuf::from(state_dir)).unwrap();
    let (shared, own) = (register(&mut store, "shared"), register(&mut store, writer));
    let owner = ProcessIdentity {
        pid: 1,
        start_ticks: 2,
        boot_id: "boot".into(),
    };
    let mut stdout = std::io::stdout();
    for number in 0..writes.parse().unwrap() {
        let instance = NewInstance {
            id: InstanceId(format!("{writer}-{number}")),
            service: shared,
            run: None,
            digest: clnrm_core::config::identity::Digest("d".into()),
            runtime: "process".to_owned(),
            pooled: false,
            dir: "/dir".into(),
            reached: clnrm_core::config::placeholder::Where::default(),
            owner: owner.clone(),
            created_at: at(number),
        };
        store.journal_instance(&instance).unwrap();
        let sample = ServiceMetrics::at(at(number * 1_000), 1);
        assert_eq!(store.append_samples(&[(own, sample)]).unwrap(), [true]);
        writeln!(stdout, "committed {number}").unwrap();
    }
}

fn spawn(state_dir: &Path, writer: &str, writes: i64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(
            CHILD,
            format!("{}\n{writer}\n{writes}", state_dir.display()),
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many writes the lines acknowledge, read until `enough` or the end.
fn acknowledged(lines: &mut impl Iterator<Item = std::io::Result<String>>, enough: usize) -> usize {
    lines
        .map(|line| line.unwrap())
        // The first line follows the harness's own "test child ... ".
        .filter(|line| line.contains("committed "))
        .take(enough)
        .count()
}

/// Every acknowledged write is there: the journal's row, the sample, and the same sample in both rollups.
fn check(store: &Store, writer: &str, writes: usize) {
    for number in 0..writes {
        let id = InstanceId(format!("{writer}-{number}"));
        assert!(store.instance(&id).unwrap().is_some(), "{id} is lost");
    }
    let services = store.services().unwrap();
    let own = services.iter().find(|row| row.name == writer).unwrap().id;
    let recorded = store.raw_samples(own).unwrap().len();
    assert!(
        recorded >= writes,
        "{recorded} of {writes} samples of {writer}"
    );
    for tier in [Tier::Minute, Tier::QuarterHour] {
        let rollups = store.rollups(own, tier).unwrap();
        let folded: u32 = rollups.iter().map(|rollup| rollup.count).sum();
        assert_eq!(folded as usize, recorded);
    }
}

fn check_integrity(state_dir: &Path) {
    let connection = rusqlite::Connection::open(state_dir.join("state.db")).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    let orphans: i64 = connection
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(orphans, 0);
}

#[test]
fn eight_processes_in_a_fresh_project_lose_nothing() {
    const WRITES: usize = 60;
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join(".clnrm");
    let children: Vec<_> = (0..8)
        .map(|number| spawn(&state_dir, &format!("writer{number}"), WRITES as i64))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let store = Store::open_existing(&state_dir).unwrap().unwrap();
    for number in 0..8 {
        check(&store, &format!("writer{number}"), WRITES);
    }
    assert_eq!(store.live_instances().unwrap().len(), 8 * WRITES);
    check_integrity(&state_dir);
}

#[test]
fn killed_writers_lose_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..24 {
        let state_dir = dir.path().join(format!("project-{}", round / 4));
        let writers: Vec<_> = (0..4)
            .map(|number| {
                let name = format!("writer{number}-round{round}");
                let mut child = spawn(&state_dir, &name, 900);
                let lines = BufReader::new(child.stdout.take().unwrap()).lines();
                (name, child, lines)
            })
            .collect();
        // Each is killed at another moment, some while they create the database.
        let mut survived = Vec::new();
        for (number, (name, mut child, mut lines)) in writers.into_iter().enumerate() {
            let enough = (round * 7 + number * 3) % 40;
            let before = acknowledged(&mut lines, enough);
            child.kill().unwrap();
            let after = acknowledged(&mut lines, usize::MAX);
            child.wait().unwrap();
            survived.push((name, before + after));
        }
        let store = Store::open(&state_dir).unwrap();
        for (name, writes) in survived.iter().filter(|(_, writes)| *writes > 0) {
            check(&store, name, *writes);
            total += writes;
        }
        drop(store);
        check_integrity(&state_dir);
    }
    assert!(total > 24, "only {total} writes were acknowledged");
    println!("{total} acknowledged writes, none lost");
}

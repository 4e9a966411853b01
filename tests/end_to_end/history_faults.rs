//! A history that cannot be read or written: it is left alone, and the way out is told.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::project::{TestProject, WEB, answer, installed, skipped, test_file};

/// Commands that need the history.
const COMMANDS: [&[&str]; 4] = [
    &["run", "--stop"],
    &["services", "status"],
    &["services", "stop", "--all"],
    &["services", "ai-manage"],
];

/// Every command refuses this state with these words and does not change a byte of it.
async fn refused(state: &[u8], words: &str) {
    let project = TestProject::of_services(WEB);
    fs::create_dir(project.state_dir()).unwrap();
    let database = project.state_dir().join("state.db");
    fs::write(&database, state).unwrap();
    for command in COMMANDS {
        let answer = project.run(command).await.expect(2);
        answer.says(words).says("hint: ");
        assert!(
            fs::read(&database).unwrap() == state,
            "{command:?} changed it"
        );
    }
    assert_eq!(project.processes(), [""; 0]);
}

#[tokio::test]
async fn a_damaged_history_is_left_as_it_is() {
    refused(&b"this is no database ".repeat(1000), "is damaged").await;
}

#[tokio::test]
async fn the_history_of_a_newer_version_is_left_as_it_is() {
    let project = TestProject::of_services(WEB);
    project.run(&["run", "--stop"]).await.expect(0);
    let mut state = fs::read(project.state_dir().join("state.db")).unwrap();
    // The format of a database file, https://www.sqlite.org/fileformat.html: the user version is at offset 60.
    state[60..64].copy_from_slice(&999_u32.to_be_bytes());
    refused(&state, "was written by a newer clnrm (schema 999").await;
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_made_is_told() {
    let project = TestProject::of_services(WEB);
    project.write("file", "");
    for folder in [
        project.path().join("file/state"),
        "/proc/clnrm-state".into(),
    ] {
        let mut run = project.command(&["run", "--stop"]);
        run.env("CLNRM_STATE_DIR", &folder);
        let told = answer(run).await.expect(2);
        told.says(folder.to_str().unwrap()).says("CLNRM_STATE_DIR");
    }
    assert_eq!(project.processes(), [""; 0]);
}

/// A small file system in memory; `None` where this user may not mount one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    async fn mount(at: &'a Path, size: &str) -> Option<Self> {
        if !installed("mount") {
            return None;
        }
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        mount.arg(at);
        let mounted = answer(mount).await;
        if mounted.code != Some(0) {
            skipped(&format!(
                "no file system can be mounted here: {}",
                mounted.err
            ));
            return None;
        }
        Some(Self(at))
    }
}

impl SmallDisk<'_> {
    async fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(self.0);
        answer(mount).await.expect(0);
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // What stays mounted for a moment is detached all the same.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_left() {
    let project = TestProject::of_services(WEB);
    let state = project.state_dir();
    let Some(_disk) = SmallDisk::mount(&state, "512k").await else {
        return;
    };
    // From no room at all to room for some of what a run records.
    for left in [0, 100_000, 200_000, 300_000] {
        let filler = state.join("filler");
        for entry in fs::read_dir(&state).unwrap().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
        }
        fs::write(&filler, vec![0; 524_288 - left]).unwrap();
        let told = project.run(&["run", "--stop"]).await;
        if told.code != Some(0) {
            assert!(matches!(told.code, Some(2 | 3)), "{left} left: {told:#?}");
            told.says("hint: ");
        }
        assert_eq!(project.processes(), [""; 0], "{left} left");
    }
    fs::remove_file(state.join("filler")).unwrap();
    project.run(&["run", "--stop"]).await.expect(0);
}

/// Commands that only look answer as ever.
async fn can_be_looked_at(project: &TestProject, state: &str) {
    let told = project
        .run(&["services", "status", "-f", "json"])
        .await
        .expect(0);
    assert_eq!(told.json()["instances"][0]["state"], state, "{told:#?}");
    let logs = project.run(&["services", "logs", "web"]).await.expect(0);
    logs.says("a last word");
    let managed = project
        .run(&["services", "ai-manage", "--predict-load", "-f", "json"])
        .await
        .expect(0);
    let report = managed.json();
    assert_eq!(report["services"][0]["name"], "web");
    let sampled = &report["services"][0]["current"]["sampled_at"];
    assert!(sampled.is_string(), "{report:#}");
}

#[tokio::test]
async fn a_history_that_cannot_be_written_can_still_be_looked_at() {
    let service = "[services.web]\ncommand = '''echo a last word; exec sleep 86400'''\n";
    let project = TestProject::with(&test_file("t", service, "sleep 1.1"));
    let state = project.state_dir();
    let Some(disk) = SmallDisk::mount(&state, "2m").await else {
        return;
    };
    project.run(&["run", "--keep"]).await.expect(0);
    let filler = project.state_dir().join("filler");
    let full = fs::write(&filler, vec![0; 4 << 20]);
    assert!(full.is_err(), "the disk is smaller than that");
    can_be_looked_at(&project, "running").await;
    fs::remove_file(&filler).unwrap();

    // What has ended is not shown as running, though nobody could record it.
    for process in project.processes() {
        let mut kill = Command::new("kill");
        kill.args(["-KILL", process.split(':').next().unwrap()]);
        answer(kill).await;
    }
    let before = project.samples();
    disk.remount("ro").await;
    can_be_looked_at(&project, "lost").await;
    let told = project.run(&["services", "status"]).await.expect(0);
    told.says("cannot write")
        .says("nothing of what is found now is kept");
    for acting in [
        &["run", "--stop"][..],
        &["services", "ai-manage", "--auto-scale"],
    ] {
        project.run(acting).await.expect(2).says("cannot write");
    }

    disk.remount("rw").await;
    assert_eq!(project.samples(), before);
    project.stop_all().await;
}

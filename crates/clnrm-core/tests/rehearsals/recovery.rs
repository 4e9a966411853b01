//! Every command begins by bringing the history in line with what is there: whoever was killed, and wherever.

use std::fs;
use std::time::Duration;

use clnrm_core::store::InstanceState;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::stage::{Answer, End, Start};
use crate::world::World;

const A_MOMENT: Duration = Duration::from_secs(1);
const TWO: &str = r#"
[services.web]
command = ["web"]
ready = { command = ["is-ready"] }
[services.db]
command = ["db"]
[[steps]]
service = "web"
command = ["check"]
"#;

#[tokio::test(start_paused = true)]
async fn a_start_that_was_cut_off_before_anything_ran_is_closed() {
    let world = World::of(TWO);
    let killed = world.killed_command();
    world.stage.next_starts("web", &[Start::Hangs]);
    timeout(A_MOMENT, killed.start("web")).await.unwrap_err();
    let notes = world.command().recover().await;
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("was to start it was killed"), "{notes:?}");
    assert_eq!(world.command().recover().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_cut_off_before_it_was_ready_is_ended() {
    let world = World::of(TWO);
    let killed = world.killed_command();
    world.stage.answers("is-ready", &[Answer::Fails(1); 100]);
    timeout(A_MOMENT, killed.start("web")).await.unwrap_err();
    assert_eq!(world.stage.living().len(), 1);
    let notes = world.command().recover().await;
    assert!(notes[0].contains("killed before it was ready"), "{notes:?}");
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_start_of_a_command_that_lives_is_left_alone() {
    let world = World::of(TWO);
    let (command, other) = (world.command(), world.command());
    world.stage.answers("is-ready", &[Answer::Fails(1); 10]);
    let (started, notes) = tokio::join!(command.start("web"), other.recover());
    started.unwrap();
    assert_eq!(notes, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn how_one_ended_that_nobody_watched_is_told_and_recorded() {
    let world = World::of(TWO);
    let command = world.command();
    let failed = command.start("db").await.unwrap().id.0;
    let gone = command.start("web").await.unwrap().id.0;
    world.stage.dies(&failed, 7);
    world.stage.vanishes(&gone);
    let mut notes = command.recover().await;
    notes.sort();
    let expected = [
        format!("{failed}: it ended by itself"),
        format!("{gone}: its container was removed"),
    ];
    assert_eq!(notes, expected);
    let row = command.row(&failed).await;
    assert_eq!((row.state, row.exit.code), (InstanceState::Failed, Some(7)));
    assert_eq!(command.row(&gone).await.state, InstanceState::Lost);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_proves_nothing() {
    let world = World::of(TWO);
    let command = world.command();
    let ids = [
        command.start("db").await.unwrap().id.0,
        command.start("web").await.unwrap().id.0,
    ];
    world.stage.is_away(true);
    let notes = command.recover().await;
    let note = "nobody answers on the stage; its instances are shown as recorded";
    assert_eq!(notes, [note], "said once, however many they are");
    for id in &ids {
        assert_eq!(command.row(id).await.state, InstanceState::Running);
    }
    world.stage.is_away(false);
    assert_eq!(command.recover().await, [""; 0]);
    assert_eq!(world.stage.living(), ids);
}

#[tokio::test(start_paused = true)]
async fn what_no_row_leads_to_is_removed() {
    let world = World::of(TWO);
    let command = world.command();
    let ours = command.start("db").await.unwrap();
    world.stage.has_a_stray("web-0");
    let folder = ours.dir.with_file_name("web-1");
    fs::create_dir(&folder).unwrap();
    let notes = command.recover().await;
    assert_eq!(notes, ["web-0: nobody needed it, and it was removed"]);
    assert_eq!(world.stage.living(), [ours.id.0]);
    assert!(!folder.exists() && ours.dir.exists());
}

#[tokio::test(start_paused = true)]
async fn a_killed_run_takes_its_instances_with_it_unless_they_were_to_stay() {
    let world = World::of(TWO);
    let killed = world.killed_command();
    let cancel = CancellationToken::new();
    let (going, staying) = (killed.begin_run(false).await, killed.begin_run(true).await);
    let goes = killed.start_for(Some(going), "db", cancel.clone()).await;
    let stays = killed.start_for(Some(staying), "db", cancel).await;
    let notes = world.command().recover().await;
    let goes = goes.unwrap().id;
    let note = format!("{goes}: its run was killed before it could stop it");
    assert_eq!(notes, [note]);
    assert_eq!(world.stage.living(), [stays.unwrap().id.0]);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_ended_keeps_no_other_from_being_put_in_order() {
    let world = World::of(TWO);
    let killed = world.killed_command();
    let run = killed.begin_run(false).await;
    for name in ["db", "web"] {
        let started = killed.start_for(Some(run), name, CancellationToken::new());
        started.await.unwrap();
    }
    world.stage.ends("db", Some(End::Refused));
    let notes = world.command().recover().await;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(world.stage.living().iter().all(|id| id.starts_with("db-")));
    world.stage.ends("db", None);
    world.command().recover().await;
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_was_cut_off_is_finished() {
    let world = World::of(TWO);
    let killed = world.killed_command();
    let id = killed.start("db").await.unwrap().id.0;
    world.stage.ends("db", Some(End::IgnoresTheSignal));
    let row = killed.row(&id).await;
    let stopping = killed.project.stop_instances(vec![row]);
    timeout(A_MOMENT, stopping).await.unwrap_err();
    let notes = world.command().recover().await;
    assert_eq!(
        notes,
        [format!("{id}: a stop had begun, and is finished now")]
    );
    assert_eq!(killed.row(&id).await.state, InstanceState::Stopped);
}

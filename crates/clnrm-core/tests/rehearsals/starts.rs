//! Starts and stops that go wrong: what the user is told, and what is left.

use std::time::Duration;

use clnrm_core::backend::NotReady;
use clnrm_core::lifecycle::StartCause;
use clnrm_core::store::InstanceState;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::stage::{Answer, End, Start};
use crate::world::World;

const WEB: &str = r#"
[services.web]
command = ["web"]
ready = { timeout = "20s", command = ["is-ready"] }
stop = { grace = "7s" }
[[steps]]
service = "web"
command = ["check"]
"#;

#[tokio::test(start_paused = true)]
async fn a_refused_start_leaves_nothing_but_its_reason() {
    let world = World::of(WEB);
    let command = world.command();
    world.stage.next_starts("web", &[Start::Refused]);
    let failure = command.start("web").await.unwrap_err();
    assert!(matches!(failure.cause, StartCause::Spawn(_)), "{failure:?}");
    let row = command.row(&failure.instance.unwrap().0).await;
    assert_eq!(row.state, InstanceState::Failed);
    assert!(row.exit.message.unwrap().contains("the stage refused it"));
    assert_eq!(command.recover().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_ready_is_ended_when_its_time_is_up() {
    let world = World::of(WEB);
    let command = world.command();
    world.stage.answers("is-ready", &[Answer::Fails(1); 1_000]);
    let begun = Instant::now();
    let failure = command.start("web").await.unwrap_err();
    let timed_out = matches!(
        failure.cause,
        StartCause::NotReady(NotReady::TimedOut { .. })
    );
    assert!(timed_out, "{failure:?}");
    let took = begun.elapsed().as_secs();
    assert!((20..22).contains(&took), "{took} s");
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_before_it_is_ready_is_not_waited_for() {
    let world = World::of(WEB);
    let command = world.command();
    world.stage.next_starts("web", &[Start::Dies(3)]);
    let begun = Instant::now();
    let failure = command.start("web").await.unwrap_err();
    assert!(failure.cause.is_death(), "{failure:?}");
    assert_eq!(begun.elapsed().as_secs(), 0);
    let row = command.row(&failure.instance.unwrap().0).await;
    assert_eq!((row.state, row.exit.code), (InstanceState::Failed, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn a_port_that_somebody_was_quicker_to_take_is_chosen_anew_and_not_for_ever() {
    let world = World::of(WEB);
    let command = world.command();
    world.stage.next_starts("web", &[Start::PortTaken; 2]);
    command.start("web").await.unwrap();
    assert_eq!(world.stage.started(), 3);
    world.stage.next_starts("web", &[Start::PortTaken; 9]);
    command.start("web").await.unwrap_err();
    assert_eq!(world.stage.started(), 6);
    assert_eq!(world.stage.living().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_given_up_is_no_failure_of_the_service() {
    let world = World::of(WEB);
    let command = world.command();
    world.stage.next_starts("web", &[Start::Hangs]);
    let cancel = CancellationToken::new();
    let (started, ()) = tokio::join!(command.start_for(None, "web", cancel.clone()), async {
        sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    let failure = started.unwrap_err();
    assert!(failure.cause.is_cancellation(), "{failure:?}");
    let row = command.row(&failure.instance.unwrap().0).await;
    assert_eq!(row.state, InstanceState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_stubborn_one_gets_its_grace_and_in_a_hurry_none() {
    let world = World::of(WEB);
    let command = world.command();
    world.stage.ends("web", Some(End::IgnoresTheSignal));
    for (is_hurried, seconds) in [(false, 7), (true, 0)] {
        let id = command.start("web").await.unwrap().id.0;
        if is_hurried {
            command.project.hurry.cancel();
        }
        let begun = Instant::now();
        let row = command.row(&id).await;
        let stopped = command.project.stop_instances(vec![row]).await.remove(0);
        assert!(stopped.unwrap().killed);
        assert_eq!(begun.elapsed().as_secs(), seconds);
        assert_eq!(command.row(&id).await.state, InstanceState::Stopped);
    }
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_refused_keeps_the_instance_on_record() {
    let world = World::of(WEB);
    let command = world.command();
    let id = command.start("web").await.unwrap().id.0;
    world.stage.ends("web", Some(End::Refused));
    let row = command.row(&id).await;
    let stopped = command.project.stop_instances(vec![row]).await.remove(0);
    stopped.unwrap_err();
    assert!(command.row(&id).await.state.is_live());
    assert_eq!(world.stage.living(), [id]);
}

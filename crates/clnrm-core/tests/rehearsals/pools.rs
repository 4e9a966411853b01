//! Warm instances: how long they stay, who gets them, and who must not.

use std::time::Duration;

use clnrm_core::backend::Condition;
use clnrm_core::store::InstanceState;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::pass;
use crate::stage::{End, Start};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(60);
const POOLED: &str = r#"
[services.cache]
command = ["cache"]
pool = { size = 2, ttl = "60s", reset = ["reset"], verify = ["verify"] }
[[steps]]
service = "cache"
command = ["check"]
"#;

#[tokio::test(start_paused = true)]
async fn a_warm_instance_is_handed_out_until_its_time_is_up() {
    let world = World::of(POOLED);
    let command = world.command();
    let id = command.start_warm("cache").await;
    pass(TTL - SECOND).await;
    let held = command.claim("cache").await.unwrap();
    assert_eq!(
        (held.id.0.as_str(), held.acquired.warm),
        (id.as_str(), true)
    );
    // Whoever holds it holds it, however late it is.
    pass(TTL).await;
    assert_eq!(command.recover().await, [""; 0]);
    command.give_back(&held).await;
    pass(TTL + SECOND).await;
    assert!(command.claim("cache").await.is_none());
    let notes = command.recover().await;
    assert_eq!(notes, [format!("{id}: its time in the pool was up")]);
    assert_eq!(world.stage.living(), [""; 0]);
    assert_eq!(command.row(&id).await.state, InstanceState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn those_that_died_unseen_are_passed_over_for_one_that_lives() {
    let world = World::of(POOLED);
    let command = world.command();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(command.start_warm("cache").await);
        pass(SECOND).await;
    }
    // Whichever end they are taken from, a dead one comes first.
    for died in [&ids[0], &ids[2]] {
        world.stage.dies(died, 1);
    }
    let held = command.claim("cache").await.unwrap();
    assert_eq!(held.id.0, ids[1]);
    assert!(command.claim("cache").await.is_none());
    let row = command.row(&ids[0]).await;
    assert_eq!((row.state, row.exit.code), (InstanceState::Failed, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_serve_leaves_the_pool_and_one_that_is_held_stays() {
    let world = World::of(POOLED);
    let command = world.command();
    let free = command.start_warm("cache").await;
    let held = command.start("cache").await.unwrap();
    for id in [&free, &held.id.0] {
        world.stage.condition(id, Condition::Unhealthy);
    }
    let notes = command.recover().await;
    assert_eq!(notes, [format!("{free}: it was free, and did not serve")]);
    assert_eq!(world.stage.living(), [held.id.0]);
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_what_somebody_holds() {
    let world = World::of(POOLED);
    let (one, other) = (world.command(), world.command());
    one.start_warm("cache").await;
    let (first, second) = tokio::join!(one.claim("cache"), other.claim("cache"));
    assert_ne!(first.is_some(), second.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_command_held_is_ended_and_not_handed_on() {
    let world = World::of(POOLED);
    let killed = world.killed_command();
    let id = killed.start_warm("cache").await;
    killed.claim("cache").await.unwrap();
    let command = world.command();
    assert!(command.claim("cache").await.is_none());
    let notes = command.recover().await;
    assert!(notes[0].contains("whoever held it was killed"), "{notes:?}");
    assert_eq!(command.row(&id).await.state, InstanceState::Stopped);
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_one_that_cannot_be_ended_is_out_of_the_pool_and_goes_with_the_next_command() {
    let world = World::of(POOLED);
    let id = world.killed_command().start_warm("cache").await;
    let command = world.command();
    pass(TTL + SECOND).await;
    world.stage.ends("cache", Some(End::Refused));
    let notes = command.recover().await;
    assert!(notes[0].contains("does not let it go"), "{notes:?}");
    assert!(command.claim("cache").await.is_none());
    assert_eq!(world.stage.living(), [id.as_str()]);
    world.stage.ends("cache", None);
    command.recover().await;
    assert_eq!(world.stage.living(), [""; 0]);
    assert_eq!(command.row(&id).await.state, InstanceState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_hands_out_nothing_and_loses_nothing() {
    let world = World::of(POOLED);
    let command = world.command();
    let id = command.start_warm("cache").await;
    world.stage.is_away(true);
    assert!(command.claim("cache").await.is_none());
    world.stage.is_away(false);
    assert_eq!(world.stage.living(), [id]);
}

#[tokio::test(start_paused = true)]
async fn the_guard_ends_what_has_expired_and_leaves() {
    let world = World::of(POOLED);
    let command = world.command();
    command.start_warm("cache").await;
    pass(TTL / 2).await;
    command.start_warm("cache").await;
    let begun = Instant::now();
    command.guard().await;
    let took = begun.elapsed();
    assert!((TTL..TTL + SECOND).contains(&took), "{took:?}");
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_guard_replaces_what_died_and_no_longer_than_the_pool_would_have_stayed() {
    let world = World::of(POOLED);
    let command = world.command();
    let died = command.start_warm("cache").await;
    let stays = command.start_warm("cache").await;
    let begun = Instant::now();
    let watching = async {
        sleep(TTL / 4).await;
        world.stage.dies(&died, 1);
        sleep(TTL / 2).await;
        world.stage.living()
    };
    let (warnings, living) = tokio::join!(command.guard(), watching);
    assert_eq!(living.len(), 2);
    assert!(living.contains(&stays) && !living.contains(&died));
    assert_eq!(
        warnings,
        [
            format!("{died}: it ended by itself"),
            format!("{stays}: its time in the pool was up"),
            format!(
                "{}: its time in the pool was up",
                living.iter().find(|id| **id != stays).unwrap()
            )
        ]
    );
    assert!(begun.elapsed() < TTL + SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_does_not_start_is_told() {
    let world = World::of(POOLED);
    let command = world.command();
    let died = command.start_warm("cache").await;
    command.start_warm("cache").await;
    world.stage.dies(&died, 1);
    world.stage.next_starts("cache", &[Start::Refused]);
    let warnings = command.guard().await;
    let told = |warning: &&String| warning.starts_with("cache is not refilled: ");
    assert_eq!(warnings.iter().filter(told).count(), 1, "{warnings:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_dismissed_leaves_the_warm_ones_to_others() {
    let world = World::of(POOLED);
    let command = world.command();
    let id = command.start_warm("cache").await;
    let cancel = CancellationToken::new();
    let dismissing = async {
        sleep(SECOND).await;
        cancel.cancel();
    };
    tokio::join!(command.guard_until(&cancel), dismissing);
    assert_eq!(command.claim("cache").await.unwrap().id.0, id);
}

//! `ai-manage --auto-scale`: what it does when starts fail, others act, and what it saw is gone.

use std::time::Duration;

use clnrm_core::services::service_manager::ServiceMetrics;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::pass;
use crate::stage::{End, Start};
use crate::world::{Command, World};

const COOLDOWN: Duration = Duration::from_secs(61);
const WEB: &str = r#"
[services.web]
command = ["web"]
scale = { min = 1, max = 4, cooldown = "60s" }
[[steps]]
service = "web"
command = ["check"]
"#;

/// As a service of so many instances is measured whose CPU is used up so far.
fn load(instances: u32, cpu_percent: f64) -> ServiceMetrics {
    ServiceMetrics {
        instances,
        cpu_percent: Some(cpu_percent),
        memory_mb: Some(50.0),
        request_rate: Some(1.0),
        ..ServiceMetrics::default()
    }
}

async fn measured(command: &Command, cpu_percent: f64, instances: u32) {
    pass(Duration::from_secs(120)).await;
    command
        .has_measured("web", 90, load(instances, cpu_percent))
        .await;
}

#[tokio::test(start_paused = true)]
async fn load_adds_an_instance_and_the_cool_down_keeps_the_next_pass_from_adding_another() {
    let world = World::of(WEB);
    let command = world.command();
    command.start("web").await.unwrap();
    measured(&command, 95.0, 1).await;
    let scaling = command.manage().await.scaling.unwrap();
    assert!(scaling.performed, "{scaling:#?}");
    assert_eq!(world.stage.living().len(), 2);
    let held = command.manage().await.scaling.unwrap();
    assert!(!held.performed, "{held:#?}");
    assert_eq!(world.stage.living().len(), 2);
    pass(COOLDOWN).await;
    measured(&command, 95.0, 2).await;
    assert!(command.manage().await.scaling.unwrap().performed);
    assert!(world.stage.living().len() > 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_told_counted_and_cooled_down_after() {
    let world = World::of(WEB);
    let command = world.command();
    command.start("web").await.unwrap();
    measured(&command, 95.0, 1).await;
    world.stage.next_starts("web", &[Start::Refused; 3]);
    let scaling = command.manage().await.scaling.unwrap();
    assert!(!scaling.performed, "{scaling:#?}");
    assert!(
        scaling
            .error
            .unwrap()
            .to_string()
            .contains("the stage refused it")
    );
    assert_eq!(scaling.instances_after, Some(1));
    assert_eq!(world.stage.living().len(), 1);
    // A failed attempt is an attempt: the next pass does not hammer.
    let before = world.stage.started();
    command.manage().await;
    assert_eq!(world.stage.started(), before);
}

#[tokio::test(start_paused = true)]
async fn a_scale_up_that_fails_halfway_keeps_what_started() {
    let world = World::of(&WEB.replace("min = 1", "min = 3"));
    let command = world.command();
    command.start("web").await.unwrap();
    world
        .stage
        .next_starts("web", &[Start::Succeeds, Start::Dies(2)]);
    let scaling = command.manage().await.scaling.unwrap();
    assert!(!scaling.performed, "{scaling:#?}");
    assert_eq!(scaling.instances_after, Some(2));
    assert_eq!(world.stage.living().len(), 2);
    pass(COOLDOWN).await;
    assert!(command.manage().await.scaling.unwrap().performed);
    assert_eq!(world.stage.living().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn commands_at_once_scale_once() {
    let world = World::of(WEB);
    let commands: Vec<Command> = (0..8).map(|_| world.command()).collect();
    commands[0].start("web").await.unwrap();
    measured(&commands[0], 95.0, 1).await;
    let passes = commands.iter().map(Command::manage);
    let passes = futures_util::future::join_all(passes).await;
    let outcomes = passes.into_iter().filter_map(|passed| passed.scaling);
    let performed = outcomes.filter(|scaling| scaling.performed).count();
    assert_eq!((performed, world.stage.living().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_a_test_holds_is_never_scaled_away() {
    let world = World::of(WEB);
    let command = world.command();
    let older = command.start("web").await.unwrap();
    pass(Duration::from_secs(1)).await;
    let held = command.start("web").await.unwrap();
    command.lease(&held).await;
    measured(&command, 2.0, 2).await;
    let scaling = command.manage().await.scaling.unwrap();
    assert!(scaling.performed, "{scaling:#?}");
    // The newest would go first, were it free.
    assert_eq!(world.stage.living(), [held.id.0]);
    assert!(!world.stage.living().contains(&older.id.0));
}

#[tokio::test(start_paused = true)]
async fn instances_that_died_between_the_samples_are_not_counted_on() {
    let world = World::of(WEB);
    let command = world.command();
    let ids = [
        command.start("web").await.unwrap().id.0,
        command.start("web").await.unwrap().id.0,
    ];
    measured(&command, 95.0, 2).await;
    world.stage.dies(&ids[0], 1);
    let passed = command.manage().await;
    assert_eq!(passed.instances, 1);
    assert_eq!(passed.assessment.scaling.unwrap().from, 1);
    assert!(world.stage.living().contains(&ids[1]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_that_was_not_measured_lately() {
    let world = World::of(WEB);
    let command = world.command();
    for _ in 0..2 {
        command.start("web").await.unwrap();
    }
    // It had nothing to do, an hour ago.
    measured(&command, 1.0, 2).await;
    pass(Duration::from_secs(3_600)).await;
    let scaling = command.manage().await.scaling.unwrap();
    assert!(!scaling.performed, "{scaling:#?}");
    assert_eq!(world.stage.living().len(), 2);
    // With a measured minute, it is.
    pass(COOLDOWN).await;
    measured(&command, 1.0, 2).await;
    let scaling = command.manage().await.scaling.unwrap();
    assert!(scaling.performed, "{scaling:#?}");
    assert_eq!(world.stage.living().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_scale_down_that_fails_costs_no_further_instance() {
    for is_away in [true, false] {
        let world = World::of(WEB);
        let killed = world.killed_command();
        for _ in 0..3 {
            pass(Duration::from_secs(1)).await;
            killed.start("web").await.unwrap();
        }
        let command = world.command();
        measured(&command, 1.0, 3).await;
        match is_away {
            true => world.stage.is_away(true),
            false => world.stage.ends("web", Some(End::Refused)),
        }
        let scaling = command.manage().await.scaling.unwrap();
        assert!(
            !scaling.performed && scaling.error.is_some(),
            "{scaling:#?}"
        );
        assert_eq!(scaling.instances_after, Some(3));
        world.stage.is_away(false);
        world.stage.ends("web", None);
        // What it had begun is finished by the next command, and nothing else is.
        command.recover().await;
        assert_eq!(world.stage.living().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_samples_every_second_and_sees_who_comes_and_goes() {
    let world = World::of(WEB);
    let command = world.command();
    let first = command.start("web").await.unwrap().id.0;
    let observer = command.observer();
    let cancel = CancellationToken::new();
    let services = command.project.store.call(|store| store.services()).await;
    observer.look_at(&services.unwrap()).await.unwrap();
    let before = command.samples("web").await.len();
    let watching = observer.go_on_until(cancel.clone());
    sleep(Duration::from_secs(60)).await;
    command.start("web").await.unwrap();
    sleep(Duration::from_secs(30)).await;
    world.stage.dies(&first, 1);
    command.recover().await;
    sleep(Duration::from_secs(30)).await;
    cancel.cancel();
    watching.await.unwrap();
    let samples = command.samples("web").await.split_off(before);
    assert!((118..=121).contains(&samples.len()), "{}", samples.len());
    let counts = [50, 80, 110].map(|at| samples[at].instances);
    assert_eq!(counts, [1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_measured_adds_instances_and_takes_them_away_again() {
    let world = World::of(WEB);
    let command = world.command();
    command.start("web").await.unwrap();
    world.stage.uses("web", 0.95);
    let observer = command.observer();
    let services = command.project.store.call(|store| store.services()).await;
    observer.look_at(&services.unwrap()).await.unwrap();
    let cancel = CancellationToken::new();
    let watching = observer.go_on_until(cancel.clone());
    sleep(Duration::from_secs(120)).await;
    let passed = command.manage_beside(&observer).await;
    assert!(
        passed.scaling.unwrap().performed,
        "{:#?}",
        passed.assessment
    );
    assert_eq!(world.stage.living().len(), 2);
    world.stage.uses("web", 0.01);
    sleep(Duration::from_secs(180)).await;
    let passed = command.manage_beside(&observer).await;
    assert!(
        passed.scaling.unwrap().performed,
        "{:#?}",
        passed.assessment
    );
    assert_eq!(world.stage.living().len(), 1);
    cancel.cancel();
    watching.await.unwrap();
    let samples = command.samples("web").await;
    let busiest = samples.iter().filter_map(|sample| sample.cpu_percent);
    let busiest = busiest.fold(0.0, f64::max);
    assert!((90.0..=100.0).contains(&busiest), "{busiest} %");
}

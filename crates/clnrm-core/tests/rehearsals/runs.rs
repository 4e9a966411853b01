//! Whole runs: what a test is told of a service that fails it, and what becomes of the instances that it used.

use clnrm_core::config::definition::TestDefinition;
use clnrm_core::runner::cause::TestReason;
use clnrm_core::runner::result::{InstanceOrigin, Outcome, TestStatus};

use crate::stage::{Answer, Start};
use crate::world::{Ran, World};

const POOLED: &str = r#"
[services.cache]
command = ["cache"]
pool = { size = 1, reset = ["reset"], verify = ["verify"] }
[[steps]]
service = "cache"
command = ["check"]
"#;
const PLAIN: &str = r#"
[services.web]
command = ["web"]
[services.db]
command = ["db"]
[[steps]]
service = "web"
command = ["check"]
"#;

/// The same test so often, each under a name of its own.
fn tests(world: &World, count: usize) -> Vec<TestDefinition> {
    let named = |number| TestDefinition {
        name: format!("t{number}"),
        ..world.test()
    };
    (0..count).map(named).collect()
}

fn outcomes(ran: &Ran) -> Vec<(TestStatus, Option<Outcome>)> {
    let tests = ran.report.tests.iter();
    tests
        .map(|test| {
            let used = test.services.first();
            let afterwards = used.and_then(|used| used.afterwards.as_ref());
            (test.status, afterwards.map(|afterwards| afterwards.outcome))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_leaves_nothing() {
    let world = World::of(PLAIN);
    let ran = world.run(false).await;
    assert_eq!(outcomes(&ran), [(TestStatus::Passed, None)]);
    assert_eq!(ran.report.leaks.containers_checked, 2);
    assert_eq!(ran.warnings, [""; 0]);
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_start_is_an_error_and_the_others_go() {
    let world = World::of(PLAIN);
    world.stage.next_starts("db", &[Start::Refused]);
    let ran = world.run(false).await;
    let test = &ran.report.tests[0];
    assert_eq!(test.status, TestStatus::Error);
    assert_eq!(test.service_failures[0].service, "db");
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_dies_under_a_step_is_what_failed_and_not_the_step() {
    let world = World::of(PLAIN);
    world.stage.answers("check", &[Answer::Kills(9)]);
    let ran = world.run(false).await;
    let test = &ran.report.tests[0];
    assert_eq!(test.status, TestStatus::Error, "{test:#?}");
    let service = "web".to_owned();
    let died = TestReason::ServiceDied { service };
    assert_eq!(test.reason, Some(died.into()));
    let failure = &test.service_failures[0];
    assert!(failure.message.contains("exit code 9"), "{failure:#?}");
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_proved_clean_serves_the_next_test() {
    let world = World::of(POOLED);
    let ran = world.run_tests(tests(&world, 3), false).await;
    assert_eq!(
        outcomes(&ran),
        [(TestStatus::Passed, Some(Outcome::Pooled)); 3]
    );
    assert_eq!(world.stage.started(), 1);
    assert_eq!(world.stage.living(), [""; 0], "the run ends its pools");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_as_it_was_is_quarantined() {
    for (command, answers, why) in [
        (
            "verify",
            vec![Answer::Says("clean"), Answer::Says("dirty")],
            "now \"dirty\"",
        ),
        ("reset", vec![Answer::Fails(4)], "its reset failed"),
        ("reset", vec![Answer::Hangs], "its reset"),
    ] {
        let world = World::of(POOLED);
        world.stage.answers(command, &answers);
        let ran = world.run_tests(tests(&world, 2), false).await;
        let (status, afterwards) = outcomes(&ran)[0];
        assert_eq!(
            (status, afterwards),
            (TestStatus::Passed, Some(Outcome::Quarantined))
        );
        let [warning] = ran.warnings.as_slice() else {
            panic!("{:?}", ran.warnings);
        };
        assert!(
            warning.contains("is not used again") && warning.contains(why),
            "{warning}"
        );
        let used = |test: usize| ran.report.tests[test].services[0].instance_id.clone();
        assert_ne!(used(0), used(1));
        assert_eq!(world.stage.living(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_test_that_fails_only_on_what_others_used_is_contaminated_and_names_them() {
    let world = World::of(POOLED);
    // The first test passes, the second fails on the same instance, and passes on a fresh one.
    world
        .stage
        .answers("check", &[Answer::Says(""), Answer::Fails(1)]);
    let ran = world.run_tests(tests(&world, 2), false).await;
    let second = &ran.report.tests[1];
    assert_eq!(second.status, TestStatus::Contaminated, "{second:#?}");
    let suspects: Vec<&str> = second
        .suspects
        .iter()
        .map(|one| one.test.as_str())
        .collect();
    assert_eq!(suspects, ["t0"]);
    assert!(
        ran.warnings
            .iter()
            .any(|warning| warning.contains("failed on it alone"))
    );
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_test_that_fails_on_fresh_ones_too_has_failed_by_itself() {
    let world = World::of(POOLED);
    world.stage.answers(
        "check",
        &[Answer::Says(""), Answer::Fails(1), Answer::Fails(1)],
    );
    let ran = world.run_tests(tests(&world, 2), false).await;
    let second = &ran.report.tests[1];
    assert_eq!(second.status, TestStatus::Failed);
    assert!(second.suspects.is_empty());
    assert_eq!(world.stage.started(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_killed_under_its_second_test_makes_nobody_a_suspect() {
    let world = World::of(POOLED);
    world
        .stage
        .answers("check", &[Answer::Says(""), Answer::Kills(9)]);
    let ran = world.run_tests(tests(&world, 2), false).await;
    let second = &ran.report.tests[1];
    assert_eq!(second.status, TestStatus::Error, "{second:#?}");
    assert!(second.suspects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_run_keeps_warm_serves_the_next_run() {
    let world = World::of(POOLED);
    world.run(true).await;
    let kept = world.stage.living();
    assert_eq!(kept.len(), 1);
    let ran = world.run(false).await;
    let used = &ran.report.tests[0].services[0];
    assert_eq!(
        (used.warm, used.instance_id.as_str()),
        (true, kept[0].as_str())
    );
    assert_eq!(world.stage.living(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_one_is_replaced_in_a_pool_that_stays() {
    let world = World::of(POOLED);
    world.stage.answers("reset", &[Answer::Fails(4)]);
    let ran = world.run(true).await;
    let [fresh] = <[String; 1]>::try_from(world.stage.living()).unwrap();
    assert_ne!(fresh, ran.report.tests[0].services[0].instance_id);
    assert!(world.command().claim("cache").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_cleaned_serves_once_and_a_spare_is_there_for_the_next() {
    let cleaning = ", reset = [\"reset\"], verify = [\"verify\"]";
    let world = World::of(&POOLED.replace(cleaning, ""));
    let ran = world.run_tests(tests(&world, 3), true).await;
    for test in &ran.report.tests {
        let used = &test.services[0];
        assert_eq!(used.origin, InstanceOrigin::Fresh);
        assert_eq!(used.afterwards.as_ref().unwrap().outcome, Outcome::Stopped);
    }
    let warm = |test: usize| ran.report.tests[test].services[0].warm;
    assert!(warm(1) && warm(2), "the pool was refilled: {ran:#?}");
    assert_eq!(ran.report.kept.len(), 1);
}

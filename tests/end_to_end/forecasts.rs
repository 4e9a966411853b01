//! `ai-manage --predict-load` on recorded histories: what is forecast, what is muted, and which limit is near.

use std::time::Duration;

use clnrm_core::clock::{Clock, SystemClock};
use clnrm_core::config::load_test;
use clnrm_core::services::service_manager::ServiceMetrics;
use clnrm_core::store::Store;
use serde_json::Value;

use crate::project::TestProject;

const SERVICES: &str = r#"
[test]
name = "recorded"

[services.leak]
command = ["sleep", "1"]
memory = "512MB"

[services.steps]
command = ["sleep", "1"]

[[steps]]
name = "nothing"
command = ["true"]
"#;

/// Both services were measured every ten seconds until now. One leaks 2 MB a minute and has 20 minutes left; the other
/// stays at a level until it is changed, so that nothing beats its last value.
fn recorded() -> TestProject {
    let project = TestProject::with(SERVICES);
    let file = project.path().join("t.clnrm.toml");
    let now = SystemClock.now();
    let mut store = Store::open(&project.state_dir()).unwrap();
    for definition in load_test(&file, &[]).unwrap().services {
        let service = store.register_service(&definition, &file, now).unwrap();
        let mut level = 40.0;
        let samples = (0..1_000_u32).map(|n| {
            let age = f64::from(999 - n) / 6.0;
            let mut sample = ServiceMetrics::at(now - Duration::from_secs(10) * (999 - n), 1);
            if definition.name == "leak" {
                let wobble = (age * 7.3).sin() + (age * 3.1).cos();
                sample.memory_mb = Some(472.0 - 2.0 * age + wobble);
            } else {
                if n % 170 == 0 {
                    level += f64::from(n * 7_919 % 13) - 6.0;
                }
                sample.cpu_percent = Some(level);
            }
            (service, sample)
        });
        store.append_samples(&samples.collect::<Vec<_>>()).unwrap();
    }
    project
}

fn service<'a>(report: &'a Value, name: &str) -> &'a Value {
    let services = report["services"].as_array().unwrap();
    services.iter().find(|one| one["name"] == name).unwrap()
}

#[tokio::test]
async fn a_leak_is_announced_with_the_time_that_is_left() {
    let report = recorded().manage(&["--predict-load"]).await;
    let leak = service(&report, "leak");
    let limits = leak["time_to_limit"].as_array().unwrap();
    let [limit] = limits.as_slice() else {
        panic!("{limits:#?}")
    };
    assert_eq!(
        (&limit["metric"], &limit["limit"], &limit["is_earned"]),
        (&"memory_mb".into(), &512.0.into(), &true.into())
    );
    let minutes = |field: &str| limit[field].as_f64().unwrap() / 60.0;
    let reached = minutes("reached_in_seconds");
    assert!((15.0..=25.0).contains(&reached), "{limit:#}");
    assert!(minutes("earliest_seconds") <= reached && reached <= minutes("reach_seconds"));
    let sentence = leak["alerts"][0].as_str().unwrap();
    let expected = format!("memory reaches 512 MB in {reached:.0} min (90%: ");
    assert!(sentence.starts_with(&expected), "{sentence}");

    let memory = &leak["prediction"]["memory_mb"];
    assert_eq!(
        (&memory["basis"], &memory["muted"]),
        (&"tournament".into(), &false.into())
    );
    let value = memory["value"].as_f64().unwrap();
    assert!(
        (475.0..=490.0).contains(&value),
        "10 MB more in five minutes: {value}"
    );
    let path = memory["path"].as_array().unwrap();
    assert_eq!((path.len(), &path[11]["value"]), (12, &memory["value"]));
    assert_eq!(memory["quantiles"]["q05"], memory["lower"]);
    assert_eq!(leak["prediction"]["model"], memory["model"]);
}

#[tokio::test]
async fn a_muted_forecast_shows_the_last_value_and_says_so() {
    let project = recorded();
    let report = project.manage(&["--predict-load", "-s", "steps"]).await;
    let steps = service(&report, "steps");
    let cpu = &steps["prediction"]["cpu_percent"];
    assert_eq!(
        (&cpu["muted"], &cpu["model"]),
        (&true.into(), &"last value".into())
    );
    assert_eq!(cpu["value"], steps["current"]["cpu_percent"]);
    assert!(
        cpu["lower"].as_f64() <= cpu["value"].as_f64()
            && cpu["value"].as_f64() <= cpu["upper"].as_f64()
    );

    let human = project
        .run(&["services", "ai-manage", "--predict-load", "-v"])
        .await
        .expect(0);
    let line = human
        .out
        .lines()
        .find(|line| line.contains("forecast muted:"));
    assert!(line.unwrap().starts_with("     CPU: "), "{}", human.out);
    human
        .says(" origins)")
        .says("     Error of each model, that of repeating the last value being 1:")
        .says("🚨 Alerts:");
}

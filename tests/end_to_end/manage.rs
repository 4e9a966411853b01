//! `services ai-manage` on real services: it reports what was measured and does what it says.

use std::collections::BTreeSet;

use clnrm_core::clock::{Clock, SystemClock};
use clnrm_core::config::load_test;
use clnrm_core::services::service_manager::ServiceMetrics;
use clnrm_core::store::{InstanceId, Store, StoredReading};
use serde_json::Value;

use crate::project::{Background, TestProject, WEB, answer};
use crate::support::eventually;

fn keys(value: &Value) -> BTreeSet<&str> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    object.keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_keys(value: &Value, wanted: &[&str]) {
    let wanted = BTreeSet::from_iter(wanted.iter().copied());
    assert!(keys(value).is_superset(&wanted), "{wanted:?} in {value:#}");
}

#[tokio::test]
async fn the_json_has_the_names_that_scripts_rely_on() {
    let project = TestProject::of_services(WEB);
    project.run(&["run", "--keep"]).await.expect(0);
    let options = ["--auto-scale", "--predict-load", "--optimize-resources"];
    let report = project.manage(&options).await;
    assert_eq!(report["schema"], "clnrm.ai-manage/1");
    assert_eq!(report["horizon_minutes"], 5);
    assert_keys(&report, &["generated_at", "services", "recommendations"]);
    let web = &report["services"][0];
    assert_eq!(
        (&web["name"], &web["state"]),
        (&"web".into(), &"running".into())
    );
    assert_keys(
        web,
        &[
            "instances",
            "current",
            "sources",
            "prediction",
            "health",
            "scaling",
            "pool",
        ],
    );
    assert_keys(
        &web["current"],
        &[
            "sampled_at",
            "cpu_percent",
            "memory_mb",
            "network_mb_per_s",
            "active_connections",
            "request_rate",
            "response_time_ms",
            "error_rate",
        ],
    );
    assert_eq!(web["sources"]["cpu_percent"], "procfs");
    assert_eq!(web["sources"]["request_rate"], "prometheus");
    assert_keys(&web["health"]["current"], &["score", "status"]);
    assert_keys(
        &web["scaling"],
        &[
            "action",
            "by",
            "from",
            "to",
            "reason",
            "performed",
            "took_ms",
        ],
    );
    assert_keys(
        &web["pool"],
        &["available", "in_use", "utilization", "advice"],
    );
    let enough = web["prediction"].get("not_enough_data").is_none();
    let wanted: &[&str] = match enough {
        true => &["model", "cpu_percent", "memory_mb", "request_rate"],
        false => &["not_enough_data"],
    };
    assert_keys(&web["prediction"], wanted);

    let plain = project.manage(&[]).await;
    for part in ["prediction", "scaling"] {
        assert_eq!(
            plain["services"][0][part],
            Value::Null,
            "{part} was not asked for"
        );
    }
    assert_eq!(plain["recommendations"], Value::Null);
    project.stop_all().await;
}

#[tokio::test]
async fn too_few_instances_are_made_up_for_and_a_dry_run_only_says_so() {
    let project = TestProject::of_services(&format!("{WEB}scale = {{ min = 3, max = 4 }}\n"));
    project.run(&["run", "--keep"]).await.expect(0);
    let before = project.running().await;
    assert_eq!(before.len(), 1);

    let dry = project.manage(&["--auto-scale", "--dry-run"]).await;
    assert_eq!(dry["dry_run"], true);
    assert_eq!(project.running().await, before, "a dry run touches nothing");
    let real = project.manage(&["--auto-scale"]).await;

    let (dry, real) = (
        &dry["services"][0]["scaling"],
        &real["services"][0]["scaling"],
    );
    for field in ["action", "by", "from", "to", "reason"] {
        assert_eq!(dry[field], real[field], "{field}");
    }
    assert_eq!(real["action"], "scale_up");
    assert_eq!((&real["from"], &real["to"]), (&1.into(), &3.into()));
    assert_eq!(
        (&dry["performed"], &real["performed"]),
        (&false.into(), &true.into())
    );
    assert!(real["took_ms"].is_u64());

    let after = project.running().await;
    assert_eq!(after.len(), 3, "{after:?}");
    let addresses: BTreeSet<String> = after.iter().map(|one| one["address"].to_string()).collect();
    assert_eq!(addresses.len(), 3, "each has a port of its own");
    project.stop_all().await;
}

#[tokio::test]
async fn measured_load_adds_instances_once_per_cool_down() {
    let limits = "scale = { request_rate_up = 20, max = 6, cooldown = \"10m\" }\n";
    let project = TestProject::of_services(&format!("{WEB}{limits}"));
    project.run(&["run", "--keep"]).await.expect(0);
    let address = project.running().await[0]["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let target = format!("http://{address}/work?cpu_ms=0,rate=100");
    let load = ["demo", "load", "--target", &target, "--for", "60s"];
    let load = Background(project.command(&load).spawn().unwrap());

    // Half a second between readings is the least that makes a rate.
    let mut rate = None;
    for _ in 0..40 {
        let seen = project.manage(&["--auto-scale", "--dry-run"]).await;
        rate = seen["services"][0]["current"]["request_rate"].as_f64();
        if rate.is_some_and(|rate| rate > 60.0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert!(
        rate.is_some_and(|rate| rate > 60.0),
        "{rate:?} requests/s measured"
    );

    let first = project.manage(&["--auto-scale"]).await;
    let scaling = &first["services"][0]["scaling"];
    assert_eq!(scaling["action"], "scale_up", "{scaling:#}");
    assert_eq!(scaling["performed"], true);
    let instances = project.running().await.len();
    assert!(instances > 1);
    assert_eq!(scaling["to"], instances);

    let second = project.manage(&["--auto-scale"]).await;
    let scaling = &second["services"][0]["scaling"];
    assert_eq!(scaling["action"], "none", "{scaling:#}");
    assert_eq!(scaling["performed"], false);
    assert_eq!(project.running().await.len(), instances);
    drop(load);
    project.stop_all().await;
}

#[tokio::test]
async fn a_project_without_history_is_told_how_to_get_one() {
    let project = TestProject::empty();
    let answer = project
        .run(&["services", "ai-manage", "--auto-scale"])
        .await;
    answer.expect(0).says("clnrm run");
    assert!(!project.state_dir().exists(), "looking makes nothing");
}

#[tokio::test]
async fn services_are_chosen_by_name_and_pattern() {
    let sleeper = |name: &str| format!("[services.{name}]\ncommand = [\"sleep\", \"86400\"]\n");
    let services = ["api-a", "api-b", "cache"].map(sleeper).concat();
    let project = TestProject::of_services(&services);
    project.run(&["run", "--stop"]).await.expect(0);
    let names = |report: &Value| -> Vec<String> {
        let services = report["services"].as_array().unwrap();
        let mut names: Vec<_> = services
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&project.manage(&["-s", "api-*"]).await),
        ["api-a", "api-b"]
    );
    assert_eq!(
        names(&project.manage(&["-s", "cache", "-s", "*-a"]).await),
        ["api-a", "cache"]
    );
    let unknown = project.run(&["services", "ai-manage", "-s", "cahce"]).await;
    unknown.expect(2).says("cahce").says("api-a, api-b, cache");
}

#[tokio::test]
async fn watch_goes_on_until_it_is_interrupted() {
    let project = TestProject::of_services(WEB);
    project.run(&["run", "--keep"]).await.expect(0);
    let out = project.path().join("reports");
    let mut watch = project.command(&[
        "services",
        "ai-manage",
        "--watch",
        "--interval",
        "200ms",
        "-f",
        "json",
    ]);
    watch.stdout(std::fs::File::create(&out).unwrap());
    let mut watch = Background(watch.spawn().unwrap());
    eventually("three reports", || {
        let text = std::fs::read_to_string(&out).unwrap();
        match text.matches("clnrm.ai-manage/1").count() {
            3.. => Ok(()),
            fewer => Err(format!("{fewer} reports")),
        }
    })
    .await;
    let mut interrupt = std::process::Command::new("kill");
    interrupt.args(["-INT", &watch.0.id().to_string()]);
    answer(interrupt).await.expect(0);
    let status = eventually("watch ends", || {
        watch
            .0
            .try_wait()
            .unwrap()
            .ok_or_else(|| "still running".to_owned())
    })
    .await;
    assert_eq!(status.code(), Some(130));
    assert_eq!(project.running().await.len(), 1, "it ends nobody's service");
    project.stop_all().await;
}

#[tokio::test]
async fn a_single_look_takes_the_two_readings_that_a_rate_needs() {
    let project = TestProject::of_services(WEB);
    project.run(&["run", "--keep"]).await.expect(0);
    let id = project.running().await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut store = Store::open(&project.state_dir()).unwrap();
    let reading = StoredReading {
        read_at: SystemClock.now(),
        json: "nothing to go on from".to_owned(),
    };
    store.record_readings(&[(InstanceId(id), reading)]).unwrap();
    let service = store.services().unwrap()[0].id;
    let known = store.raw_samples(service).unwrap().len();
    let mut report = Value::Null;
    // A look that comes too soon after the run's last sample shows that one.
    while store.raw_samples(service).unwrap().len() == known {
        report = project.manage(&[]).await;
    }
    let current = &report["services"][0]["current"];
    assert!(current["cpu_percent"].is_f64(), "{report:#}");
    assert!(current["request_rate"].is_f64(), "{report:#}");
    project.stop_all().await;
}

/// So many services are read by several threads.
#[tokio::test]
async fn many_services_are_reported_in_their_order() {
    let names: Vec<String> = (0..80).map(|n| format!("service-{n:02}")).collect();
    let declared = names
        .iter()
        .map(|name| format!("[services.{name}]\ncommand = [\"sleep\", \"1\"]\n"));
    let project = TestProject::of_services(&declared.collect::<String>());
    let mut store = Store::open(&project.state_dir()).unwrap();
    let file = project.path().join("t.clnrm.toml");
    let now = SystemClock.now();
    for (definition, n) in load_test(&file, &[]).unwrap().services.iter().zip(0..) {
        let service = store.register_service(definition, &file, now).unwrap();
        let mut sample = ServiceMetrics::at(now, 1);
        sample.cpu_percent = Some(f64::from(n));
        store.append_samples(&[(service, sample)]).unwrap();
    }
    let report = project.manage(&["--predict-load"]).await;
    let services = report["services"].as_array().unwrap();
    let reported = services.iter().map(|one| one["name"].as_str().unwrap());
    assert!(
        reported.eq(names.iter().map(String::as_str)),
        "{services:#?}"
    );
    for (one, n) in services.iter().zip(0..) {
        assert_eq!(one["current"]["cpu_percent"], f64::from(n));
    }
}

//! The examples of the repository run as they stand, on real servers, and are measured by them.

use std::fs;
use std::path::Path;

use crate::project::{TestProject, installed, skipped};

/// Runs an example; its service must report a request rate of its own from this source.
async fn example(name: &str, source: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(format!("{name}.clnrm.toml"));
    let project = TestProject::with(&fs::read_to_string(file).unwrap());
    project
        .run(&["run", "--keep"])
        .await
        .expect(0)
        .says("0 leaked");
    let report = project.manage(&[]).await;
    let service = &report["services"][0];
    assert_eq!(service["sources"]["request_rate"], source, "{service:#}");
    assert!(service["current"]["request_rate"].is_f64(), "{service:#}");
    project.stop_all().await;
}

#[tokio::test]
async fn redis() {
    if ["redis-server", "redis-cli", "redis-benchmark"]
        .map(installed)
        .iter()
        .all(|found| *found)
    {
        example("redis", "redis").await;
    }
}

#[tokio::test]
async fn nginx() {
    if Path::new("/usr/sbin/nginx").exists() || installed("nginx") {
        example("nginx", "nginx").await;
    }
}

#[tokio::test]
async fn postgres() {
    let Ok(_) = fs::read_dir("/usr/lib/postgresql") else {
        return skipped("PostgreSQL is not installed");
    };
    if installed("psql") {
        example("postgres", "postgres").await;
    }
}

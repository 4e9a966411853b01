//! `job` and `may_exit`: whether a service ends by itself.

use crate::config::definition::Lifetime;
use crate::config::reader::{Table, Value};

/// Keys that say something of a service which others use while it runs, and why a job has none of it.
const NOT_OF_A_JOB: [(&str, &str); 7] = [
    ("ports", "when it is done, nobody listens there any more"),
    ("metrics", "a job is not measured"),
    ("scale", "a job runs once for each test"),
    (
        "pool",
        "a job runs anew for each test, so none is kept warm",
    ),
    ("response_target", "a job is not measured"),
    (
        "healthcheck",
        "a job is ready when it has ended with exit code 0",
    ),
    (
        "health_check",
        "a job is ready when it has ended with exit code 0",
    ),
];
/// The same of `ready`, which may state the longest time that the job takes.
const NOT_OF_A_JOBS_READY: [&str; 4] = ["tcp", "http", "log", "command"];

/// Reads both, and refuses what contradicts them.
pub(super) fn read(table: &mut Table<'_>) -> Lifetime {
    let job = table.take("job");
    let may_exit = table.take("may_exit");
    let is_job = job.as_ref().and_then(|value| value.boolean()) == Some(true);
    let may_end = may_exit.as_ref().and_then(|value| value.boolean()) == Some(true);
    if !is_job {
        return if may_end {
            Lifetime::MayExit
        } else {
            Lifetime::Stays
        };
    }
    if let Some(may_exit) = may_exit {
        may_exit.refuse_with("a job always ends", "remove it");
    }
    for (key, why) in NOT_OF_A_JOB {
        table.refuse_key(
            key,
            &format!("the service is a job, and {why}"),
            "remove it",
        );
    }
    if let Some(ready) = table.look_at("ready") {
        refuse_checks(&ready);
    }
    Lifetime::Job
}

fn refuse_checks(ready: &Value<'_>) {
    for key in NOT_OF_A_JOBS_READY {
        if ready.raw().get(key).is_some() {
            ready.refuse_with(
                format!("`{key}` is not asked of a job, which is ready when it has ended with exit code 0"),
                "keep `timeout` alone: the longest time that it may take",
            );
        }
    }
}

//! `ready`, and the legacy `healthcheck`.
//!
//! Deliberately absent: the default for a service with a port, which is known only when the whole table is read.

use std::time::Duration;

use super::values::Uses;
use crate::config::definition::{CommandLine, HealthCheck, LogPattern, Readiness, ReadyCheck};
use crate::config::reader::{Table, Value};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// A look costs about a millisecond; this adds at most a quarter of a second to any start.
const DEFAULT_MAX_INTERVAL: Duration = Duration::from_millis(250);
/// Docker's own defaults of a health check.
const HEALTHCHECK_INTERVAL: Duration = Duration::from_secs(30);
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTHCHECK_RETRIES: u32 = 3;

/// More lines than any server prints before it is ready; catches a slipped digit.
const MOST_LINES: u32 = 1000;

/// What the file says about readiness.
#[derive(Debug)]
pub(super) struct ReadReady {
    pub(super) readiness: Readiness,
    /// The file lists no check and does not rule `tcp` out.
    pub(super) use_default: bool,
    /// The legacy `healthcheck`, which goes on when the service is ready.
    pub(super) health_check: Option<HealthCheck>,
}

pub(super) fn read(table: &mut Table<'_>, uses: &mut Uses) -> ReadReady {
    let ready = table.take("ready");
    let healthcheck = table.take_any(&["healthcheck", "health_check"]);
    if let (Some(_), Some(healthcheck)) = (&ready, &healthcheck) {
        healthcheck.refuse("`ready` says when the service is ready: keep one of the two");
    }
    let read = match (ready, healthcheck) {
        (Some(ready), _) => read_ready(&ready, uses),
        (None, Some(healthcheck)) => read_healthcheck(&healthcheck, uses),
        (None, None) => None,
    };
    read.unwrap_or(ReadReady {
        readiness: Readiness {
            checks: Vec::new(),
            stated: false,
            timeout: DEFAULT_TIMEOUT,
            max_interval: DEFAULT_MAX_INTERVAL,
        },
        use_default: true,
        health_check: None,
    })
}

fn read_ready(value: &Value<'_>, uses: &mut Uses) -> Option<ReadReady> {
    let mut table = value.table()?;
    let mut checks = Vec::new();
    let tcp = table.take("tcp");
    let wants_tcp = tcp.as_ref().and_then(|value| value.boolean());
    if let Some(tcp) = tcp.filter(|_| wants_tcp == Some(true)) {
        uses.main_port.push(tcp.place);
        checks.push(ReadyCheck::Tcp);
    }
    let http = table.take("http").and_then(|value| value.endpoint(uses));
    checks.extend(http.map(ReadyCheck::Http));
    let log = table.take("log").and_then(|value| read_log(&value));
    checks.extend(log.map(ReadyCheck::Log));
    let command = table.take("command").and_then(|value| value.command(uses));
    checks.extend(command.map(ReadyCheck::Command));
    let timeout = table.take("timeout").and_then(|value| value.duration());
    table.finish();
    Some(ReadReady {
        use_default: checks.is_empty() && wants_tcp.is_none(),
        readiness: Readiness {
            stated: !checks.is_empty(),
            checks,
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            max_interval: DEFAULT_MAX_INTERVAL,
        },
        health_check: None,
    })
}

/// A pattern, or `{ pattern, times, raw }`.
fn read_log(value: &Value<'_>) -> Option<LogPattern> {
    if !value.is_table() {
        let pattern = value.pattern()?;
        return Some(LogPattern {
            pattern,
            times: 1,
            raw: false,
        });
    }
    let mut table = value.table()?;
    let pattern = table.take("pattern");
    if pattern.is_none() {
        value.refuse("needs a `pattern`");
    }
    let times = table.take("times");
    let times = times.and_then(|value| value.integer(1..=MOST_LINES));
    let raw = table.take("raw").and_then(|value| value.boolean());
    table.finish();
    Some(LogPattern {
        pattern: pattern?.pattern()?,
        times: times.unwrap_or(1),
        raw: raw.unwrap_or(false),
    })
}

/// A command for the shell, or `{ command, interval, timeout, retries }` as Docker and compose have it.
fn read_healthcheck(value: &Value<'_>, uses: &mut Uses) -> Option<ReadReady> {
    if value.is_string() {
        let check = Check {
            command: value.command(uses)?,
            interval: None,
            timeout: HEALTHCHECK_TIMEOUT,
            retries: None,
        };
        let mut read = checked(check, Duration::ZERO, None);
        // The short form says nothing of how long.
        read.readiness.timeout = DEFAULT_TIMEOUT;
        return Some(read);
    }
    let mut table = value.table()?;
    let command = table.take_any(&["command", "test"]);
    if command.is_none() {
        value.refuse("needs a `command`");
    }
    let command = command.and_then(|value| without_docker_prefix(&value, uses));
    let interval = table.take("interval").and_then(|value| value.duration());
    let start_period = (table.take("start_period")).and_then(|value| value.duration_or_zero());
    let start_interval = (table.take("start_interval")).and_then(|value| value.duration());
    let timeout = table.take("timeout").and_then(|value| value.duration());
    let retries = table
        .take("retries")
        .and_then(|value| value.integer(1..=10_000));
    table.finish();
    let retries: Option<u32> = retries;
    let timeout = timeout.unwrap_or(HEALTHCHECK_TIMEOUT);
    Some(checked(
        Check {
            command: command?,
            interval,
            timeout,
            retries,
        },
        start_period.unwrap_or_default(),
        start_interval,
    ))
}

/// A check as it is written.
struct Check {
    command: CommandLine,
    interval: Option<Duration>,
    timeout: Duration,
    retries: Option<u32>,
}

/// Ready when the command passes; well as long as it does.
fn checked(check: Check, start_period: Duration, start_interval: Option<Duration>) -> ReadReady {
    let health_check = HealthCheck {
        command: check.command.clone(),
        interval: check.interval.unwrap_or(HEALTHCHECK_INTERVAL),
        timeout: check.timeout,
        retries: check.retries.unwrap_or(HEALTHCHECK_RETRIES),
    };
    let paused = start_interval.or(check.interval);
    ReadReady {
        readiness: Readiness {
            checks: vec![ReadyCheck::Command(check.command)],
            stated: true,
            timeout: health_check.interval.saturating_mul(health_check.retries)
                + start_period
                + check.timeout,
            max_interval: paused.unwrap_or(DEFAULT_MAX_INTERVAL),
        },
        use_default: false,
        health_check: Some(health_check),
    }
}

/// Docker writes `["CMD", program, ...]` and `["CMD-SHELL", script]`.
fn without_docker_prefix(value: &Value<'_>, uses: &mut Uses) -> Option<CommandLine> {
    let arguments = match value.command(uses)? {
        CommandLine::Exec(arguments) => arguments,
        shell => return Some(shell),
    };
    match arguments.as_slice() {
        [prefix, program, rest @ ..] if prefix == "CMD" => Some(CommandLine::Exec(
            std::iter::once(program).chain(rest).cloned().collect(),
        )),
        [prefix, script] if prefix == "CMD-SHELL" => Some(CommandLine::Shell(script.clone())),
        [prefix, ..] if prefix == "CMD" || prefix == "CMD-SHELL" || prefix == "NONE" => {
            value.refuse_with(
                format!("\"{prefix}\" does not stand like this in a health check"),
                "write [\"CMD\", program, ...] or [\"CMD-SHELL\", script]",
            );
            None
        }
        _ => Some(CommandLine::Exec(arguments)),
    }
}

//! `ready`, and the legacy `healthcheck`.
//!
//! Deliberately absent: the default for a service with a port, which is known only when the whole table is read.

use std::time::Duration;

use super::values::Uses;
use crate::config::definition::{CommandLine, LogPattern, Readiness, ReadyCheck};
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
}

pub(super) fn read(table: &mut Table<'_>, uses: &mut Uses) -> ReadReady {
    let ready = table.take("ready");
    let healthcheck = table.take_any(&["healthcheck", "health_check"]);
    if let (Some(_), Some(healthcheck)) = (&ready, &healthcheck) {
        healthcheck.refuse("`ready` says when the service is ready: keep one of the two");
    }
    let read = match (ready, healthcheck) {
        (Some(ready), _) => read_ready(&ready, uses),
        (None, Some(healthcheck)) => {
            read_healthcheck(&healthcheck, uses).map(|readiness| ReadReady {
                readiness,
                use_default: false,
            })
        }
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
fn read_healthcheck(value: &Value<'_>, uses: &mut Uses) -> Option<Readiness> {
    if value.is_string() {
        return Some(Readiness {
            checks: vec![ReadyCheck::Command(value.command(uses)?)],
            stated: true,
            timeout: DEFAULT_TIMEOUT,
            max_interval: DEFAULT_MAX_INTERVAL,
        });
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
    let timeout = timeout.unwrap_or(HEALTHCHECK_TIMEOUT);
    let retries: u32 = retries.unwrap_or(HEALTHCHECK_RETRIES);
    Some(Readiness {
        checks: vec![ReadyCheck::Command(command?)],
        stated: true,
        timeout: interval
            .unwrap_or(HEALTHCHECK_INTERVAL)
            .saturating_mul(retries)
            + start_period.unwrap_or_default()
            + timeout,
        max_interval: start_interval.or(interval).unwrap_or(DEFAULT_MAX_INTERVAL),
    })
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

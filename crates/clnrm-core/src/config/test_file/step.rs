//! `[[steps]]`, and the steps of `[[scenarios]]`.
//!
//! Deliberately absent: what refers to services and other steps, which `references.rs` checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::expectations::read_expectations;
use super::http_step;
use super::values::Uses;
use crate::config::definition::{
    CommandLine, CommandStep, Expectations, ExpectedEnd, Retry, StepAction, StepDefinition,
};
use crate::config::reader::{Place, Table, Value};
use crate::config::signal;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_RETRIES: u32 = 3;
const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(1);
const MOST_ATTEMPTS: u32 = 1000;

/// A step and what later checks need.
#[derive(Debug)]
pub(super) struct ReadStep {
    pub(super) definition: StepDefinition,
    pub(super) place: Place,
    pub(super) scenario: Option<String>,
    pub(super) service: Option<(String, Place)>,
    pub(super) depends_on: Vec<(String, Place)>,
    pub(super) uses: Uses,
}

/// Reads the step that stands at `number`, from 1; `None` when it is not a table.
pub(super) fn read(value: &Value<'_>, number: usize, scenario: Option<&str>) -> Option<ReadStep> {
    let mut table = value.table()?;
    let mut uses = Uses::default();
    let name = table.take("name").and_then(|value| value.text());
    let service =
        (table.take("service")).and_then(|value| Some((value.text()?, value.place.clone())));
    let depends_on = table.strings("depends_on");
    let timeout = table.take("timeout").and_then(|value| value.duration());
    let retry = read_retry(&mut table);
    let continue_on_failure = (table.take("continue_on_failure")).and_then(|value| value.boolean());
    let service_name = service.as_ref().map(|(name, _)| name.as_str());
    let action = read_action(&mut table, service_name, &mut uses);
    table.description();
    table.finish();
    Some(ReadStep {
        place: value.place.clone(),
        scenario: scenario.map(str::to_owned),
        definition: StepDefinition {
            name: name.unwrap_or_else(|| format!("step {number}")),
            // Stands in for what could not be read, so that later steps may still refer to this one.
            action: action.unwrap_or_else(nothing),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            retry,
            continue_on_failure: continue_on_failure.unwrap_or(false),
            depends_on: depends_on.iter().map(|(name, _)| name.clone()).collect(),
        },
        service,
        depends_on,
        uses,
    })
}

fn nothing() -> StepAction {
    StepAction::Command(CommandStep {
        command: CommandLine::Exec(Vec::new()),
        service: None,
        env: BTreeMap::new(),
        env_of_caller: BTreeSet::new(),
        working_dir: None,
        end: ExpectedEnd::Code(0),
        output: Expectations::default(),
    })
}

/// Keys that only a command has, and what an HTTP step has instead.
const COMMAND_KEYS: [(&str, &str); 11] = [
    ("expected_output_regex", "write http = { body_regex = ... }"),
    (
        "expected_output_regex_not",
        "write http = { body_regex_not = ... }",
    ),
    (
        "expected_output_contains",
        "write http = { body_contains = ... }",
    ),
    ("raw", "write http = { raw = ... }"),
    ("expected_exit_code", "write http = { status = ... }"),
    ("expected_signal", "remove it"),
    ("env", "remove it"),
    ("environment", "remove it"),
    ("workdir", "remove it"),
    ("working_dir", "remove it"),
    ("stdin", "write http = { body = ... }"),
];

fn read_action(
    table: &mut Table<'_>,
    service: Option<&str>,
    uses: &mut Uses,
) -> Option<StepAction> {
    let command = table.take_any(&["command", "cmd"]);
    let http = table.take("http");
    match (command, http) {
        (Some(command), None) => {
            let command = command.command(uses);
            read_command(table, command, service, uses)
        }
        (None, Some(http)) => {
            for (key, way_out) in COMMAND_KEYS {
                table.refuse_key(key, "it belongs to a step with a command", way_out);
            }
            http_step::read(&http, uses).map(StepAction::Http)
        }
        (Some(_), Some(http)) => {
            http.refuse("a step has a `command` or `http`, not both");
            None
        }
        (None, None) => {
            table.refuse_with("the step does nothing", "add `command` or `http`");
            None
        }
    }
}

fn read_command(
    table: &mut Table<'_>,
    command: Option<CommandLine>,
    service: Option<&str>,
    uses: &mut Uses,
) -> Option<StepAction> {
    let env = table.take_any(&["env", "environment"]);
    let env = env.map(|value| value.environment(uses)).unwrap_or_default();
    let working_dir = table.take_any(&["workdir", "working_dir"]);
    let working_dir = working_dir.and_then(|value| value.text());
    let end = read_end(table);
    let output = read_expectations(
        table,
        [
            "expected_output_regex",
            "expected_output_regex_not",
            "expected_output_contains",
        ],
    );
    Some(StepAction::Command(CommandStep {
        command: command?,
        service: service.map(str::to_owned),
        env: env.values,
        env_of_caller: env.of_caller,
        working_dir: working_dir.map(PathBuf::from),
        end,
        output,
    }))
}

/// `expected_exit_code` or `expected_signal`.
fn read_end(table: &mut Table<'_>) -> ExpectedEnd {
    let code = table.take("expected_exit_code");
    let signal = table.take("expected_signal");
    if let (Some(_), Some(signal)) = (&code, &signal) {
        signal.refuse("`expected_exit_code` says how it ends: keep one of the two");
    }
    let signal = signal.and_then(|value| read_signal(&value));
    let code = code.and_then(|value| value.integer(0..=255));
    signal.map_or(ExpectedEnd::Code(code.unwrap_or(0)), ExpectedEnd::Signal)
}

fn read_signal(value: &Value<'_>) -> Option<i32> {
    let name = value.text()?;
    let number = signal::number_of(&name);
    if number.is_none() {
        let known: Vec<&str> = signal::names().collect();
        value.refuse_with(
            format!("{name:?} is not a signal that ends a process"),
            format!("write one of {}", known.join(", ")),
        );
    }
    number
}

/// `retry_on_failure`, `max_retries`, `retry_delay`; or `retry = { max_attempts, delay }`.
fn read_retry(table: &mut Table<'_>) -> Retry {
    let on_failure = table
        .take("retry_on_failure")
        .and_then(|value| value.boolean());
    let max_retries = table.take("max_retries");
    let delay = table.take("retry_delay");
    let retry = table.take("retry");
    let is_off = on_failure == Some(false) || (on_failure.is_none() && max_retries.is_none());
    if let Some(retry) = retry {
        for value in [&max_retries, &delay].into_iter().flatten() {
            value.refuse("`retry` says this already: keep one of the two");
        }
        if on_failure == Some(false) {
            retry.refuse("`retry_on_failure = false` contradicts it: keep one of the two");
        }
        return read_retry_table(&retry);
    }
    if is_off {
        for value in [&max_retries, &delay].into_iter().flatten() {
            value.refuse_with("does nothing here", "write retry_on_failure = true");
        }
        return Retry {
            max_attempts: 1,
            delay: Duration::ZERO,
        };
    }
    let retries = max_retries.and_then(|value| value.integer(0..=MOST_ATTEMPTS));
    Retry {
        max_attempts: 1 + retries.unwrap_or(DEFAULT_RETRIES),
        delay: (delay.and_then(|value| value.duration_or_zero())).unwrap_or(DEFAULT_RETRY_DELAY),
    }
}

fn read_retry_table(value: &Value<'_>) -> Retry {
    let mut retry = Retry {
        max_attempts: 1 + DEFAULT_RETRIES,
        delay: DEFAULT_RETRY_DELAY,
    };
    if let Some(mut table) = value.table() {
        let attempts = table.take("max_attempts");
        let attempts = attempts.and_then(|value| value.integer(1..=MOST_ATTEMPTS));
        retry.max_attempts = attempts.unwrap_or(retry.max_attempts);
        let delay = table
            .take("delay")
            .and_then(|value| value.duration_or_zero());
        retry.delay = delay.unwrap_or(retry.delay);
        table.finish();
    }
    retry
}

//! The shapes of a test file: `[test]`, `[services]`, `[[steps]]`, and the aliases that older files use.
//!
//! Every alias is named where it is read. Deliberately absent: files and TOML syntax (see `reader`).

use std::path::Path;
use std::time::Duration;

mod conflicts;
mod container;
mod context;
mod expectations;
mod foreign_keys;
mod http_step;
mod launch;
mod lifetime;
pub(crate) mod limits;
mod metrics;
mod pool;
mod ready;
mod references;
mod service;
mod step;
mod values;

use super::definition::{TestAssertions, TestDefinition};
use super::identity::{Digest, TestId};
use super::reader::{Table, Value};
pub(crate) use context::Context;
use service::ReadService;
use step::ReadStep;

/// Reads a whole test file.
pub(crate) fn read(mut table: Table<'_>, context: &Context<'_>, digest: Digest) -> TestDefinition {
    let mut heading = Heading::default();
    heading.read(&mut table);
    let services = table.take("services");
    let steps = table.take("steps");
    let scenarios = table.take("scenarios");
    let parts = [&services, &steps, &scenarios];
    if parts.into_iter().flatten().all(Value::is_empty) {
        table.refuse_with("the file has no steps and no services", "add [[steps]]");
    }
    let services = services.map_or_else(Vec::new, |value| read_services(&value, context));
    let mut read = Vec::new();
    if let Some(steps) = steps {
        read_steps(&steps, None, &mut read);
    }
    if let Some(scenarios) = scenarios {
        read_scenarios(&scenarios, &mut read);
    }
    references::check_services(table.source, &services);
    references::check_steps(table.source, &services, &mut read);
    conflicts::check_ports(table.source, &services);
    conflicts::check_jobs(table.source, &services, &read);
    refuse_unsupported(&mut table);
    table.finish();
    let name = heading.name.unwrap_or_else(|| name_of(context.file));
    let file_name = context.file.file_name().unwrap_or_default();
    TestDefinition {
        id: TestId::of(&context.folder.join(file_name), &name),
        digest,
        file: context.file.to_owned(),
        name,
        description: heading.description,
        timeout: heading.timeout,
        services: services.into_iter().map(|read| read.definition).collect(),
        steps: read.into_iter().map(|read| read.definition).collect(),
        assertions: heading.assertions.unwrap_or_default(),
    }
}

/// `api` of `tests/api.clnrm.toml`: what a test is called that does not say.
pub(crate) fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".toml").unwrap_or(&name);
    name.strip_suffix(".clnrm").unwrap_or(name).to_owned()
}

/// What stands in `[test]`, in `[test.metadata]` or, in older files, at the top.
#[derive(Debug, Default)]
struct Heading {
    name: Option<String>,
    description: Option<String>,
    timeout: Option<Duration>,
    assertions: Option<TestAssertions>,
}

impl Heading {
    fn read(&mut self, root: &mut Table<'_>) {
        self.read_keys(root);
        let Some(mut test) = root.take("test").and_then(|value| value.table()) else {
            return;
        };
        self.read_keys(&mut test);
        if let Some(mut metadata) = test.take("metadata").and_then(|value| value.table()) {
            self.read_keys(&mut metadata);
            metadata.refuse_key(
                "concurrent",
                "the steps of a test run one after the other",
                "remove it; files run at once with `clnrm run --jobs`",
            );
            metadata.finish();
        }
        for (key, why, way_out) in [
            (
                "cleanup",
                "clnrm removes whatever it started",
                "remove this table",
            ),
            (
                "benchmarks",
                "a test passes or fails by its steps",
                "remove this table",
            ),
            (
                "security",
                "it names nothing that can be checked",
                "remove this table",
            ),
        ] {
            test.refuse_key(key, why, way_out);
        }
        test.finish();
    }

    fn read_keys(&mut self, table: &mut Table<'_>) {
        let name = table.take("name");
        set_once(&mut self.name, name, Value::text);
        let timeout = table.take("timeout");
        set_once(&mut self.timeout, timeout, Value::duration);
        let assertions = table.take("assertions");
        set_once(&mut self.assertions, assertions, read_assertions);
        let description = table.description();
        self.description = self.description.take().or(description);
    }
}

/// The same key may stand in one of three tables, not in two.
fn set_once<'a, T>(
    target: &mut Option<T>,
    value: Option<Value<'a>>,
    read: impl FnOnce(&Value<'a>) -> Option<T>,
) {
    let Some(value) = value else { return };
    if target.is_some() {
        value.refuse("is given twice: keep one of [test], [test.metadata] and the top of the file");
    }
    *target = read(&value);
}

/// Of the keys that older files have here, two can be measured. The others are prose, and passing them unread would be a lie.
fn read_assertions(value: &Value<'_>) -> Option<TestAssertions> {
    const WAY_OUT: &str = "write a step that checks it, or remove it";
    if value.raw().is_array() {
        for entry in value.list().unwrap_or_default() {
            let kind = entry
                .raw()
                .get("type")
                .and_then(|kind| kind.get_ref().as_str());
            let kind = kind.unwrap_or("without type");
            entry.refuse_with(
                format!("not supported: assertion {kind:?} cannot be checked"),
                WAY_OUT,
            );
        }
        return None;
    }
    let mut table = value.table()?;
    let mut assertions = TestAssertions::default();
    if let Some(least) = table.take("container_should_have_executed_commands") {
        assertions.min_commands_executed = least.integer(0..=1_000_000);
    }
    if let Some(hermetic) = table.take("execution_should_be_hermetic") {
        assertions.hermetic = hermetic.boolean()?;
        if !assertions.hermetic {
            hermetic.refuse_with("only `true` can be checked", "remove it");
        }
    }
    for (_, value) in table.into_entries() {
        value.refuse_with("not supported: clnrm cannot check this", WAY_OUT);
    }
    Some(assertions)
}

fn read_services(value: &Value<'_>, context: &Context<'_>) -> Vec<ReadService> {
    if value.raw().is_array() {
        value.refuse_with(
            "expected a table, found a list",
            "write [services.NAME] for each",
        );
        return Vec::new();
    }
    let services = value.table().map_or_else(Vec::new, Table::into_entries);
    let read = |(name, value): (&str, Value<'_>)| service::read(name, &value, context);
    services.into_iter().filter_map(read).collect()
}

fn read_steps(value: &Value<'_>, scenario: Option<&str>, steps: &mut Vec<ReadStep>) {
    for (index, value) in value.list().unwrap_or_default().iter().enumerate() {
        steps.extend(step::read(value, index + 1, scenario));
    }
}

/// `[[scenarios]]` of older files: named groups of steps, run one after the other.
fn read_scenarios(value: &Value<'_>, steps: &mut Vec<ReadStep>) {
    for (index, value) in value.list().unwrap_or_default().iter().enumerate() {
        let Some(mut table) = value.table() else {
            continue;
        };
        let name = table.take("name").and_then(|value| value.text());
        let name = name.unwrap_or_else(|| format!("scenario {}", index + 1));
        table.description();
        match table.take("steps") {
            Some(value) => read_steps(&value, Some(&name), steps),
            None => table.refuse_with("the scenario has no steps", "add `steps`"),
        }
        table.finish();
    }
}

/// Tables of older files that promise what nobody checks.
fn refuse_unsupported(table: &mut Table<'_>) {
    for (key, why, way_out) in [
        (
            "policy",
            "steps run as the user who runs clnrm",
            "remove this table; a time limit is `timeout` in [test]",
        ),
        (
            "metrics",
            "every service is always measured",
            "remove this table; `metrics` of a service names its source",
        ),
        (
            "ai_management",
            "it is asked for on the command line",
            "remove this table; use `clnrm services ai-manage`",
        ),
        (
            "validation",
            "a test passes when all its steps pass",
            "remove this table; see `continue_on_failure`",
        ),
    ] {
        table.refuse_key(key, why, way_out);
    }
}

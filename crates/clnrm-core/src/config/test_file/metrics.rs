//! `metrics`: where a service's own numbers come from.

use super::values::Uses;
use crate::config::definition::{MetricsSpec, PAGE, ServerForm, ServerSpec, SettingValue};
use crate::config::reader::{Table, Value};
use crate::config::spelling::nearest;

pub(super) fn read(
    value: &Value<'_>,
    servers: &[&ServerForm],
    uses: &mut Uses,
) -> Option<MetricsSpec> {
    if value.is_string() {
        return read_name(value, servers, uses).map(MetricsSpec::Server);
    }
    if !value.is_table() {
        return value.expected("the name of a source, or a table");
    }
    let mut table = value.table()?;
    let mut named = Vec::new();
    for form in servers {
        named.extend(table.take(form.name).map(|value| (form, value)));
    }
    if named.len() != 1 {
        value.refuse_with("must have one source", example(servers));
    }
    let server = named
        .pop()
        .and_then(|(form, value)| match form.default_page {
            Some(_) => read_page(form, &value, &mut table, uses),
            None => read_table(form, &value, uses),
        });
    table.finish();
    server.map(MetricsSpec::Server)
}

fn read_name(value: &Value<'_>, servers: &[&ServerForm], uses: &mut Uses) -> Option<ServerSpec> {
    let name = value.text()?;
    let is_named = |form: &&&ServerForm| form.name == name || form.alias == Some(name.as_str());
    if let Some(form) = servers.iter().find(is_named) {
        uses.main_port.push(value.place.clone());
        return Some(form.defaults());
    }
    let hint = match nearest(&name, servers.iter().map(|form| form.name)) {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => example(servers),
    };
    value.refuse_with(format!("{name:?} is not a source of metrics"), hint);
    None
}

/// `{ NAME = "/path", KEY = … }`
fn read_page(
    form: &ServerForm,
    page: &Value<'_>,
    table: &mut Table<'_>,
    uses: &mut Uses,
) -> Option<ServerSpec> {
    let page = page.endpoint(uses);
    let mut server = form.defaults();
    read_settings(form, table, &mut server);
    server.settings.insert(PAGE.to_owned(), page?);
    Some(server)
}

/// `{ NAME = { KEY = … } }`
fn read_table(form: &ServerForm, value: &Value<'_>, uses: &mut Uses) -> Option<ServerSpec> {
    uses.main_port.push(value.place.clone());
    let mut table = value.table()?;
    let mut server = form.defaults();
    read_settings(form, &mut table, &mut server);
    table.finish();
    Some(server)
}

fn read_settings(form: &ServerForm, table: &mut Table<'_>, server: &mut ServerSpec) {
    let mut stated = Vec::new();
    for setting in form.settings {
        let Some(value) = table.take(setting.key) else {
            continue;
        };
        stated.push(setting.key);
        let text = match setting.value {
            SettingValue::Text => value.text(),
            SettingValue::Secret => value.string(),
            SettingValue::MetricName => metric_name(&value),
        };
        server
            .settings
            .extend(text.map(|text| (setting.key.to_owned(), text)));
    }
    for setting in form.settings {
        if let Some((other, why)) = setting.needs
            && stated.contains(&setting.key)
            && !stated.contains(&other)
        {
            table.refuse_with(why, format!("add `{other}`"));
        }
    }
}

/// <https://prometheus.io/docs/concepts/data_model/>: any text; what stands in the way of reading a series is no name.
fn metric_name(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    let is_refused = |c: char| c.is_control() || "{}\"\\".contains(c);
    if name.trim().is_empty() || name.contains(is_refused) {
        value.refuse_with(
            format!("{name:?} is not the name of a metric"),
            "write the bare name, without labels",
        );
        return None;
    }
    Some(name)
}

/// `write "redis", "postgres", "nginx" or { prometheus = "/metrics" }`
fn example(servers: &[&ServerForm]) -> String {
    let mut examples: Vec<String> = (servers.iter())
        .map(|form| match form.default_page {
            Some(page) if !form.settings.is_empty() => {
                format!("{{ {} = \"{page}\" }}", form.name)
            }
            _ => format!("\"{}\"", form.name),
        })
        .collect();
    let last = examples.pop().unwrap_or_default();
    format!("write {} or {last}", examples.join(", "))
}

//! `http`: one request and what is expected of the answer.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::expectations::read_expectations;
use super::values::Uses;
use crate::config::definition::{Expectations, HttpStep};
use crate::config::reader::{Table, Value};

/// A URL, or a table with `url` in it.
pub(super) fn read(value: &Value<'_>, uses: &mut Uses) -> Option<HttpStep> {
    if value.is_string() {
        return Some(HttpStep {
            url: read_url(value, uses)?,
            method: "GET".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            status: None,
            body_expectations: Expectations::default(),
            header_regex: BTreeMap::new(),
        });
    }
    if !value.is_table() {
        return value.expected("a URL, or a table with `url`");
    }
    let mut table = value.table()?;
    let url = table.take("url");
    if url.is_none() {
        table.refuse_with("needs a `url`", "write url = \"http://{NAME.addr}/\"");
    }
    let url = url.and_then(|value| read_url(&value, uses));
    let method = table.take("method").and_then(|value| read_method(&value));
    let mut headers = table.take("headers").map_or_else(BTreeMap::new, |value| {
        read_headers(&value, |value| header_value(value, uses))
    });
    let body = read_body(&mut table, &mut headers, uses);
    let status = table
        .take("status")
        .and_then(|value| value.integer(100..=599));
    let header_regex = table
        .take("header_regex")
        .map_or_else(BTreeMap::new, |value| {
            read_headers(&value, |value| value.pattern())
        });
    let body_expectations = read_expectations(
        &mut table,
        ["body_regex", "body_regex_not", "body_contains"],
    );
    table.finish();
    Some(HttpStep {
        url: url?,
        method: method.unwrap_or_else(|| "GET".to_owned()),
        headers,
        body,
        status,
        body_expectations,
        header_regex,
    })
}

fn read_url(value: &Value<'_>, uses: &mut Uses) -> Option<String> {
    let url = value.text()?;
    uses.template(&value.place, &url);
    if value.is_plain_http(&url)? {
        return Some(url);
    }
    value.refuse_with(
        format!("{url:?} is not an http URL"),
        "write e.g. \"http://{NAME.addr}/health\" with the name of a service",
    );
    None
}

fn read_method(value: &Value<'_>) -> Option<String> {
    let method = value.text()?;
    if !method.chars().all(|c| c.is_ascii_alphabetic()) {
        value.refuse(format!("{method:?} is not an HTTP method"));
        return None;
    }
    Some(method.to_ascii_uppercase())
}

fn header_value(value: &Value<'_>, uses: &mut Uses) -> Option<String> {
    let text = value.scalar()?;
    if text.contains(|c: char| c.is_control() && c != '\t') {
        value.refuse("a header has no line breaks or other control characters");
    }
    uses.template(&value.place, &text);
    Some(text)
}

fn read_headers(
    value: &Value<'_>,
    mut read: impl FnMut(&Value<'_>) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let entries = value.table().map_or_else(Vec::new, Table::into_entries);
    for (name, value) in entries {
        // RFC 9110, section 5.6.2: a field name is a token.
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            value.refuse(format!("{name:?} cannot be the name of a header"));
        }
        if let Some(text) = read(&value) {
            headers.insert(name.to_owned(), text);
        }
    }
    headers
}

/// `body` is sent as it is; `json` is any TOML value, sent as JSON with its content type.
fn read_body(
    table: &mut Table<'_>,
    headers: &mut BTreeMap<String, String>,
    uses: &mut Uses,
) -> Option<String> {
    let body = table.take("body");
    let json = table.take("json");
    if let (Some(_), Some(json)) = (&body, &json) {
        json.refuse("`body` is the body already: keep one of the two");
    }
    let (place, text) = match (body, json) {
        (Some(body), _) => (body.place.clone(), body.string()?),
        (None, Some(json)) => {
            let named = |name: &String| name.eq_ignore_ascii_case("content-type");
            if !headers.keys().any(named) {
                headers.insert("content-type".to_owned(), "application/json".to_owned());
            }
            (json.place.clone(), to_json(json.raw()).to_string())
        }
        (None, None) => return None,
    };
    uses.template(&place, &text);
    Some(text)
}

fn to_json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(serde_json::Value::Null, Into::into),
        DeValue::Float(float) => float
            .as_str()
            .parse::<f64>()
            .map_or(serde_json::Value::Null, Into::into),
        DeValue::Boolean(boolean) => (*boolean).into(),
        DeValue::Datetime(moment) => moment.to_string().into(),
        DeValue::Array(array) => array
            .iter()
            .map(|element| to_json(element.get_ref()))
            .collect(),
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                (key.to_string(), to_json(value.get_ref()))
            };
            table.iter().map(entry).collect()
        }
    }
}

//! `metrics`: where a service's own numbers come from.

use super::values::Uses;
use crate::config::definition::{MetricsSpec, PrometheusSpec};
use crate::config::nearest;
use crate::config::reader::{Table, Value};

const SOURCES: [&str; 4] = ["redis", "postgres", "nginx", "prometheus"];
const EXAMPLE: &str = "write \"redis\", \"postgres\", \"nginx\" or { prometheus = \"/metrics\" }";

pub(super) fn read(value: &Value<'_>, uses: &mut Uses) -> Option<MetricsSpec> {
    if value.is_string() {
        return read_name(value, uses);
    }
    if !value.is_table() {
        return value.expected("the name of a source, or a table");
    }
    let mut table = value.table()?;
    let prometheus = table.take("prometheus");
    let redis = table.take("redis");
    let nginx = table.take("nginx");
    let postgres = table.take("postgres");
    let sources = [&prometheus, &redis, &nginx, &postgres];
    if sources.into_iter().flatten().count() != 1 {
        value.refuse_with("must have one source", EXAMPLE);
    }
    let prometheus = prometheus.map(|endpoint| read_prometheus(&endpoint, &mut table, uses));
    table.finish();
    if let Some(redis) = redis {
        return read_redis(&redis, uses);
    }
    if let Some(path) = nginx {
        let path = path.endpoint(uses)?;
        return Some(MetricsSpec::Nginx { path });
    }
    if let Some(postgres) = postgres {
        return read_postgres(&postgres, uses);
    }
    prometheus?
}

fn read_name(value: &Value<'_>, uses: &mut Uses) -> Option<MetricsSpec> {
    let name = value.text()?;
    let spec = match name.as_str() {
        "redis" => MetricsSpec::Redis {
            username: None,
            password: None,
        },
        "nginx" => MetricsSpec::Nginx {
            path: "/nginx_status".to_owned(),
        },
        "postgres" | "postgresql" => postgres(None, None, None),
        "prometheus" => MetricsSpec::Prometheus(PrometheusSpec {
            endpoint: "/metrics".to_owned(),
            requests: DEFAULT_REQUESTS.to_owned(),
            errors: None,
            duration: DEFAULT_DURATION.to_owned(),
            connections: None,
        }),
        _ => {
            let hint = match nearest(&name, SOURCES) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => EXAMPLE.to_owned(),
            };
            value.refuse_with(format!("{name:?} is not a source of metrics"), hint);
            return None;
        }
    };
    uses.main_port.push(value.place.clone());
    Some(spec)
}

/// The names that most client libraries give to their HTTP metrics.
const DEFAULT_REQUESTS: &str = "http_requests_total";
const DEFAULT_DURATION: &str = "http_request_duration_seconds";

fn read_prometheus(
    endpoint: &Value<'_>,
    table: &mut Table<'_>,
    uses: &mut Uses,
) -> Option<MetricsSpec> {
    let endpoint = endpoint.endpoint(uses);
    let mut name = |key| table.take(key).and_then(|value| metric_name(&value));
    let requests = name("requests");
    let errors = name("errors");
    let duration = name("duration");
    let connections = name("connections");
    Some(MetricsSpec::Prometheus(PrometheusSpec {
        endpoint: endpoint?,
        requests: requests.unwrap_or_else(|| DEFAULT_REQUESTS.to_owned()),
        errors,
        duration: duration.unwrap_or_else(|| DEFAULT_DURATION.to_owned()),
        connections,
    }))
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

fn read_redis(value: &Value<'_>, uses: &mut Uses) -> Option<MetricsSpec> {
    uses.main_port.push(value.place.clone());
    let mut table = value.table()?;
    let username = table.take("username").and_then(|value| value.text());
    let password = table.take("password").and_then(|value| value.string());
    if username.is_some() && password.is_none() {
        table.refuse_with("a user name needs its password", "add `password`");
    }
    table.finish();
    Some(MetricsSpec::Redis { username, password })
}

fn read_postgres(value: &Value<'_>, uses: &mut Uses) -> Option<MetricsSpec> {
    uses.main_port.push(value.place.clone());
    let mut table = value.table()?;
    let user = table.take("user").and_then(|value| value.text());
    let password = table.take("password").and_then(|value| value.string());
    let database = table.take("database").and_then(|value| value.text());
    table.finish();
    Some(postgres(user, password, database))
}

/// PostgreSQL's own convention: the superuser and the maintenance database are both `postgres`.
fn postgres(
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
) -> MetricsSpec {
    MetricsSpec::Postgres {
        user: user.unwrap_or_else(|| "postgres".to_owned()),
        password,
        database: database.unwrap_or_else(|| "postgres".to_owned()),
    }
}

//! The server that a service is: how test files name its kind, and what they say of it.
//!
//! Deliberately absent: which kinds there are. Whoever reads a file passes them in as [`ServerForm`]s, so that all that
//! is known of a kind stands in its own folder of `servers`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a service's own numbers come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsSpec {
    /// Only what the process itself shows.
    #[default]
    ProcessOnly,
    /// The server itself, on the main port.
    #[serde(untagged)]
    Server(ServerSpec),
}

/// A server of a known kind, with what its file says of it and the defaults of what it does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "StoredServer", try_from = "StoredServer")]
pub struct ServerSpec {
    /// The name of its [`ServerForm`].
    pub kind: String,
    /// By key; that of the page is [`PAGE`].
    pub settings: BTreeMap<String, String>,
}

/// The setting that says what is asked over HTTP: a path, or a full `http://` URL; may hold placeholders.
pub const PAGE: &str = "endpoint";

impl ServerSpec {
    /// Of a kind, with these settings.
    pub fn new<const N: usize>(kind: &str, settings: [(&str, &str); N]) -> Self {
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            kind: kind.to_owned(),
            settings: settings.into(),
        }
    }

    /// What the file says, or the default; `None` = neither.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// The full URL that is asked. Then it matters not whether the service has a port, and what is counted there is not
    /// one instance's alone.
    pub fn shared_url(&self) -> Option<&str> {
        self.setting(PAGE).filter(|page| page.contains("://"))
    }
}

/// As histories have it: `{"redis":{"password":"x","username":null}}`.
type StoredServer = BTreeMap<String, BTreeMap<String, Option<String>>>;

impl From<ServerSpec> for StoredServer {
    fn from(spec: ServerSpec) -> Self {
        let settings = spec.settings.into_iter();
        let settings = settings.map(|(key, value)| (key, Some(value))).collect();
        [(spec.kind, settings)].into()
    }
}

impl TryFrom<StoredServer> for ServerSpec {
    type Error = &'static str;

    fn try_from(stored: StoredServer) -> Result<Self, Self::Error> {
        let (kind, settings) = stored.into_iter().next().ok_or("no kind of server")?;
        let settings = settings.into_iter().filter_map(|(key, value)| {
            // So it was called for nginx by histories of before the others had a page.
            let key = if key == "path" { PAGE.to_owned() } else { key };
            Some((key, value?))
        });
        Ok(Self {
            kind,
            settings: settings.collect(),
        })
    }
}

/// What a test file may say of a kind of server: `metrics = "NAME"`, or `{ NAME = { KEY = … } }`, or of one that is asked
/// over HTTP `{ NAME = "/path", KEY = … }`.
#[derive(Debug)]
pub struct ServerForm {
    /// Names the kind in files, in histories and as the source of a metric.
    pub name: &'static str,
    /// Another name for `metrics = "NAME"`.
    pub alias: Option<&'static str>,
    /// What is asked over HTTP unless the file says something else; `None` = this kind is not asked so.
    pub default_page: Option<&'static str>,
    pub settings: &'static [SettingForm],
    /// Whether clnrm can make a used one clean by itself.
    pub has_cleaner: bool,
}

#[derive(Debug)]
pub struct SettingForm {
    /// As it stands in the file.
    pub key: &'static str,
    pub value: SettingValue,
    /// `None` = nothing.
    pub default: Option<&'static str>,
    /// Another key that must stand beside it, and why.
    pub needs: Option<(&'static str, &'static str)>,
}

/// What a setting may be.
#[derive(Debug, Clone, Copy)]
pub enum SettingValue {
    Text,
    /// Any string: a password may be empty.
    Secret,
    /// The bare name of a Prometheus metric.
    MetricName,
}

impl SettingForm {
    /// A key that may be left out.
    pub const fn optional(key: &'static str, value: SettingValue) -> Self {
        Self {
            key,
            value,
            default: None,
            needs: None,
        }
    }

    /// A key with a default.
    pub const fn or(key: &'static str, value: SettingValue, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..Self::optional(key, value)
        }
    }
}

impl ServerForm {
    /// What a file means that says no more than the name.
    pub(crate) fn defaults(&self) -> ServerSpec {
        let settings = self.settings.iter();
        let settings = settings.filter_map(|setting| Some((setting.key, setting.default?)));
        let page = self.default_page.map(|page| (PAGE, page));
        ServerSpec {
            kind: self.name.to_owned(),
            settings: settings
                .chain(page)
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_of_before_are_read() {
        let read = |json: &str| serde_json::from_str::<MetricsSpec>(json).unwrap();
        let server = |kind, settings: &[(&str, &str)]| {
            let settings = settings.iter();
            MetricsSpec::Server(ServerSpec {
                kind: String::from(kind),
                settings: settings
                    .map(|(key, value)| (String::from(*key), String::from(*value)))
                    .collect(),
            })
        };
        for (json, spec) in [
            (r#""process_only""#, MetricsSpec::ProcessOnly),
            (
                r#"{"redis":{"username":null,"password":"x"}}"#,
                server("redis", &[("password", "x")]),
            ),
            (
                r#"{"nginx":{"path":"/nginx_status"}}"#,
                server("nginx", &[("endpoint", "/nginx_status")]),
            ),
            (
                r#"{"prometheus":{"endpoint":"/m","requests":"r","errors":null,"duration":"d","connections":null}}"#,
                server(
                    "prometheus",
                    &[("endpoint", "/m"), ("requests", "r"), ("duration", "d")],
                ),
            ),
        ] {
            assert_eq!(read(json), spec, "{json}");
            assert_eq!(read(&serde_json::to_string(&spec).unwrap()), spec, "{json}");
        }
        assert!(serde_json::from_str::<MetricsSpec>("{}").is_err());
    }
}

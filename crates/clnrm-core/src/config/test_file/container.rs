//! The keys of a container, which the engine honours. Those that it does not stand in `foreign_keys.rs`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::definition::{ContainerSettings, PullPolicy, Ulimit};
use crate::config::placeholder::HOST_GATEWAY;
use crate::config::reader::{Table, Value};

/// Every key that [`read`] takes.
const KEYS: [&str; 17] = [
    "user",
    "hostname",
    "init",
    "platform",
    "pull",
    "pull_policy",
    "read_only",
    "privileged",
    "tmpfs",
    "shm_size",
    "ulimits",
    "cap_add",
    "cap_drop",
    "extra_hosts",
    "dns",
    "sysctls",
    "labels",
];

/// Labels of this prefix say what is clnrm's; a file may not set them.
const OWN_LABELS: &str = "clnrm.";

/// Reads the settings of a container.
pub(super) fn read(table: &mut Table<'_>) -> ContainerSettings {
    ContainerSettings {
        user: table.take("user").and_then(|value| value.scalar()),
        hostname: table.take("hostname").and_then(|value| host_name(&value)),
        init: table.take("init").and_then(|value| value.boolean()),
        platform: table.take("platform").and_then(|value| platform(&value)),
        pull: table
            .take_any(&["pull", "pull_policy"])
            .and_then(|value| pull(&value))
            .unwrap_or_default(),
        read_only: flag(table.take("read_only")),
        privileged: flag(table.take("privileged")),
        tmpfs: map_of(table.take("tmpfs"), tmpfs),
        shm_bytes: table.take("shm_size").and_then(|value| value.bytes()),
        ulimits: map_of(table.take("ulimits"), ulimits),
        cap_add: list_of(table.take("cap_add")),
        cap_drop: list_of(table.take("cap_drop")),
        extra_hosts: table
            .take("extra_hosts")
            .map(|value| extra_hosts(&value))
            .unwrap_or_default(),
        dns: table
            .take("dns")
            .map(|value| addresses(&value))
            .unwrap_or_default(),
        sysctls: map_of(table.take("sysctls"), pairs),
        labels: map_of(table.take("labels"), labels),
    }
}

/// Refuses the keys of containers in a service that is a process.
pub(super) fn refuse_for_process(table: &mut Table<'_>) {
    for key in KEYS {
        table.refuse_key(
            key,
            "only a container has it, and this service is a process",
            "remove it, or give the service an `image`",
        );
    }
}

fn flag(value: Option<Value<'_>>) -> bool {
    value.and_then(|value| value.boolean()).unwrap_or_default()
}

fn host_name(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if name.len() > 63 || !name.chars().all(is_plain) || name.starts_with(['-', '.']) {
        value.refuse_with(
            format!("{name:?} is not the name of a host"),
            "use letters, digits, `-` and `.`, at most 63",
        );
        return None;
    }
    Some(name)
}

fn platform(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let parts = text.split('/').count();
    if !(2..=3).contains(&parts) || text.split('/').any(str::is_empty) {
        value.refuse_with(
            format!("{text:?} is not a platform"),
            "write e.g. \"linux/amd64\"",
        );
        return None;
    }
    Some(text)
}

fn pull(value: &Value<'_>) -> Option<PullPolicy> {
    match value.text()?.as_str() {
        // Compose's other name for it.
        "missing" | "if_not_present" => Some(PullPolicy::Missing),
        "always" => Some(PullPolicy::Always),
        "never" => Some(PullPolicy::Never),
        other => {
            value.refuse(format!(
                "{other:?} is not one of \"missing\", \"always\", \"never\""
            ));
            None
        }
    }
}

fn map_of<T>(
    value: Option<Value<'_>>,
    read: impl Fn(&Value<'_>) -> BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    value.map(|value| read(&value)).unwrap_or_default()
}

fn list_of(value: Option<Value<'_>>) -> Vec<String> {
    let strings = value.and_then(|value| value.strings()).unwrap_or_default();
    strings.into_iter().map(|(text, _)| text).collect()
}

/// `"/run"`, `["/run", "/tmp:size=64m"]`: a path and options of the mount.
fn tmpfs(value: &Value<'_>) -> BTreeMap<String, String> {
    let mut folders = BTreeMap::new();
    for (text, _) in value.strings().unwrap_or_default() {
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        if !path.starts_with('/') {
            value.refuse(format!(
                "{path:?} must be absolute: it is inside the container"
            ));
        } else if folders
            .insert(path.to_owned(), options.to_owned())
            .is_some()
        {
            value.refuse(format!("{path:?} is given twice"));
        }
    }
    folders
}

/// `{ nofile = 1024 }` or `{ nofile = { soft = 1024, hard = 4096 } }`.
fn ulimits(value: &Value<'_>) -> BTreeMap<String, Ulimit> {
    let entries = value.table().map_or_else(Vec::new, Table::into_entries);
    let limit = |value: Value<'_>| {
        let number = |value: Value<'_>| value.integer(-1..=i64::MAX);
        if !value.is_table() {
            let both = number(value)?;
            return Some(Ulimit {
                soft: both,
                hard: both,
            });
        }
        let mut table = value.table()?;
        let (soft, hard) = (table.take("soft"), table.take("hard"));
        table.finish();
        let (Some(soft), Some(hard)) = (soft, hard) else {
            value.refuse("needs `soft` and `hard`");
            return None;
        };
        Some(Ulimit {
            soft: number(soft)?,
            hard: number(hard)?,
        })
    };
    let read = entries.into_iter();
    read.filter_map(|(name, value)| Some((name.to_owned(), limit(value)?)))
        .collect()
}

/// A table, or a list of `"name:address"`.
fn extra_hosts(value: &Value<'_>) -> Vec<(String, String)> {
    if value.is_table() {
        let entries = value.table().map_or_else(Vec::new, Table::into_entries);
        let read = entries.into_iter().filter_map(|(name, at)| {
            let address = at.text()?;
            host_address(&at, &address).then(|| (name.to_owned(), address))
        });
        return read.collect();
    }
    let mut hosts = Vec::new();
    for (text, _) in value.strings().unwrap_or_default() {
        match text.split_once([':', '=']) {
            Some((name, address)) if !name.is_empty() => {
                if host_address(value, address) {
                    hosts.push((name.to_owned(), address.to_owned()));
                }
            }
            _ => value.refuse_with(
                format!("{text:?} has no address"),
                "write \"name:10.0.0.1\" or \"name:host-gateway\"",
            ),
        }
    }
    hosts
}

fn host_address(value: &Value<'_>, address: &str) -> bool {
    let is_address = address == HOST_GATEWAY || address.parse::<IpAddr>().is_ok();
    if !is_address {
        value.refuse_with(
            format!("{address:?} is not an address"),
            "write an IP address, or host-gateway for this machine",
        );
    }
    is_address
}

fn addresses(value: &Value<'_>) -> Vec<String> {
    let texts = value.strings().unwrap_or_default();
    let texts = texts.into_iter().map(|(text, _)| text);
    texts
        .filter(|text| {
            let is_address = text.parse::<IpAddr>().is_ok();
            if !is_address {
                value.refuse(format!("{text:?} is not an IP address"));
            }
            is_address
        })
        .collect()
}

/// A table, or a list of `"name=value"`.
fn pairs(value: &Value<'_>) -> BTreeMap<String, String> {
    if value.is_table() {
        let entries = value.table().map_or_else(Vec::new, Table::into_entries);
        let read = entries.into_iter();
        return read
            .filter_map(|(name, value)| Some((name.to_owned(), value.scalar()?)))
            .collect();
    }
    let mut pairs = BTreeMap::new();
    for (text, _) in value.strings().unwrap_or_default() {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        pairs.insert(name.to_owned(), value.to_owned());
    }
    pairs
}

fn labels(value: &Value<'_>) -> BTreeMap<String, String> {
    let mut labels = pairs(value);
    labels.retain(|name, _| {
        let is_own = name.starts_with(OWN_LABELS);
        if is_own {
            value.refuse(format!(
                "label {name:?} is clnrm's: it says what belongs to whom"
            ));
        }
        !is_own
    });
    labels
}

//! Values that several tables share: durations, sizes, commands, environments, patterns.
//!
//! Deliberately absent: what they are used for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::Regex;
use toml::de::DeValue;

use crate::config::definition::CommandLine;
use crate::config::reader::{Place, Value};

/// Far beyond any test; keeps deadlines computable.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A text that may hold placeholders, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) place: Place,
    pub(super) text: String,
}

/// What a service or step refers to; checked once all services are known.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Every text that may hold placeholders.
    pub(super) templates: Vec<Template>,
    /// Where the service's own main port is asked for without a placeholder.
    pub(super) main_port: Vec<Place>,
}

impl Uses {
    pub(super) fn template(&mut self, place: &Place, text: &str) {
        self.templates.push(Template {
            place: place.clone(),
            text: text.to_owned(),
        });
    }
}

/// Variables of a service or step.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) values: BTreeMap<String, String>,
    /// Those that the caller's environment has the values of.
    pub(super) of_caller: BTreeSet<String>,
}

impl Environment {
    fn add(&mut self, name: &str, value: Option<&str>, at: &Value<'_>, uses: &mut Uses) {
        let is_name = !name.is_empty() && !name.contains(['=', '\0']);
        if !is_name || (value.is_none() && name.contains(char::is_whitespace)) {
            at.refuse(format!("{name:?} cannot be the name of a variable"));
            return;
        }
        if self.values.contains_key(name) || self.of_caller.contains(name) {
            at.refuse(format!("variable `{name}` is given twice"));
            return;
        }
        match value {
            Some(value) => {
                uses.template(&at.place, value);
                self.values.insert(name.to_owned(), value.to_owned());
            }
            None => {
                self.of_caller.insert(name.to_owned());
            }
        }
    }
}

impl Value<'_> {
    /// A duration above zero, e.g. `"500ms"`.
    pub(super) fn duration(&self) -> Option<Duration> {
        let duration = self.duration_or_zero()?;
        if duration.is_zero() {
            self.refuse("must be longer than 0");
            return None;
        }
        Some(duration)
    }

    /// A duration, e.g. `"2m"`.
    pub(super) fn duration_or_zero(&self) -> Option<Duration> {
        if let Some(number) = self.raw().as_integer() {
            self.refuse_with(
                "a duration needs its unit",
                format!("write \"{number}s\" or \"{number}ms\""),
            );
            return None;
        }
        let text = self.text()?;
        match humantime::parse_duration(&text) {
            Ok(duration) if duration <= LONGEST => Some(duration),
            Ok(_) => {
                self.refuse("must be at most 30 days");
                None
            }
            Err(error) => {
                self.refuse_with(
                    format!("{text:?} is not a duration ({error})"),
                    "write e.g. \"500ms\", \"5s\" or \"2m\"",
                );
                None
            }
        }
    }

    /// A size above zero in bytes: `"256MB"` (10⁶), `"256MiB"` (2²⁰), or an integer.
    pub(super) fn bytes(&self) -> Option<u64> {
        if self.raw().is_integer() {
            return self.integer(1..=i64::MAX).map(i64::unsigned_abs);
        }
        let text = self.text()?;
        let bytes = parse_bytes(&text);
        if bytes.is_none() {
            self.refuse_with(
                format!("{text:?} is not a size"),
                "write e.g. \"256MB\", \"1.5GiB\" or a number of bytes",
            );
        }
        bytes
    }

    /// A regular expression; only kept as text, since it was shown to compile.
    pub(super) fn pattern(&self) -> Option<String> {
        let pattern = self.string()?;
        if let Err(error) = Regex::new(&pattern) {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or("invalid");
            self.refuse(format!(
                "{pattern:?} is not a regular expression ({})",
                reason.trim_start_matches("error: ")
            ));
            return None;
        }
        Some(pattern)
    }

    /// A list of a program and its arguments, or a string for the shell.
    pub(super) fn command(&self, uses: &mut Uses) -> Option<CommandLine> {
        if self.is_string() {
            let script = self.text()?;
            uses.template(&self.place, &script);
            return Some(CommandLine::Shell(script));
        }
        if !self.raw().is_array() {
            return self.expected("a list of strings, or a string for the shell");
        }
        let arguments = self.list()?;
        let Some(program) = arguments.first() else {
            self.refuse("must name a program");
            return None;
        };
        program.text()?;
        let mut texts = Vec::new();
        for argument in &arguments {
            let text = argument.string()?;
            uses.template(&argument.place, &text);
            texts.push(text);
        }
        Some(CommandLine::Exec(texts))
    }

    /// A table, or a list of `K=V` and of names that the caller's environment has.
    pub(super) fn environment(&self, uses: &mut Uses) -> Environment {
        let mut environment = Environment::default();
        if self.raw().is_array() {
            for entry in self.list().unwrap_or_default() {
                let Some(text) = entry.string() else { continue };
                match text.split_once('=') {
                    Some((name, value)) => environment.add(name, Some(value), &entry, uses),
                    None => environment.add(&text, None, &entry, uses),
                }
            }
            return environment;
        }
        if !self.is_table() {
            let _: Option<()> = self.expected(
                "a table, or a list of \"NAME=value\" and names of the caller's variables",
            );
            return environment;
        }
        for (name, value) in self
            .table()
            .map_or_else(Vec::new, |table| table.into_entries())
        {
            if let Some(text) = value.scalar() {
                environment.add(name, Some(&text), &value, uses);
            }
        }
        environment
    }

    /// A string, or whatever else is not a list or table as it is written: `3.10` is a version, `0o755` a mode.
    pub(super) fn scalar(&self) -> Option<String> {
        match self.raw() {
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => Some(self.written().to_owned()),
            DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => self.string(),
        }
    }

    /// A path on the service's main port, or a full `http://` URL.
    pub(super) fn endpoint(&self, uses: &mut Uses) -> Option<String> {
        let text = self.text()?;
        uses.template(&self.place, &text);
        let is_path = text.starts_with('/');
        if is_path {
            uses.main_port.push(self.place.clone());
        }
        if self.is_plain_http(&text)? || is_path {
            return Some(text);
        }
        self.refuse_with(
            format!("{text:?} is neither a path nor a URL"),
            "write e.g. \"/healthz\" or \"http://127.0.0.1:8080/healthz\"",
        );
        None
    }

    /// Whether a text is an `http://` URL; `https://` and white space are refused.
    pub(super) fn is_plain_http(&self, text: &str) -> Option<bool> {
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            self.refuse(format!("{text:?} has white space in it"));
            return None;
        }
        if text.starts_with("https://") {
            self.refuse_with(
                "clnrm speaks plain http only",
                "use a command, e.g. command = [\"curl\", \"-fsS\", \"https://...\"]",
            );
            return None;
        }
        let rest = text.strip_prefix("http://");
        Some(rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')))
    }
}

/// Decimal and binary units. `256M` is refused: docker means 2²⁰ by it, Kubernetes 10⁶.
const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

fn parse_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((lower.strip_suffix(name)?, *unit)))?;
    let number = number.trim_end();
    if !number.starts_with(|c: char| c.is_ascii_digit())
        || !number.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        return None;
    }
    // 2⁵³: up to here a float holds every whole number of bytes.
    let bytes = number.parse::<f64>().ok()? * unit as f64;
    (1.0..=9_007_199_254_740_992.0)
        .contains(&bytes)
        .then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(parse_bytes("256MB"), Some(256_000_000));
        assert_eq!(parse_bytes("256MiB"), Some(268_435_456));
        assert_eq!(parse_bytes("1.5 GB"), Some(1_500_000_000));
        assert_eq!(parse_bytes("10b"), Some(10));
        for wrong in [
            "",
            "MB",
            "256M",
            "-1MB",
            "1e3MB",
            ".5MB",
            "0MB",
            "99999999TB",
            "infb",
            "1..2mb",
        ] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }
}

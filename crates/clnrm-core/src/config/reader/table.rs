//! A table whose keys are taken one by one.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Place, Source, Value};
use crate::config::nearest;

/// A table being read. [`Table::finish`] refuses the keys that nobody took.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) place: Place,
    entries: Vec<(&'a str, Value<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn new(source: &'a Source<'a>, place: Place, table: &'a DeTable<'a>) -> Self {
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a Cow<'a, str> = key.get_ref();
            let path = join(&place.key, name);
            let place = Place {
                offset: key.span().start,
                key: path,
            };
            let value = Value {
                source,
                place,
                span: value.span(),
                value: value.get_ref(),
            };
            (name.as_ref(), value)
        };
        let mut entries: Vec<_> = table.iter().map(entry).collect();
        entries.sort_by_key(|(_, value)| value.place.offset);
        Self {
            source,
            place,
            entries,
            known: Vec::new(),
        }
    }

    /// Reports a problem with the table as a whole.
    pub(crate) fn refuse_with(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.source
            .report(&self.place, message.into(), Some(hint.into()));
    }

    /// The value of a key.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value<'a>> {
        self.take_any(&[name])
    }

    /// The value of a key, which somebody else takes.
    pub(crate) fn look_at(&self, name: &str) -> Option<Value<'a>> {
        let mut entries = self.entries.iter();
        let found = entries.find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone())
    }

    /// The value of a key that has several names. Giving more than one of them is a problem.
    pub(crate) fn take_any(&mut self, names: &[&'static str]) -> Option<Value<'a>> {
        self.known.extend(names.first());
        let mut found: Option<(&str, Value<'a>)> = None;
        self.entries.retain(|(name, value)| {
            if !names.contains(name) {
                return true;
            }
            match &found {
                None => found = Some((name, value.clone())),
                Some((first, _)) => value.refuse(format!(
                    "`{first}` and `{name}` mean the same here: keep one"
                )),
            }
            false
        });
        found.map(|(_, value)| value)
    }

    /// A list of strings and where each stands; empty when it is not there or was refused.
    pub(crate) fn strings(&mut self, name: &'static str) -> Vec<(String, Place)> {
        let strings = self.take(name).and_then(|value| value.strings());
        strings.unwrap_or_default()
    }

    /// Refuses a key that is known, with the reason and the way out.
    pub(crate) fn refuse_key(&mut self, name: &str, why: &str, way_out: &str) {
        self.entries.retain(|(key, value)| {
            if *key == name {
                value.refuse_with(format!("not supported: {why}"), way_out);
            }
            *key != name
        });
    }

    /// Reads descriptive keys, which are checked for their type and otherwise only for people.
    pub(crate) fn description(&mut self) -> Option<String> {
        self.strings("tags");
        for name in ["author", "version"] {
            if let Some(value) = self.take(name) {
                value.string();
            }
        }
        self.take("description").and_then(|value| value.string())
    }

    /// All entries that were not taken, for tables whose keys are chosen by the user.
    pub(crate) fn into_entries(self) -> Vec<(&'a str, Value<'a>)> {
        self.entries
    }

    /// Refuses every key that was not taken.
    pub(crate) fn finish(self) {
        for (name, value) in &self.entries {
            let known = self.known.iter().copied();
            let hint = match nearest(name, known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let place = Place {
                offset: value.place.offset,
                key: self.place.key.clone(),
            };
            self.source
                .report(&place, format!("unknown key `{name}`"), Some(hint));
        }
    }
}

fn join(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

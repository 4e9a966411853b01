//! A value and the table that it stands in, whose keys are taken one by one.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Source};
use crate::config::spelling::nearest;

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Value<'a> {
    source: &'a Source<'a>,
    pub(crate) place: Place,
    /// Where the value itself is in the text.
    span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// Reports a problem with this value.
    pub(crate) fn refuse(&self, message: impl Into<String>) {
        self.source.report(&self.place, message.into(), None);
    }

    /// Reports a problem with this value and the way out.
    pub(crate) fn refuse_with(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.source
            .report(&self.place, message.into(), Some(hint.into()));
    }

    /// The value as it stands in the file.
    pub(crate) fn written(&self) -> &'a str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }

    pub(crate) fn raw(&self) -> &'a DeValue<'a> {
        self.value
    }

    /// An empty list or table.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            DeValue::Array(array) => array.is_empty(),
            DeValue::Table(table) => table.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Reports that another type was expected, e.g. `a string`.
    pub(crate) fn expected<T>(&self, what: &str) -> Option<T> {
        self.refuse(format!("expected {what}, found {}", self.type_name()));
        None
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    /// Any string without NUL, which no program, path or variable can hold.
    pub(crate) fn string(&self) -> Option<String> {
        let Some(text) = self.value.as_str() else {
            return self.expected("a string");
        };
        if text.contains('\0') {
            self.refuse("must not contain a NUL character");
            return None;
        }
        Some(text.to_owned())
    }

    /// A string that is more than white space.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.string()?;
        if text.trim().is_empty() {
            self.refuse("must not be empty");
            return None;
        }
        Some(text)
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.value
            .as_bool()
            .or_else(|| self.expected("true or false"))
    }

    /// An integer of whatever type the range has.
    pub(crate) fn integer<T>(&self, range: std::ops::RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let Some(integer) = self.value.as_integer() else {
            return self.expected("an integer");
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.refuse(format!("must be from {least} to {most}, is {integer}"));
        }
        number
    }

    /// A finite integer or float.
    pub(crate) fn number(&self) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .map(|number| number as f64),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => return self.expected("a number"),
        };
        let number = number.filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.refuse("must be a finite number");
        }
        number
    }

    /// A finite number above zero.
    pub(crate) fn positive(&self) -> Option<f64> {
        let number = self.number()?;
        if number <= 0.0 {
            self.refuse(format!("must be above 0, is {number}"));
            return None;
        }
        Some(number)
    }

    /// The elements of a list; their keys end in `[1]`, `[2]`, …
    pub(crate) fn list(&self) -> Option<Vec<Value<'a>>> {
        let Some(array) = self.value.as_array() else {
            return self.expected("a list");
        };
        let elements = array.iter().enumerate().map(|(index, element)| Value {
            source: self.source,
            place: Place {
                offset: element.span().start,
                key: format!("{}[{}]", self.place.key, index + 1),
            },
            span: element.span(),
            value: element.get_ref(),
        });
        Some(elements.collect())
    }

    /// A list of strings; a single string counts as a list of one.
    pub(crate) fn strings(&self) -> Option<Vec<(String, Place)>> {
        if self.is_string() {
            return Some(vec![(self.text()?, self.place.clone())]);
        }
        if !self.value.is_array() {
            return self.expected("a list of strings");
        }
        let elements = self.list()?;
        let read = elements
            .iter()
            .map(|element| Some((element.text()?, element.place.clone())));
        read.collect()
    }

    pub(crate) fn table(&self) -> Option<Table<'a>> {
        match self.value.as_table() {
            Some(table) => Some(Table::new(self.source, self.place.clone(), table)),
            None => self.expected("a table"),
        }
    }
}

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

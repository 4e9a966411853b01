//! Reads a TOML table key by key and remembers what is wrong with it, and where.
//!
//! Every getter that cannot deliver reports a [`Problem`] and returns `None`, so that one pass over a file
//! finds all its mistakes. Deliberately absent: serde, whose untagged and flattened shapes lose positions.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

mod problem;
mod table;

pub use problem::Problem;
pub(crate) use problem::{Place, Source, position};
pub(crate) use table::Table;

/// Parses `text` and lets `build` read it. Fails with every problem found, in the file's order.
pub(crate) fn read<T>(text: &str, build: impl FnOnce(Table<'_>) -> T) -> Result<T, Vec<Problem>> {
    let source = Source {
        text,
        problems: RefCell::default(),
    };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let place = Place {
                offset: error.span().map_or(0, |span| span.start),
                key: String::new(),
            };
            source.report(&place, format!("not valid TOML: {}", error.message()), None);
            return Err(source.problems.into_inner());
        }
    };
    let place = Place {
        offset: 0,
        key: String::new(),
    };
    let result = build(Table::new(&source, place, document.get_ref()));
    let mut problems = source.problems.into_inner();
    problems.sort();
    problems.dedup();
    if problems.is_empty() {
        Ok(result)
    } else {
        Err(problems)
    }
}

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

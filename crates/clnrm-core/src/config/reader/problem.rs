//! What is wrong with a file, and where.

use std::cell::RefCell;
use std::fmt;

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the table or key, e.g. `services.cache.ready.timeout`; empty = the whole file.
    pub key: String,
    pub message: String,
    pub hint: Option<String>,
}

/// `12:1: services.cache: unknown key `redy`; did you mean `ready`?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The text being read and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) problems: RefCell<Vec<Problem>>,
}

impl Source<'_> {
    pub(crate) fn report(&self, place: &Place, message: String, hint: Option<String>) {
        let (line, column) = position(self.text, place.offset);
        self.problems.borrow_mut().push(Problem {
            line,
            column,
            key: place.key.clone(),
            message,
            hint,
        });
    }
}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Where something stands: a byte offset and the path of its key.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(super) offset: usize,
    pub(crate) key: String,
}

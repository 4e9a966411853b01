//! Reads a TOML table key by key and remembers what is wrong with it, and where.
//!
//! Every getter that cannot deliver reports a [`Problem`] and returns `None`, so that one pass over a file
//! finds all its mistakes. Deliberately absent: serde, whose untagged and flattened shapes lose positions.

use std::cell::RefCell;

use toml::de::DeTable;

mod problem;
mod value;

pub use problem::Problem;
pub(crate) use problem::{Place, Source, position};
pub(crate) use value::{Table, Value};

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

//! What is expected of an output or a body.

use crate::config::definition::Expectations;
use crate::config::reader::Table;

/// What text must and must not hold, by its three keys.
pub(super) fn read_expectations(
    table: &mut Table<'_>,
    [regex, regex_not, contains]: [&'static str; 3],
) -> Expectations {
    let mut pattern = |key| table.take(key).and_then(|value| value.pattern());
    let (regex, regex_not) = (pattern(regex), pattern(regex_not));
    let contains = table.take(contains).and_then(|value| value.string());
    let raw = table.take("raw");
    if let Some(raw) = raw
        .as_ref()
        .filter(|_| regex.is_none() && regex_not.is_none() && contains.is_none())
    {
        raw.refuse_with(
            "does nothing here",
            "say what is expected of the output or body, or remove it",
        );
    }
    Expectations {
        regex,
        regex_not,
        contains,
        raw: raw.and_then(|value| value.boolean()).unwrap_or(false),
    }
}

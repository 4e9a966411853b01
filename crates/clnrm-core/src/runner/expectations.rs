//! Whether a text is what a step expects. Pure.

use regex::Regex;

use crate::config::definition::Expectations;
use crate::config::placeholder::{Bindings, render};

/// A text of which perhaps only the beginning was kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed<'a> {
    /// What was kept.
    pub(super) text: &'a str,
    /// Bytes that were not.
    pub(super) dropped: u64,
    /// What the text is, for messages: `output`, `body`.
    pub(super) what: &'static str,
}

/// The first expectation that does not hold, as a sentence.
pub(super) fn first_violation(expected: &Expectations, observed: Observed<'_>) -> Option<String> {
    let Observed { text, what, .. } = observed;
    let kept_note = beyond_limit(observed);
    if let Some(needle) = expected
        .contains
        .as_deref()
        .filter(|needle| !text.contains(needle))
    {
        return Some(format!("the {what} does not contain `{needle}`{kept_note}"));
    }
    if let Some(pattern) = &expected.regex {
        match matches(pattern, text) {
            Ok(true) => {}
            Ok(false) => return Some(format!("the {what} does not match `{pattern}`{kept_note}")),
            Err(message) => return Some(message),
        }
    }
    if let Some(pattern) = &expected.regex_not {
        match matches(pattern, text) {
            Ok(true) => return Some(format!("the {what} matches `{pattern}`, which it must not")),
            Ok(false) if observed.dropped > 0 => {
                return Some(format!(
                    "it cannot be said that the {what} never matches `{pattern}`{kept_note}"
                ));
            }
            Ok(false) => {}
            Err(message) => return Some(message),
        }
    }
    None
}

/// Whether a pattern matches the text, or the text without its last newline: nearly every command ends its output
/// with one, and `^PONG$` means the line.
///
/// Patterns were compiled once when the file was read, so an error here means a definition made by hand.
fn matches(pattern: &str, text: &str) -> Result<bool, String> {
    match Regex::new(pattern) {
        Ok(regex) => {
            let line = text
                .strip_suffix('\n')
                .map(|text| text.strip_suffix('\r').unwrap_or(text));
            Ok(regex.is_match(text) || line.is_some_and(|line| regex.is_match(line)))
        }
        Err(error) => Err(format!("`{pattern}` is not a regular expression: {error}")),
    }
}

fn beyond_limit(observed: Observed<'_>) -> String {
    match observed.dropped {
        0 => String::new(),
        dropped => format!(
            " (only its first {} bytes were kept, {dropped} more were not looked at)",
            observed.text.len()
        ),
    }
}

/// Expected text may name a service's port; anything that is not a placeholder of this test is meant literally.
pub(super) fn rendered(expected: &Expectations, bindings: &Bindings) -> Expectations {
    let fill_in = |text: &String| render(text, bindings).unwrap_or_else(|_| text.clone());
    Expectations {
        contains: expected.contains.as_ref().map(fill_in),
        ..expected.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(regex: &str, regex_not: &str, contains: &str) -> Expectations {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Expectations {
            regex: given(regex),
            regex_not: given(regex_not),
            contains: given(contains),
        }
    }

    fn violation(expected: &Expectations, text: &str, dropped: u64) -> Option<String> {
        first_violation(
            expected,
            Observed {
                text,
                dropped,
                what: "output",
            },
        )
    }

    #[test]
    fn each_expectation_is_checked_and_named() {
        assert_eq!(violation(&expect("^PONG", "ERR", "ON"), "PONG\n", 0), None);
        assert_eq!(violation(&expect("^PONG$", "", ""), "PONG\n", 0), None);
        assert!(violation(&expect("", "^PONG$", ""), "PONG\r\n", 0).is_some());
        assert_eq!(
            violation(&expect("^PING", "", ""), "PONG", 0).unwrap(),
            "the output does not match `^PING`"
        );
        assert_eq!(
            violation(&expect("", "O", ""), "PONG", 0).unwrap(),
            "the output matches `O`, which it must not"
        );
        assert_eq!(
            violation(&expect("", "", "x"), "PONG", 0).unwrap(),
            "the output does not contain `x`"
        );
    }

    #[test]
    fn an_absence_cannot_be_proved_on_a_part() {
        assert_eq!(violation(&expect("P", "", "O"), "PONG", 5), None);
        assert!(
            violation(&expect("", "ERR", ""), "PONG", 5)
                .unwrap()
                .starts_with("it cannot be said")
        );
    }
}

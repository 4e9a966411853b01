//! Whether a text is what a step expects. Pure.

use std::borrow::Cow;

use regex::Regex;

use super::cause::{StepReason, TextOf, Violation, WrongText};
use crate::config::definition::Expectations;
use crate::config::placeholder::{Bindings, render};
use crate::text::plain;

/// A text of which perhaps only the beginning was kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed<'a> {
    /// What was kept.
    pub(super) text: &'a str,
    /// Bytes that were not.
    pub(super) dropped: u64,
    pub(super) of: TextOf,
}

/// The first expectation that does not hold.
pub(super) fn first_violation(
    expected: &Expectations,
    observed: Observed<'_>,
) -> Option<StepReason> {
    let (text, needle) = match expected.raw {
        true => (
            Cow::Borrowed(observed.text),
            expected.contains.as_deref().map(Cow::Borrowed),
        ),
        false => (
            plain(observed.text),
            expected.contains.as_deref().map(plain),
        ),
    };
    let text = &*text;
    let broken = |violation, wanted: &str| {
        StepReason::WrongText(WrongText {
            of: observed.of,
            violation,
            expected: wanted.to_owned(),
            cut: (observed.dropped > 0).then_some((observed.text.len(), observed.dropped)),
            without_codes: is_about_left_out_codes(expected, observed.text),
        })
    };
    if let Some(needle) = needle.filter(|needle| !text.contains(&**needle)) {
        return Some(broken(Violation::DoesNotContain, &needle));
    }
    if let Some(pattern) = &expected.regex {
        match matches(pattern, text) {
            Ok(true) => {}
            Ok(false) => return Some(broken(Violation::DoesNotMatch, pattern)),
            Err(reason) => return Some(reason),
        }
    }
    let pattern = expected.regex_not.as_ref()?;
    match matches(pattern, text) {
        Ok(true) => Some(broken(Violation::Matches, pattern)),
        Ok(false) if observed.dropped > 0 => Some(broken(Violation::MayMatch, pattern)),
        Ok(false) => None,
        Err(reason) => Some(reason),
    }
}

/// Whether a pattern matches the text, or the text without its last newline: nearly every command ends its output
/// with one, and `^PONG$` means the line.
///
/// Patterns were compiled once when the file was read, so an error here means a definition made by hand.
fn matches(pattern: &str, text: &str) -> Result<bool, StepReason> {
    match Regex::new(pattern) {
        Ok(regex) => {
            let line = text
                .strip_suffix('\n')
                .map(|text| text.strip_suffix('\r').unwrap_or(text));
            Ok(regex.is_match(text) || line.is_some_and(|line| regex.is_match(line)))
        }
        Err(error) => Err(StepReason::Other {
            message: format!("`{pattern}` is not a regular expression: {error}"),
        }),
    }
}

/// Whether the text had what was left out and the expectation is about it.
fn is_about_left_out_codes(expected: &Expectations, text: &str) -> bool {
    let asks = |pattern: &Option<String>| {
        let signs = [
            "\u{1b}", "\r", "\\x1b", "\\x1B", "\\u001b", "\\u001B", "\\r",
        ];
        (pattern.as_deref()).is_some_and(|pattern| signs.iter().any(|sign| pattern.contains(sign)))
    };
    let is_about_them = [&expected.regex, &expected.contains].into_iter().any(asks);
    !expected.raw && is_about_them && plain(text) != text
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
            raw: false,
        }
    }

    fn broken(expected: &Expectations, text: &str, dropped: u64) -> Option<WrongText> {
        let observed = Observed {
            text,
            dropped,
            of: TextOf::Output,
        };
        match first_violation(expected, observed)? {
            StepReason::WrongText(wrong) => Some(wrong),
            other => panic!("{other:?}"),
        }
    }

    fn violation(expected: &Expectations, text: &str, dropped: u64) -> Option<Violation> {
        broken(expected, text, dropped).map(|wrong| wrong.violation)
    }

    #[test]
    fn each_expectation_is_checked_and_named() {
        assert_eq!(violation(&expect("^PONG", "ERR", "ON"), "PONG\n", 0), None);
        assert_eq!(violation(&expect("^PONG$", "", ""), "PONG\n", 0), None);
        assert!(violation(&expect("", "^PONG$", ""), "PONG\r\n", 0).is_some());
        assert_eq!(violation(&expect("^a\nb$", "", ""), "a\r\nb\r\n", 0), None);
        let of = |expected: Expectations| {
            let wrong = broken(&expected, "PONG", 0).unwrap();
            (wrong.violation, wrong.expected)
        };
        let named = |violation, text: &str| (violation, text.to_owned());
        assert_eq!(
            of(expect("^PING", "", "")),
            named(Violation::DoesNotMatch, "^PING")
        );
        assert_eq!(of(expect("", "O", "")), named(Violation::Matches, "O"));
        assert_eq!(
            of(expect("", "", "x")),
            named(Violation::DoesNotContain, "x")
        );
    }

    #[test]
    fn what_is_shown_is_what_is_matched() {
        let coloured = "\u{1b}[1mok\u{1b}[0m 12 passed\r\n\u{1b}[32mdone\u{1b}[0m";
        let plain = expect("(?m)^ok 12 passed$", "\u{1b}", "ok 12 passed\r\ndone");
        assert_eq!(violation(&plain, coloured, 0), None);
        let raw = |regex, contains| Expectations {
            raw: true,
            ..expect(regex, "", contains)
        };
        assert_eq!(
            violation(&raw("^\\x1b\\[1mok", "passed\r\n"), coloured, 0),
            None
        );
        assert!(violation(&raw("^ok", ""), coloured, 0).is_some());
        let told = broken(&expect("\\x1b\\[1m", "", ""), coloured, 0).unwrap();
        assert!(told.without_codes, "{told:?}");
    }

    #[test]
    fn an_absence_cannot_be_proved_on_a_part() {
        assert_eq!(violation(&expect("P", "", "O"), "PONG", 5), None);
        let wrong = broken(&expect("", "ERR", ""), "PONG", 5).unwrap();
        assert_eq!(wrong.violation, Violation::MayMatch);
        assert_eq!(wrong.cut, Some((4, 5)));
    }
}

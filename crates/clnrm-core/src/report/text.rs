//! Text that came from outside, made safe to print.
//!
//! Logs, command output, names and addresses may hold escape sequences that move the cursor, retitle the window or
//! recolour what follows, and characters that reverse the reading direction. Sequences are removed whole,
//! other control characters are shown as escapes, so that nothing is hidden and nothing acts.

use crate::text::{plain, without_sequences};

/// One line: line breaks are shown as escapes too, so that a value cannot forge a line of its own.
pub(crate) fn safe_line(text: &str) -> String {
    clean(text, |control| control.escape_default().to_string())
}

/// The lines of a longer text, each safe. Windows line ends count as line ends.
pub(crate) fn safe_lines(text: &str) -> impl Iterator<Item = String> {
    let lines: Vec<String> = plain(text).lines().map(safe_line).collect();
    lines.into_iter()
}

/// Text that may become XML 1.0 (§2.2 `Char`): sequences and characters that XML cannot hold are gone,
/// line breaks stay.
pub(crate) fn xml_characters(text: &str) -> String {
    clean(text, |control| {
        if control == '\n' {
            control.to_string()
        } else {
            String::new()
        }
    })
    .replace(['\u{fffe}', '\u{ffff}'], "")
}

fn clean(text: &str, show: impl Fn(char) -> String) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in without_sequences(text).chars() {
        if character != '\t' && (character.is_control() || reorders_text(character)) {
            safe.push_str(&show(character));
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Unicode's directional overrides, embeddings and isolates (UAX #9): they make text read as what it is not.
fn reorders_text(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_vanish_whole() {
        for (raw, expected) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bplain", "plain"),
            ("\u{1b}cfull reset", "full reset"),
            ("\u{9b}2Jcleared", "cleared"),
            ("cut off \u{1b}[3", "cut off "),
            ("\u{1b}]0;never ends", ""),
        ] {
            assert_eq!(safe_line(raw), expected, "{raw:?}");
        }
    }

    #[test]
    fn other_controls_are_shown() {
        assert_eq!(safe_line("a\rb\nc\0\u{7}"), "a\\rb\\nc\\u{0}\\u{7}");
        assert_eq!(
            safe_line("tab\tstays, é and 🙂 too"),
            "tab\tstays, é and 🙂 too"
        );
        assert_eq!(safe_line("\u{202e}gnp.exe"), "\\u{202e}gnp.exe");
    }

    #[test]
    fn lines_split_before_they_are_made_safe() {
        let lines: Vec<String> = safe_lines("one\r\n\u{1b}[1mtwo\u{1b}[0m\n").collect();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn xml_keeps_line_breaks_and_drops_what_it_cannot_hold() {
        assert_eq!(xml_characters("a\0b\u{1b}[31mc\nd\u{ffff}\t"), "abc\nd\t");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_on_a_terminal_gets_through(text in any::<String>()) {
            let safe = safe_line(&text);
            prop_assert!(!safe.chars().any(|character| character != '\t' && character.is_control()));
        }
    }
}

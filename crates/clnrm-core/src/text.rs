//! Text of programs as people see it, and paths as text.
//!
//! What a report shows and what a pattern is matched against must be the same, so both take it from here.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::Chars;

use serde::Serializer;
use sha2::{Digest, Sha256};

/// An error and its sources in one line, for reports that keep sentences.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The first digits of a SHA-256: says whether two texts are equal, and not what they are.
pub(crate) fn short_digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Without escape sequences, and with `\n` as the end of every line.
pub fn plain(text: &str) -> Cow<'_, str> {
    let text = without_sequences(text);
    if !text.contains('\r') {
        return text;
    }
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

/// Without the sequences that colour text, move the cursor or retitle the window.
pub(crate) fn without_sequences(text: &str) -> Cow<'_, str> {
    if !text.contains(['\u{1b}', '\u{9b}']) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape_sequence(&mut characters),
            '\u{9b}' => skip_control_sequence(&mut characters),
            _ => kept.push(character),
        }
    }
    Cow::Owned(kept)
}

/// A path in a report: bytes that are not UTF-8 become U+FFFD. Serde's own way refuses the whole report for one.
pub fn serialize_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The same for a path that may be absent.
pub fn serialize_optional_path<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serialize_path(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// Skips what follows ESC (ECMA-48 §5): a control sequence, a control string, or a short sequence.
fn skip_escape_sequence(characters: &mut Chars<'_>) {
    let mut ahead = characters.clone();
    match ahead.next() {
        Some('[') => {
            *characters = ahead;
            skip_control_sequence(characters);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            *characters = ahead;
            skip_control_string(characters);
        }
        // Intermediate bytes, then one final byte, e.g. `ESC ( B`.
        Some(' '..='/') => {
            while matches!(ahead.clone().next(), Some(' '..='/')) {
                ahead.next();
            }
            ahead.next();
            *characters = ahead;
        }
        Some('0'..='~') => *characters = ahead,
        // Not a sequence; the next character is judged by itself.
        Some(_) | None => {}
    }
}

/// Skips parameter and intermediate bytes and the final byte `@`–`~`. Anything else ends the sequence unread.
fn skip_control_sequence(characters: &mut Chars<'_>) {
    loop {
        let mut ahead = characters.clone();
        match ahead.next() {
            Some(' '..='?') => *characters = ahead,
            Some('@'..='~') => {
                *characters = ahead;
                return;
            }
            Some(_) | None => return,
        }
    }
}

/// Skips to BEL or ST (`ESC \`), or to the end of the line where neither comes.
fn skip_control_string(characters: &mut Chars<'_>) {
    loop {
        let mut ahead = characters.clone();
        match ahead.next() {
            Some('\n') | None => return,
            Some('\u{7}' | '\u{9c}') => {
                *characters = ahead;
                return;
            }
            Some('\u{1b}') => {
                if ahead.next() == Some('\\') {
                    *characters = ahead;
                }
                return;
            }
            Some(_) => *characters = ahead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_vanish_and_lines_end_in_one_way() {
        assert_eq!(plain("\u{1b}[1mok\u{1b}[0m 12\r\nnext\r"), "ok 12\nnext");
        assert_eq!(plain("50%\r100%\r\n"), "50%\r100%\n");
        assert!(matches!(plain("as it is\n"), Cow::Borrowed(_)));
    }
}

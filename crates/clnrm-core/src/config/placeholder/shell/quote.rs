//! How a value is written where it stands.

use super::script::{Piece, Script, Step, unquotable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    Bare,
    /// In `'…'`.
    Single,
    /// In `"…"`.
    Double,
    /// In the text of `<<word`.
    Here,
    /// In the text of `<<'word'`.
    HereLiteral,
}

impl Script {
    /// Writes the value that comes next.
    pub(super) fn value(&mut self, quoting: Quoting) -> Step {
        let Some(Piece::Value { written, value }) = self.piece().cloned() else {
            return Ok(());
        };
        self.at += 1;
        let after_name = std::mem::take(&mut self.after_name) && continues_a_name(&value);
        if is_plain(&value) && !after_name {
            let redirects = quoting == Quoting::Bare && matches!(self.peek(0), Some('<' | '>'));
            match redirects && self.refusal.is_none() {
                // `8080>file` would redirect descriptor 8080.
                true => self.output.push_str(&quoted(&value, Quoting::Bare)),
                false => self.output.push_str(&value),
            }
            self.words.push_value(&value);
            return Ok(());
        }
        let evaluated = self
            .words
            .is_script()
            .then_some("in what another shell, `eval`, `trap` or the like reads once more");
        if let Some(place) = self.refusal.or(evaluated) {
            return Err(unquotable(&written, place));
        }
        if matches!(quoting, Quoting::Here | Quoting::HereLiteral)
            && (after_name || value.contains(char::is_control))
        {
            return Err(unquotable(&written, "in a here-document"));
        }
        if after_name && quoting == Quoting::Double {
            self.output.push_str("\"\"");
        }
        self.output.push_str(&quoted(&value, quoting));
        self.words.push_value(&value);
        if !is_plain(&value) {
            self.first_delicate.get_or_insert(written);
        }
        Ok(())
    }
}

/// Whether no shell sees more in it than its characters: no white space, no operator, no pattern, no brace list, no word
/// such as `if`.
fn is_plain(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+-".contains(c);
    value.chars().all(plain) && value.contains(|c: char| c.is_ascii_digit() || "./:".contains(c))
}

fn continues_a_name(value: &str) -> bool {
    value.starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric())
}

fn quoted(value: &str, quoting: Quoting) -> String {
    let escaped = |special: &[char]| {
        let mut text = String::with_capacity(value.len());
        for character in value.chars() {
            if special.contains(&character) {
                text.push('\\');
            }
            text.push(character);
        }
        text
    };
    match quoting {
        Quoting::Bare => format!("'{}'", value.replace('\'', r"'\''")),
        Quoting::Single => value.replace('\'', r"'\''"),
        Quoting::Double => escaped(&['\\', '$', '`', '"']),
        Quoting::Here => escaped(&['\\', '$', '`']),
        Quoting::HereLiteral => value.to_owned(),
    }
}

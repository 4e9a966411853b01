//! What begins with `$` or a backquote.

use super::quote::Quoting;
use super::script::{Piece, Script, Step};

/// Deeper nesting than people write, and far from the end of the thread's stack.
const DEEPEST: usize = 50;

impl Script {
    pub(super) fn dollar(&mut self, in_double: bool) -> Step {
        match (self.peek(1), self.peek(2)) {
            (Some('('), Some('(')) => {
                self.nested(|script| script.refusing("inside `$((…))`", Self::arithmetic))
            }
            (Some('('), _) => self.nested(Self::substitution),
            (Some('{'), _) => self.nested(|script| {
                script.refusing("inside `${…}`", |script| script.parameter(in_double))
            }),
            // A string with escapes in some shells, and a `$` before a string in others.
            (Some('\''), _) if !in_double => {
                self.lose("behind `$'`");
                self.copy();
                Ok(())
            }
            (Some(first), _) if first == '_' || first.is_ascii_alphabetic() => {
                self.copy();
                while (self.peek(0)).is_some_and(|c| c == '_' || c.is_ascii_alphanumeric()) {
                    self.copy();
                }
                self.after_name = self.is_value();
                Ok(())
            }
            _ => {
                self.copy();
                Ok(())
            }
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Step) -> Step {
        if self.depth == DEEPEST {
            self.lose("behind so many `$(` or `${`");
            self.copy();
            return Ok(());
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    /// `$(…)`: commands of their own.
    fn substitution(&mut self) -> Step {
        self.copy();
        let words = std::mem::take(&mut self.words);
        if !self.pending.is_empty() {
            self.lose("behind `<<` and `$(` in one line");
        }
        self.syntax();
        self.commands(true)?;
        self.end_command();
        if !self.pending.is_empty() {
            self.lose("behind `<<` and `)` in one line");
        }
        let inner = std::mem::replace(&mut self.words, words);
        self.words.inherit(&inner);
        Ok(())
    }

    fn parameter(&mut self, in_double: bool) -> Step {
        self.copy();
        self.copy();
        while let Some(piece) = self.piece() {
            match *piece {
                Piece::Value { .. } => self.value(Quoting::Bare)?,
                Piece::Character('}') => {
                    self.copy();
                    return Ok(());
                }
                Piece::Character(quote @ ('\'' | '"')) if in_double => {
                    // Shells disagree on whether such a quote quotes.
                    self.lose(match quote {
                        '"' => "behind `\"` inside `\"${…}\"`",
                        _ => "behind `'` inside `\"${…}\"`",
                    });
                    self.copy();
                }
                Piece::Character(character) => self.part_of_word(character, in_double)?,
            }
        }
        Ok(())
    }

    fn arithmetic(&mut self) -> Step {
        self.copy();
        let mut open = 0_usize;
        while let Some(piece) = self.piece() {
            let &Piece::Character(character) = piece else {
                self.value(Quoting::Bare)?;
                continue;
            };
            match character {
                '(' => open += 1,
                ')' => open = open.saturating_sub(1),
                // `$( (…) )` looks alike, and there these begin something.
                '\'' | '"' | '#' | '\n' => self.lose("behind a line break or quote inside `$((`"),
                '\\' | '$' | '`' => {
                    self.part_of_word(character, true)?;
                    continue;
                }
                _ => {}
            }
            self.copy();
            if open == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Ends at the next backquote, whatever stands between.
    pub(super) fn backquotes(&mut self) -> Step {
        self.copy();
        while let Some(piece) = self.piece() {
            match *piece {
                Piece::Value { .. } => self.value(Quoting::Bare)?,
                Piece::Character('\\') => self.escape()?,
                Piece::Character('`') => {
                    self.copy();
                    return Ok(());
                }
                Piece::Character(_) => self.copy(),
            }
        }
        Ok(())
    }
}

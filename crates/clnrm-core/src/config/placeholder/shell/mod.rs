//! Puts values into a script so that the shell takes each as it is, whatever characters it has.
//!
//! A value is quoted for the place where it stands; what surrounds it (`{data_dir}/*`) keeps its meaning. Values of
//! plain characters are written as they are. Where no quoting is safe in every shell, a value that needs it is refused.
//! The grammar is that of POSIX.1-2017, XCU §2.2 to §2.10; where shells differ, the script counts as not understood from
//! there on. Deliberately absent: what the script does with its own variables.

use super::bindings::Bindings;
use super::error::PlaceholderError;
use super::render::render;

mod expand;
mod here;
mod quote;
mod script;
#[cfg(test)]
mod tests;
mod words;

use quote::Quoting;
use script::{Piece, Script, Step, pieces, unquotable};
use words::Words;

/// A script of the shell with every placeholder filled in; those in comments stay as they are.
///
/// # Errors
/// Names the placeholder that has no value, or whose value cannot be passed where it stands.
pub(super) fn render_script(text: &str, bindings: &Bindings) -> Result<String, PlaceholderError> {
    let mut script = Script {
        pieces: pieces(text, bindings)?,
        ..Script::default()
    };
    script.end = script.pieces.len();
    script.commands(false)?;
    script.end_command();
    match script.first_delicate {
        Some(written) if script.words.feed_a_shell() => Err(unquotable(
            &written,
            "in a script that a pipe takes to another shell",
        )),
        _ => Ok(script.output),
    }
}

/// A program's arguments with every placeholder filled in. One that is a script of a shell (`["sh", "-c", script]`) is
/// treated as one.
///
/// # Errors
/// As [`render_script`].
pub(super) fn render_arguments(
    arguments: &[String],
    bindings: &Bindings,
) -> Result<Vec<String>, PlaceholderError> {
    let mut words = Words::default();
    let mut rendered = Vec::new();
    for argument in arguments {
        let is_script = words.makes_a_script_of(argument);
        rendered.push(match is_script {
            true => render_script(argument, bindings)?,
            false => render(argument, bindings)?,
        });
        words.argument(argument);
    }
    Ok(rendered)
}

impl Script {
    /// Commands, to the end or to the `)` of `$(`.
    fn commands(&mut self, is_substitution: bool) -> Step {
        let mut open = 0_usize;
        while let Some(piece) = self.piece() {
            let &Piece::Character(character) = piece else {
                self.value(Quoting::Bare)?;
                continue;
            };
            match character {
                ')' if is_substitution && open == 0 => {
                    self.syntax();
                    return Ok(());
                }
                '(' | ')' => {
                    if (character, self.peek(1)) == ('(', Some('(')) {
                        self.lose("behind `((`");
                    }
                    open = match character {
                        '(' => open + 1,
                        _ => open.saturating_sub(1),
                    };
                    self.end_command();
                    self.syntax();
                }
                '\n' => self.line_break()?,
                ';' | '&' | '|' => self.separator(character),
                ' ' | '\t' => {
                    self.end_word(is_substitution);
                    self.syntax();
                }
                '#' if !self.words.in_word() => self.comment(),
                '<' if self.peek(1) == Some('<') => self.here_operator(),
                '<' | '>' => {
                    self.words.redirect();
                    self.syntax();
                }
                _ => self.part_of_word(character, false)?,
            }
        }
        Ok(())
    }

    /// What means the same in commands, in double quotes and in `${…}`.
    fn part_of_word(&mut self, character: char, in_double: bool) -> Step {
        match character {
            '\\' => self.escape(),
            '$' => self.dollar(in_double),
            '`' => self.refusing("inside backquotes", Self::backquotes),
            '\'' if !in_double => self.single(),
            '"' if !in_double => self.double(),
            _ => {
                self.copy();
                Ok(())
            }
        }
    }

    fn line_break(&mut self) -> Step {
        self.end_command();
        let documents = std::mem::take(&mut self.pending);
        self.syntax();
        documents
            .iter()
            .try_for_each(|document| self.here_document(document))
    }

    fn separator(&mut self, character: char) {
        // `2>&1`, `>|` and bash's `&>` belong to a redirection.
        let redirects =
            self.output.ends_with(['>', '<']) || (character, self.peek(1)) == ('&', Some('>'));
        if !redirects {
            self.end_command();
            self.words
                .after_pipe(character == '|' && self.peek(1) != Some('|'));
        }
        self.syntax();
    }

    fn end_word(&mut self, is_substitution: bool) {
        // The `)` of its patterns looks like the end of `$(`.
        if is_substitution && self.words.is("case") {
            self.lose("behind `case` inside `$(…)`");
        }
        self.words.end_word();
    }

    fn end_command(&mut self) {
        self.words.end_word();
        for document in &mut self.pending {
            document.is_script |= self.words.name_a_shell();
        }
        self.words.end_command();
    }

    fn comment(&mut self) {
        while self.peek(0) != Some('\n') && self.piece().is_some() {
            if let Some(Piece::Value { written, .. }) = self.piece() {
                let written = format!("{{{written}}}");
                self.output.push_str(&written);
                self.at += 1;
            }
            if self.peek(0) != Some('\n') {
                self.syntax();
            }
        }
    }

    fn escape(&mut self) -> Step {
        self.syntax();
        match self.peek(0) {
            // Removed with its backslash, as if neither were there.
            Some('\n') => self.syntax(),
            Some(_) => self.copy(),
            None if self.is_value() => {
                return self.refusing("behind a backslash", |script| script.value(Quoting::Bare));
            }
            None => {}
        }
        Ok(())
    }

    fn single(&mut self) -> Step {
        self.words.begin();
        self.syntax();
        while let Some(piece) = self.piece() {
            match piece {
                Piece::Value { .. } => self.value(Quoting::Single)?,
                Piece::Character('\'') => {
                    self.syntax();
                    return Ok(());
                }
                Piece::Character(_) => self.copy(),
            }
        }
        Ok(())
    }

    fn double(&mut self) -> Step {
        self.words.begin();
        self.syntax();
        while let Some(piece) = self.piece() {
            match *piece {
                Piece::Value { .. } => self.value(Quoting::Double)?,
                Piece::Character('"') => {
                    self.syntax();
                    return Ok(());
                }
                Piece::Character(character) => self.part_of_word(character, true)?,
            }
        }
        Ok(())
    }
}

//! A script that is being copied: its pieces, and what can be said of any place in it.

use super::words::Words;
use crate::config::placeholder::bindings::Bindings;
use crate::config::placeholder::error::PlaceholderError;
use crate::config::placeholder::render::value;
use crate::config::placeholder::syntax::{Segment, parse, segments};

/// A character of the script, or a placeholder with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Character(char),
    Value { written: String, value: String },
}

pub(super) fn pieces(text: &str, bindings: &Bindings) -> Result<Vec<Piece>, PlaceholderError> {
    let mut pieces = Vec::new();
    for segment in segments(text) {
        match segment {
            Segment::Literal(literal) => pieces.extend(literal.chars().map(Piece::Character)),
            Segment::Braced(body) => match parse(body) {
                Some(placeholder) => pieces.push(Piece::Value {
                    written: body.to_owned(),
                    value: value(body, placeholder, bindings)?,
                }),
                None => pieces.extend(format!("{{{body}}}").chars().map(Piece::Character)),
            },
        }
    }
    Ok(pieces)
}

pub(super) fn unquotable(written: &str, place: &'static str) -> PlaceholderError {
    PlaceholderError::Unquotable {
        placeholder: written.to_owned(),
        place,
    }
}

/// A script that is being copied, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) pieces: Vec<Piece>,
    pub(super) at: usize,
    /// Where the part that is being read ends: the script, or a here-document.
    pub(super) end: usize,
    pub(super) output: String,
    /// The command that is being read.
    pub(super) words: Words,
    /// Here-documents whose operator was read, and whose text begins on the next line.
    pub(super) pending: Vec<HereDocument>,
    /// Why a value that needs quoting cannot stand here.
    pub(super) refusal: Option<&'static str>,
    /// Whether `refusal` holds to the end of the script.
    pub(super) is_lost: bool,
    /// A `$name` was just read, and identifier characters would make it another.
    pub(super) after_name: bool,
    pub(super) depth: usize,
    /// The first placeholder whose value had to be quoted.
    pub(super) first_delicate: Option<String>,
}

/// A here-document whose operator was read.
#[derive(Debug)]
pub(super) struct HereDocument {
    pub(super) delimiter: String,
    /// Nothing in its text is expanded.
    pub(super) is_literal: bool,
    /// `<<-`: tabs that begin a line are removed.
    pub(super) strips_tabs: bool,
    pub(super) is_script: bool,
}

pub(super) type Step = Result<(), PlaceholderError>;

impl Script {
    pub(super) fn piece(&self) -> Option<&Piece> {
        (self.at < self.end)
            .then(|| self.pieces.get(self.at))
            .flatten()
    }

    /// The character `ahead` of the next one; `None` = a value, or the end.
    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        let index = self.at + ahead;
        match (index < self.end).then(|| self.pieces.get(index))?? {
            Piece::Character(character) => Some(*character),
            Piece::Value { .. } => None,
        }
    }

    pub(super) fn is_value(&self) -> bool {
        matches!(self.piece(), Some(Piece::Value { .. }))
    }

    /// Copies one character that belongs to a word.
    pub(super) fn copy(&mut self) {
        if let Some(character) = self.peek(0) {
            self.words.push(character);
            self.syntax();
        }
    }

    /// Copies one character that belongs to no word.
    pub(super) fn syntax(&mut self) {
        if let Some(character) = self.peek(0) {
            if character == '\n' && !self.pending.is_empty() {
                self.lose("behind a line break between `<<` and its text");
            }
            self.output.push(character);
            self.at += 1;
        }
    }

    pub(super) fn lose(&mut self, why: &'static str) {
        self.refusal = self.refusal.or(Some(why));
        self.is_lost = true;
    }

    /// Reads what has to be read without any quoting of values.
    pub(super) fn refusing(
        &mut self,
        why: &'static str,
        read: impl FnOnce(&mut Self) -> Step,
    ) -> Step {
        let before = self.refusal;
        self.refusal = before.or(Some(why));
        read(self)?;
        if !self.is_lost {
            self.refusal = before;
        }
        Ok(())
    }
}

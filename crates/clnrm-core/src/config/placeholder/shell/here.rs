//! Here-documents: `<<word` and the lines up to `word`.

use super::quote::Quoting;
use super::script::{HereDocument, Piece, Script, Step, unquotable};

impl Script {
    /// Stands at `<<`.
    pub(super) fn here_operator(&mut self) {
        self.words.redirect();
        self.syntax();
        self.syntax();
        if self.peek(0) == Some('<') {
            self.syntax();
            return;
        }
        let strips_tabs = self.peek(0) == Some('-');
        if strips_tabs {
            self.syntax();
        }
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.syntax();
        }
        let mut document = HereDocument {
            delimiter: String::new(),
            is_literal: false,
            strips_tabs,
            is_script: false,
        };
        let mut quote = None;
        while let Some(character) = self.peek(0) {
            match (character, quote) {
                (_, Some(open)) if character == open => quote = None,
                ('\'' | '"', None) => {
                    quote = Some(character);
                    document.is_literal = true;
                }
                ('\\', None) => document.is_literal = true,
                (' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')', None) => break,
                ('\\' | '$' | '`' | '\n', _) => self.lose("behind such a `<<`"),
                _ => document.delimiter.push(character),
            }
            self.syntax();
        }
        if self.is_value() {
            self.lose("behind a `<<` with a placeholder");
        }
        self.pending.push(document);
    }

    /// Its text; stands at the beginning of the line behind the operator's.
    pub(super) fn here_document(&mut self, document: &HereDocument) -> Step {
        let (text_end, end) = self.extent(document);
        let outer_end = std::mem::replace(&mut self.end, text_end);
        let from = self.output.len();
        let first = (self
            .pieces
            .get(self.at..text_end)
            .unwrap_or_default()
            .iter())
        .find_map(|piece| match piece {
            Piece::Value { written, .. } => Some(written.clone()),
            Piece::Character(_) => None,
        });
        let words = std::mem::take(&mut self.words);
        match document.is_script {
            true => self.refusing("in a here-document for another shell", |script| {
                script.here_text(document)
            })?,
            false => self.here_text(document)?,
        }
        let inner = std::mem::replace(&mut self.words, words);
        self.words.inherit(&inner);
        let text = self.output.get(from..).unwrap_or_default();
        if let Some(written) = first.filter(|_| text.lines().any(|line| document.ends_at(line))) {
            return Err(unquotable(&written, "in a here-document that it would end"));
        }
        self.end = end.min(outer_end);
        while self.piece().is_some() {
            self.syntax();
        }
        self.end = outer_end;
        Ok(())
    }

    /// Where its text ends, and where the line of its delimiter does.
    fn extent(&mut self, document: &HereDocument) -> (usize, usize) {
        let mut start = self.at;
        let mut is_continued = false;
        while start < self.end {
            let line: Option<String> =
                (self.pieces.get(start..self.end).unwrap_or_default().iter())
                    .take_while(|piece| **piece != Piece::Character('\n'))
                    .map(|piece| match piece {
                        Piece::Character(character) => Some(*character),
                        Piece::Value { .. } => None,
                    })
                    .collect();
            let length = (self.pieces.get(start..self.end).unwrap_or_default().iter())
                .take_while(|piece| **piece != Piece::Character('\n'))
                .count();
            if line.as_deref().is_some_and(|line| document.ends_at(line)) {
                if is_continued {
                    self.lose("behind a here-document whose last line ends in a backslash");
                }
                return (start, start + length);
            }
            let last = (start + length).checked_sub(1);
            let last = last.and_then(|last| self.pieces.get(last));
            is_continued = !document.is_literal && last == Some(&Piece::Character('\\'));
            start += length + 1;
        }
        (self.end, self.end)
    }

    fn here_text(&mut self, document: &HereDocument) -> Step {
        while let Some(piece) = self.piece() {
            match *piece {
                Piece::Value { .. } if document.is_literal => self.value(Quoting::HereLiteral)?,
                Piece::Value { .. } => self.value(Quoting::Here)?,
                Piece::Character(character @ ('\\' | '$' | '`')) if !document.is_literal => {
                    self.part_of_word(character, true)?;
                }
                Piece::Character(_) => self.syntax(),
            }
        }
        Ok(())
    }
}

impl HereDocument {
    fn ends_at(&self, line: &str) -> bool {
        let line = match self.strips_tabs {
            true => line.trim_start_matches('\t'),
            false => line,
        };
        line == self.delimiter
    }
}

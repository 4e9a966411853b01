//! The terminal that a progress bar draws on, a little narrower than it is.
//!
//! A bar leaves the cursor at its right end. At the edge of the terminal, the `^C` that is shown of an interrupt would
//! go onto the next line, and clearing the bar would clear that line in place of the bar's.

use std::io;

use console::Term;
use indicatif::TermLike;

/// Room for `^C` four times.
const ROOM: u16 = 8;

#[derive(Debug)]
pub(super) struct NarrowTerminal(Term);

impl NarrowTerminal {
    pub(super) fn stderr() -> Self {
        Self(Term::buffered_stderr())
    }
}

fn narrowed(width: u16) -> u16 {
    width.saturating_sub(ROOM).max(1)
}

impl TermLike for NarrowTerminal {
    fn width(&self) -> u16 {
        narrowed(self.0.width())
    }

    fn height(&self) -> u16 {
        self.0.height()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.0.write_line(s)
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.0.write_str(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupt_shows_fits_beside_the_bar() {
        let shown = "^C".len() as u16;
        assert!((20..200).all(|width| narrowed(width) + shown < width));
        assert_eq!(narrowed(0), 1);
    }
}

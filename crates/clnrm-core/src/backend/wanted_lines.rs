//! Lines of output that readiness waits for, counted by whoever writes the log.
//!
//! The file itself would not do: it has a size cap, so a line may be dropped again before anybody has read it.

use regex::Regex;
use tokio::sync::watch;

use crate::config::definition::LogPattern;
use crate::text::plain;

/// A line without an end is looked at when it is so long, and then forgotten.
const LONGEST_LINE_BYTES: usize = 64 * 1024;

/// Counts the lines of an output that match each of some patterns.
#[derive(Debug)]
pub struct LineCounter {
    wanted: Vec<Wanted>,
    /// The last line, which may go on.
    unfinished: Vec<u8>,
    told: Vec<u32>,
}

#[derive(Debug)]
struct Wanted {
    pattern: Regex,
    times: u32,
    raw: bool,
    seen: u32,
}

impl LineCounter {
    /// Counts from the beginning of an output.
    pub fn new(patterns: &[LogPattern]) -> Self {
        let wanted = patterns.iter().map(|pattern| Wanted {
            pattern: compiled(&pattern.pattern),
            times: pattern.times,
            raw: pattern.raw,
            seen: 0,
        });
        Self {
            wanted: wanted.collect(),
            unfinished: Vec::new(),
            told: vec![0; patterns.len()],
        }
    }

    /// Takes the next piece of the output in; the counts, in the patterns' order, where one of them has changed.
    ///
    /// A last line that has no end yet (a prompt, say) counts while it matches.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u32>> {
        if self.wanted.is_empty() {
            return None;
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, next) = rest.split_at(end);
            self.unfinished.extend_from_slice(line);
            self.count_line();
            rest = next.get(1..).unwrap_or_default();
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() > LONGEST_LINE_BYTES {
            self.count_line();
        }
        let counts = self.counts();
        if self.wanted.iter().all(|wanted| wanted.seen >= wanted.times) {
            // Nobody asks any more; the rest of the output costs nothing.
            self.wanted.clear();
            self.unfinished = Vec::new();
        }
        if counts == self.told {
            return None;
        }
        self.told.clone_from(&counts);
        Some(counts)
    }

    fn count_line(&mut self) {
        let line = std::mem::take(&mut self.unfinished);
        for wanted in &mut self.wanted {
            wanted.seen += u32::from(wanted.matches(&line));
        }
    }

    fn counts(&self) -> Vec<u32> {
        let line = &self.unfinished;
        let count =
            |wanted: &Wanted| wanted.seen + u32::from(!line.is_empty() && wanted.matches(line));
        self.wanted.iter().map(count).collect()
    }
}

impl Wanted {
    fn matches(&self, line: &[u8]) -> bool {
        if self.seen >= self.times {
            return false;
        }
        let line = String::from_utf8_lossy(line);
        match self.raw {
            true => self.pattern.is_match(&line),
            // As a report shows it.
            false => self.pattern.is_match(&plain(&line)),
        }
    }
}

/// Patterns were compiled once when the file was read, so only a definition made by hand is taken literally here.
fn compiled(pattern: &str) -> Regex {
    let regex = Regex::new(pattern).or_else(|_| Regex::new(&regex::escape(pattern)));
    regex.expect("an escaped pattern is a regular expression")
}

/// A counter and whoever waits for its counts.
#[derive(Debug)]
pub struct LineWatch {
    counter: LineCounter,
    told: watch::Sender<Vec<u32>>,
}

impl LineWatch {
    /// Counts, and tells the receiver of every change.
    pub fn new(patterns: &[LogPattern]) -> (Self, watch::Receiver<Vec<u32>>) {
        let (told, counts) = watch::channel(Vec::new());
        let counter = LineCounter::new(patterns);
        (Self { counter, told }, counts)
    }

    /// Takes the next piece of the output in.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(counts) = self.counter.feed(bytes) {
            self.told.send_replace(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counter(patterns: &[(&str, u32)]) -> LineCounter {
        let patterns: Vec<LogPattern> = patterns
            .iter()
            .map(|(pattern, times)| LogPattern {
                pattern: (*pattern).to_owned(),
                times: *times,
                raw: pattern.contains("x1b"),
            })
            .collect();
        LineCounter::new(&patterns)
    }

    #[test]
    fn each_line_counts_once_however_it_comes() {
        let mut counter = counter(&[("ready", 2), ("^up$", 1)]);
        assert_eq!(counter.feed(b"starting\nrea"), None);
        assert_eq!(counter.feed(b"dy and ready\n"), Some(vec![1, 0]));
        assert_eq!(counter.feed(b"up\r\n"), Some(vec![1, 1]));
        assert_eq!(counter.feed(b"\n\nready"), Some(vec![2, 1]), "a prompt");
        assert_eq!(counter.feed(b"\n"), None);
        assert_eq!(counter.feed(b"ready\n"), None, "nobody waits any more");
    }

    #[test]
    fn colours_are_left_out_unless_the_file_wants_them() {
        let mut counter = counter(&[("^ready on 8080$", 1), ("^\\x1b.*\r$", 1)]);
        let line = b"\x1b[32mready\x1b[0m on 8080\r\n";
        assert_eq!(counter.feed(line), Some(vec![1, 1]));
    }

    #[test]
    fn what_only_began_like_a_match_is_taken_back() {
        let mut counter = counter(&[("^up$", 2)]);
        assert_eq!(counter.feed(b"up"), Some(vec![1]));
        assert_eq!(counter.feed(b"stairs\n"), Some(vec![0]));
    }

    #[test]
    fn an_output_without_line_ends_is_not_kept() {
        let mut counter = counter(&[("ready", 1)]);
        for _ in 0..100 {
            counter.feed(&[b'x'; 10_000]);
            assert!(counter.unfinished.len() <= LONGEST_LINE_BYTES);
        }
        assert_eq!(counter.feed(b" ready"), Some(vec![1]));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[abr\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
            let count = |pieces: Vec<&[u8]>| {
                let mut counter = counter(&[("a", 1000), ("^b$", 1000)]);
                let told: Vec<Vec<u32>> = pieces.into_iter().filter_map(|piece| counter.feed(piece)).collect();
                told.last().cloned().unwrap_or_else(|| vec![0, 0])
            };
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let whole = count(vec![bytes]);
            prop_assert_eq!(count(pieces), whole.clone());
            let lines = |matches: fn(&str) -> bool| text.lines().filter(|line| matches(line)).count();
            prop_assert_eq!(whole[0] as usize, lines(|line| line.contains('a')));
            prop_assert_eq!(whole[1] as usize, lines(|line| line == "b"));
        }
    }
}

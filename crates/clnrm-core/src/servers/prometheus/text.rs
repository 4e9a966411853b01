//! The text format of Prometheus (0.0.4, and 1.0.0 with its quoted names) and OpenMetrics (units, exemplars, `# EOF`).
//!
//! A bad line is skipped and counted: it must not hide the rest of the page.

use std::borrow::Cow;

#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// A series that was wanted.
    Sample(Sample<'a>),
    /// `# TYPE name counter`
    Type(Cow<'a, str>, Kind),
    /// `# UNIT name seconds`
    Unit(Cow<'a, str>, &'a str),
    /// A line that breaks the format, or was cut off.
    Unreadable,
}

/// What a page declares a family to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    /// `untyped`, `unknown` and whatever else: it says nothing.
    Other,
}

/// One series and its value.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) labels: Labels<'a>,
    /// May be NaN or infinite.
    pub(super) value: f64,
    /// When it was measured, in the page's own unit.
    pub(super) timestamp: Option<f64>,
}

impl Sample<'_> {
    /// The value of a label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(label, _)| label == name)
            .map(|(_, value)| value.as_ref())
    }
}

/// Hands over every wanted series, declaration and bad line of a page.
///
/// A last line without its line feed is trusted only if the page is known to be complete.
pub(super) fn read<'a>(
    page: &'a str,
    is_complete: bool,
    wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(Line<'a>),
) {
    for line in page.split_inclusive('\n') {
        let is_cut_off = !is_complete && !line.ends_with('\n');
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if is_cut_off {
            each(Line::Unreadable);
        } else if let Some(comment) = line.strip_prefix('#') {
            if let Some(declaration) = declaration(comment) {
                each(declaration);
            }
        } else if let Some(series) = series(line, &wanted) {
            each(series);
        }
    }
}

/// What follows the `#` of `# TYPE name counter`; any other comment is `None`.
fn declaration(comment: &str) -> Option<Line<'_>> {
    let comment = comment.trim_start();
    let (keyword, rest) = comment.split_once(char::is_whitespace)?;
    let (name, rest) = quoted_or_bare_name(rest.trim_start())?;
    let word = rest.split_whitespace().next();
    match keyword {
        "TYPE" => Some(Line::Type(name, kind(word.unwrap_or_default()))),
        "UNIT" => Some(Line::Unit(name, word?)),
        _ => None,
    }
}

fn kind(word: &str) -> Kind {
    match word.to_ascii_lowercase().as_str() {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        _ => Kind::Other,
    }
}

/// `None` = a series that is not wanted.
fn series<'a>(line: &'a str, wanted: impl Fn(&str) -> bool) -> Option<Line<'a>> {
    let (name, rest) = match line.strip_prefix('{') {
        // `{"name", label="value"} 1`
        Some(inside) => match quoted_name_in_braces(inside) {
            Some(named) => named,
            None => return Some(Line::Unreadable),
        },
        None => {
            let (name, rest) = split_name(line);
            (Cow::Borrowed(name), rest)
        }
    };
    if name.is_empty() {
        return Some(Line::Unreadable);
    }
    if !wanted(&name) {
        return None;
    }
    let is_open = line.starts_with('{');
    Some(sample(name, rest, is_open).map_or(Line::Unreadable, Line::Sample))
}

/// Reads `"name"` and the comma behind it, if there is one.
fn quoted_name_in_braces(inside: &str) -> Option<(Cow<'_, str>, &str)> {
    let (name, rest) = quoted_value(inside.trim_start().strip_prefix('"')?)?;
    let rest = rest.trim_start();
    match rest.strip_prefix(',') {
        Some(labels) => Some((name, labels)),
        None => rest.starts_with('}').then_some((name, rest)),
    }
}

/// A name as declarations and labels have it: `"any text"`, or a run of name characters.
fn quoted_or_bare_name(text: &str) -> Option<(Cow<'_, str>, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_value(quoted),
        None => {
            let (name, rest) = split_name(text);
            (!name.is_empty()).then_some((Cow::Borrowed(name), rest))
        }
    }
}

/// Splits off a leading run of name characters.
fn split_name(text: &str) -> (&str, &str) {
    let is_name = |character: char| character.is_ascii_alphanumeric() || "_:.".contains(character);
    let end = text
        .find(|character| !is_name(character))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// What follows a name; `is_open` = the brace of the labels stood before it.
fn sample<'a>(name: Cow<'a, str>, rest: &'a str, is_open: bool) -> Option<Sample<'a>> {
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        _ if is_open => labels(rest)?,
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = number(words.next()?)?;
    let timestamp = match words.next() {
        // An exemplar may follow.
        None | Some("#") => None,
        Some(timestamp) => {
            let timestamp = timestamp.parse().ok()?;
            if !matches!(words.next(), None | Some("#")) {
                return None;
            }
            Some(timestamp)
        }
    };
    Some(Sample {
        name,
        labels,
        value,
        timestamp,
    })
}

/// Go's floating-point texts, as the format prescribes; Rust reads the same (`NaN`, `+Inf`, `1e3`) and `infinity`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Reads `a="x",b="y",}` and returns what follows the brace.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after_name) = quoted_or_bare_name(rest)?;
        let quoted = after_name
            .trim_start()
            .strip_prefix('=')?
            .trim_start()
            .strip_prefix('"')?;
        let (value, after_value) = quoted_value(quoted)?;
        labels.push((name, value));
        rest = after_value.trim_start();
        match rest.strip_prefix(',') {
            Some(after_comma) => rest = after_comma,
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// Reads up to the closing quote; `\\`, `\"` and `\n` are escapes.
fn quoted_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut unescaped = String::new();
    let mut rest = text;
    loop {
        let special = rest.find(['"', '\\'])?;
        let (plain, tail) = rest.split_at(special);
        if let Some(after) = tail.strip_prefix('"') {
            if unescaped.is_empty() {
                return Some((Cow::Borrowed(plain), after));
            }
            unescaped.push_str(plain);
            return Some((Cow::Owned(unescaped), after));
        }
        unescaped.push_str(plain);
        let mut characters = tail.strip_prefix('\\')?.chars();
        match characters.next()? {
            'n' => unescaped.push('\n'),
            escaped @ ('"' | '\\') => unescaped.push(escaped),
            other => unescaped.extend(['\\', other]), // the format leaves this open; keep what stands there
        }
        rest = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(page: &str, is_complete: bool) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        read(page, is_complete, |_| true, |line| lines.push(line));
        lines
    }

    fn one(line: &str) -> Option<Sample<'_>> {
        match read_all(line, true).pop() {
            Some(Line::Sample(sample)) => Some(sample),
            _ => None,
        }
    }

    #[test]
    fn reads_labels_with_escapes_commas_braces_and_utf8() {
        let sample =
            one(r#"m{a="q\"uo,te",b="x}y{",c="back\\slash\n",d="żółw ✔",} 1.5e3 1395066363000"#)
                .unwrap();
        assert_eq!(sample.name, "m");
        assert_eq!(sample.value.to_bits(), 1_500.0_f64.to_bits());
        assert_eq!(sample.label("a"), Some("q\"uo,te"));
        assert_eq!(sample.label("b"), Some("x}y{"));
        assert_eq!(sample.label("c"), Some("back\\slash\n"));
        assert_eq!(sample.label("d"), Some("żółw ✔"));
        assert_eq!(sample.label("e"), None);
    }

    #[test]
    fn reads_every_form_of_number_and_white_space() {
        for (line, expected) in [
            ("m 1", 1.0),
            ("m{} -2", -2.0),
            ("m { a = \"b\" , c=\"d\" } 3", 3.0),
            ("  m\t+Inf", f64::INFINITY),
            ("m -Inf", f64::NEG_INFINITY),
            (r#"m_bucket{le="1"} 4 # {trace_id="a b"} 0.5 1.2"#, 4.0),
            (r#"m_bucket{le="1"} 5 12.5 # {} 0.5"#, 5.0),
        ] {
            assert_eq!(
                one(line).unwrap().value.to_bits(),
                f64::to_bits(expected),
                "{line}"
            );
        }
        assert!(one("m NaN").unwrap().value.is_nan());
    }

    #[test]
    fn bad_lines_are_told_and_hide_nothing() {
        let page = "# HELP m text\n# TYPE m counter\nm 1\n{} 2\nm{a=b} 3\nm{a=\"b} 4\nm\nm x\nm 1 2 3\nm 5\n# EOF\n";
        let lines = read_all(page, true);
        let bad = lines
            .iter()
            .filter(|line| **line == Line::Unreadable)
            .count();
        assert_eq!((bad, lines.len()), (6, 9));
        assert_eq!(lines[0], Line::Type("m".into(), Kind::Counter));
        assert!(matches!(&lines[8], Line::Sample(sample) if sample.value > 4.0));
    }

    #[test]
    fn names_may_be_quoted_and_units_declared() {
        let page = "# TYPE \"http.requests\" counter\n{\"http.requests\",\"a.b\"=\"c\",d=\"e\"} 5\n\
                    { \"żółw \\\"x\\\"\" } 6 7\n# UNIT d_ms milliseconds\n# HELP \"x y\" text\n{\"m\" a=\"b\"} 1\n";
        let lines = read_all(page, true);
        assert_eq!(lines[0], Line::Type("http.requests".into(), Kind::Counter));
        let Line::Sample(dotted) = &lines[1] else {
            panic!("{lines:?}")
        };
        assert_eq!(
            (dotted.name.as_ref(), dotted.label("a.b")),
            ("http.requests", Some("c"))
        );
        assert_eq!(dotted.label("d"), Some("e"));
        let Line::Sample(spaced) = &lines[2] else {
            panic!("{lines:?}")
        };
        assert_eq!(
            (spaced.name.as_ref(), spaced.timestamp),
            ("żółw \"x\"", Some(7.0))
        );
        assert_eq!(lines[3], Line::Unit("d_ms".into(), "milliseconds"));
        assert_eq!(lines[4..], [Line::Unreadable]);
    }

    #[test]
    fn a_last_line_without_its_end_is_trusted_only_on_a_complete_page() {
        assert_eq!(read_all("m 12", false), [Line::Unreadable]);
        assert!(matches!(&read_all("m 12", true)[..], [Line::Sample(_)]));
        assert!(matches!(&read_all("m 12\n", false)[..], [Line::Sample(_)]));
    }

    proptest! {
        #[test]
        fn reading_never_panics(page: String) {
            read_all(&page, true);
        }

        #[test]
        fn reading_nearly_right_lines_never_panics(page in r#"(m|#|\{|\}|"|\\|,|=|a| |\n|1|NaN|ż){0,40}"#) {
            read_all(&page, false);
        }

        #[test]
        fn any_label_value_survives_escaping(value: String) {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let line = format!("m{{a=\"{escaped}\"}} 1");
            // A carriage return or the like inside a value ends no line.
            let sample = one(&line).unwrap();
            prop_assert_eq!(sample.label("a"), Some(value.as_str()));
        }
    }
}

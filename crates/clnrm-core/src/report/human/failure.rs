//! Errors and failed services, as people read them.

use std::error::Error;
use std::io::{self, Write};

use crate::report::human::paragraph;
use crate::report::style::Paint;
use crate::report::text::safe_line;
use crate::runner::result::ServiceFailure;

/// Writes the error, each cause once, and at most one hint.
pub fn error(
    out: &mut dyn Write,
    error: &dyn Error,
    hint: Option<&str>,
    paint: Paint,
) -> io::Result<()> {
    let label = format!("{} ", paint.bad("error:"));
    paragraph(out, "", &label, &error.to_string())?;
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // A transparent wrapper says what its source says.
        if text != said {
            paragraph(out, "  ", "caused by: ", &text)?;
            said = text;
        }
        source = cause.source();
    }
    match hint {
        Some(hint) => paragraph(out, "", &format!("{} ", paint.warning("hint:")), hint),
        None => Ok(()),
    }
}

/// Writes a failed service: what happened, the way out, the end of its log.
pub(super) fn service(
    out: &mut dyn Write,
    failure: &ServiceFailure,
    margin: &str,
    paint: Paint,
) -> io::Result<()> {
    let name = safe_line(&failure.service);
    let instance = match &failure.instance_id {
        Some(id) => format!(" ({})", safe_line(id)),
        None => String::new(),
    };
    let headline = format!("service {name}{instance} failed: {}", failure.message);
    paragraph(out, margin, "", &headline)?;
    if let Some(hint) = &failure.hint {
        paragraph(out, &format!("{margin}  "), "hint: ", hint)?;
    }
    for line in &failure.log_tail {
        let text = format!("{name} | {}", safe_line(line));
        writeln!(out, "{margin}  {}", paint.faint(text.trim_end()))?;
    }
    match &failure.log_file {
        Some(file) if failure.log_tail.is_empty() => {
            let file = safe_line(&file.to_string_lossy());
            writeln!(out, "{margin}  its log is empty: {file}")
        }
        Some(file) => {
            let file = safe_line(&file.to_string_lossy());
            writeln!(out, "{margin}  the whole log: {file}")
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;
    use crate::report::human::tests::rendered;

    #[derive(Debug, Error)]
    #[error("cannot read {path}")]
    struct ReadFile {
        path: &'static str,
        source: Wrapped,
    }

    #[derive(Debug, Error)]
    #[error(transparent)]
    struct Wrapped(#[from] Syntax);

    #[derive(Debug, Error)]
    #[error("line 3: unknown key\n3 | comand = \"x\"\n  | ^^^^^^")]
    struct Syntax {
        #[source]
        cause: std::fmt::Error,
    }

    #[test]
    fn the_chain_is_said_once_with_one_hint() {
        let chain = ReadFile {
            path: "a\u{1b}[2J.toml",
            source: Wrapped(Syntax {
                cause: std::fmt::Error,
            }),
        };
        let text =
            rendered(|out| error(out, &chain, Some("did you mean `command`?"), Paint::plain()));
        insta::assert_snapshot!(text, @r#"
        error: cannot read a.toml
          caused by: line 3: unknown key
            3 | comand = "x"
              | ^^^^^^
          caused by: an error occurred when formatting an argument
        hint: did you mean `command`?
        "#);
    }
}

//! Reports as JSON: the very structs that the human reports render.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::reason::{of_step, of_test};
use crate::runner::result::RunReport;

/// Writes one pretty document and a line break.
pub fn write(out: &mut dyn Write, report: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

/// Writes the report of a run, with causes in the words that people read.
pub fn write_run(out: &mut dyn Write, report: &RunReport) -> io::Result<()> {
    let mut document = serde_json::to_value(report)?;
    let tests = document.pointer_mut("/tests").and_then(Value::as_array_mut);
    for (value, test) in tests.into_iter().flatten().zip(&report.tests) {
        word(value, "/reason", test.reason.as_ref().map(of_test));
        let steps = value.pointer_mut("/steps").and_then(Value::as_array_mut);
        for (value, step) in steps.into_iter().flatten().zip(&test.steps) {
            word(value, "/reason", step.reason.as_ref().map(of_step));
            let earlier = step.earlier_failure.as_ref().map(of_step);
            word(value, "/earlier_failure", earlier);
        }
    }
    write(out, &document)
}

fn word(value: &mut Value, pointer: &str, words: Option<String>) {
    if let Some(cause) = value.pointer_mut(pointer) {
        *cause = words.into();
    }
}

/// Writes one document on a line of its own, for streams that go on.
pub fn write_line(out: &mut dyn Write, record: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_keeps_its_error_kind() {
        let error = write(&mut Closed, &["a"]).expect_err("the pipe is closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn documents_end_with_a_line_break() {
        let mut out = Vec::new();
        write(&mut out, &["a"]).expect("writes to memory");
        write_line(&mut out, &["b", "c"]).expect("writes to memory");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "[\n  \"a\"\n]\n[\"b\",\"c\"]\n"
        );
    }
}

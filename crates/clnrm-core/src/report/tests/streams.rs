//! What goes to which stream, and what happens when nobody reads it.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::manage::{pass, service};
use super::run_fixtures::{everything, passed, report};
use crate::report::style::{ColorChoice, Style, Surroundings};
use crate::report::{Format, Printer, RunFormat, unless_closed};

/// Takes a few bytes and then has no reader any more.
struct Head {
    left: usize,
}

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plain() -> Style {
    Style::resolve(ColorChoice::Never, &Surroundings::default())
}

#[test]
fn reports_go_to_out_and_the_rest_to_err() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut printer = Printer::new(&mut out, &mut err, plain(), false);
    printer
        .manage(&pass(vec![service("cache")]), Format::Json)
        .expect("writes to memory");
    printer.warning("careful").expect("writes to memory");
    printer.note("step\nby step").expect("writes to memory");
    printer
        .error(&io::Error::other("no such file"), Some("run clnrm init"))
        .expect("writes to memory");
    assert!(out.starts_with(b"{\n  \"schema\": \"clnrm.ai-manage/1\""));
    assert_eq!(
        String::from_utf8_lossy(&err),
        "warning: careful\nstep\\nby step\nerror: no such file\nhint: run clnrm init\n"
    );
}

#[test]
fn every_format_ends_quietly_when_the_reader_goes_away() {
    for format in [
        RunFormat::Human,
        RunFormat::Json,
        RunFormat::Junit,
        RunFormat::Tap,
    ] {
        for left in [0, 1, 100] {
            let (mut out, mut err) = (Head { left }, Vec::new());
            let result =
                Printer::new(&mut out, &mut err, plain(), false).run(&everything(), format);
            let error = result.expect_err("the report is longer than 100 bytes");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{format:?} {left}");
            assert!(unless_closed(Err(error)).is_ok());
        }
    }
}

#[test]
fn a_full_disk_is_no_closed_pipe() {
    let full = unless_closed(Err(ErrorKind::StorageFull.into()));
    assert_eq!(
        full.map_err(|error| error.kind()),
        Err(ErrorKind::StorageFull)
    );
}

#[test]
fn a_step_summary_that_cannot_be_written_is_a_warning() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut printer = Printer::new(&mut out, &mut err, plain(), false);
    printer
        .step_summary(Path::new("/nowhere/summary.md"), &report(vec![passed()]))
        .expect("no failure");
    let warning = String::from_utf8_lossy(&err);
    assert!(
        warning.starts_with("warning: GITHUB_STEP_SUMMARY (/nowhere/summary.md) was not written:"),
        "{warning}"
    );
}

//! What the end-to-end tests share: the binary, and waiting for a condition.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clnrm_core::procfs::ProcessTable;

/// The binary under test.
pub(crate) fn clnrm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_clnrm"))
}

/// A number that an environment variable states, so that a test can be made longer by hand.
pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    let stated = std::env::var(name).ok();
    stated.map_or(otherwise, |text| text.parse().unwrap())
}

/// Waits until `look` finds something; fails with its last words after ten seconds.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..1_000 {
        match look() {
            Ok(found) => return found,
            Err(words) => last = words,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: {last}");
}

/// Living processes whose command line holds this text.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let table = ProcessTable::scan().expect("/proc can be read");
    table
        .iter()
        .filter(|process| process.is_alive())
        .map(|process| process.pid)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                String::from_utf8_lossy(&line)
                    .replace('\0', " ")
                    .contains(text)
            })
        })
        .collect()
}

/// A file's content, once it is there.
pub(crate) async fn content(path: PathBuf) -> String {
    eventually("a file appears", || match std::fs::read_to_string(&path) {
        Ok(text) if text.ends_with('\n') => Ok(text),
        other => Err(format!("{}: {other:?}", path.display())),
    })
    .await
}

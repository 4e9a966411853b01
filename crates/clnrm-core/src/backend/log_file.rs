//! A log with a size cap, and its tail.
//!
//! When the file reaches half of the cap it becomes `….1` (replacing the one before), and a new one begins: at most
//! the cap is kept on disk, and at least the newer half of it. A full disk loses output, never the service: what
//! could not be written is counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The writing side, owned by the shim.
#[derive(Debug)]
pub struct CappedLog {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    limit: u64,
    lost: u64,
}

impl CappedLog {
    /// Opens (and continues) the log at `path`, keeping at most `limit_bytes` of it.
    pub fn open(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            written,
            limit: limit_bytes.max(2),
            lost: 0,
        })
    }

    /// Writes what it can and counts what it cannot.
    pub fn append(&mut self, bytes: &[u8]) {
        if self.written + bytes.len() as u64 > self.limit / 2 && self.written > 0 {
            self.begin_new_file();
        }
        match self.file.as_mut().map(|file| file.write_all(bytes)) {
            Some(Ok(())) => self.written += bytes.len() as u64,
            _ => self.lost += bytes.len() as u64,
        }
    }

    /// Bytes that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn begin_new_file(&mut self) {
        self.file = None;
        // A failure here (a full disk, a folder that was removed) leaves no file: output is counted as lost.
        if fs::rename(&self.path, older(&self.path)).is_ok() {
            self.file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)
                .ok();
            self.written = 0;
        }
    }
}

/// Where the older half of a log is.
pub fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// The last `lines` lines of a log, oldest first; bytes that are not UTF-8 are replaced. Empty when there is none.
pub fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut text = read_end(path, lines)?;
    if text.lines().count() < lines {
        text = read_end(&older(path), lines)? + &text;
    }
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    Ok(all.into_iter().skip(from).map(str::to_owned).collect())
}

/// The end of a file, long enough for that many lines of ordinary length.
fn read_end(path: &Path, lines: usize) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let wanted = (lines as u64)
        .saturating_mul(1_024)
        .clamp(64 * 1_024, 16 * 1_024 * 1_024);
    file.seek(SeekFrom::Start(length.saturating_sub(wanted)))?;
    let mut bytes = Vec::new();
    file.take(wanted).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the lines of a growing log, each once.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    position: u64,
    partial: Vec<u8>,
}

impl LogReader {
    /// From the beginning of the log at `path`, which need not exist yet.
    pub fn from_start(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            position: 0,
            partial: Vec::new(),
        }
    }

    /// From the present end of the log at `path`.
    pub fn from_end(path: &Path) -> Self {
        let position = fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self {
            path: path.to_owned(),
            position,
            partial: Vec::new(),
        }
    }

    /// The complete lines that came since the last call. A log that began anew is followed from its start.
    pub fn new_lines(&mut self) -> io::Result<Vec<String>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() < self.position {
            self.position = 0;
        }
        file.seek(SeekFrom::Start(self.position))?;
        let read = file.read_to_end(&mut self.partial)?;
        self.position += read as u64;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.partial.split_off(end + 1);
        let complete = std::mem::replace(&mut self.partial, rest);
        Ok(String::from_utf8_lossy(&complete)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// A last line that has no end yet (a prompt, say).
    pub fn unfinished_line(&self) -> String {
        String::from_utf8_lossy(&self.partial).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_lines_within_the_cap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = CappedLog::open(&path, 1_000).unwrap();
        for number in 0..500 {
            log.append(format!("line {number:04}\n").as_bytes());
        }
        let kept = fs::metadata(&path).unwrap().len() + fs::metadata(older(&path)).unwrap().len();
        assert!(kept <= 1_000, "{kept} bytes kept");
        assert_eq!(log.lost(), 0);
        assert_eq!(
            tail(&path, 3).unwrap(),
            ["line 0497", "line 0498", "line 0499"]
        );
        let long = tail(&path, 60).unwrap();
        assert!(
            long.len() >= 50,
            "the older half is read too: {} lines",
            long.len()
        );
        assert_eq!(long.last().unwrap(), "line 0499");
    }

    #[test]
    fn output_that_cannot_be_written_is_counted_and_does_not_stop_the_writer() {
        let mut log = CappedLog::open(Path::new("/dev/full"), 1 << 20).unwrap();
        log.append(b"0123456789");
        log.append(b"01234");
        assert_eq!(log.lost(), 15);
    }

    #[test]
    fn a_reader_sees_each_complete_line_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut reader = LogReader::from_start(&path);
        assert!(reader.new_lines().unwrap().is_empty());
        fs::write(&path, "one\ntw").unwrap();
        assert_eq!(reader.new_lines().unwrap(), ["one"]);
        assert_eq!(reader.unfinished_line(), "tw");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(reader.new_lines().unwrap(), ["two", "three"]);
        assert!(reader.new_lines().unwrap().is_empty());
    }
}

//! Recorded traces: `timestamp,value` files and the `MANIFEST.csv` beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

/// One recorded trace, evenly sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Oldest first, finite.
    pub values: Vec<f64>,
    /// Whether it measures the load of a service: those are what headline numbers are made of.
    pub core: bool,
}

/// Traces by their names (file names without `.csv`).
pub type Traces = BTreeMap<String, Trace>;

/// A trace or the manifest cannot be used.
#[derive(Debug, Error)]
pub enum TracesError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Unreadable { path: PathBuf, source: io::Error },
    /// A table has no such column.
    #[error("{path} has no column `{column}`")]
    NoColumn {
        path: PathBuf,
        /// What its first line lacks.
        column: &'static str,
    },
    /// A cell is not what its column promises.
    #[error("{path}, line {line}: `{cell}` is not a finite number")]
    NotANumber {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What stands there; empty where the line is too short.
        cell: String,
    },
    /// A trace without a line in the manifest, or without a file.
    #[error("{path} does not list `{file}`")]
    NotListed { path: PathBuf, file: String },
}

/// Reads every trace of a folder.
pub fn read(folder: &Path) -> Result<Traces, TracesError> {
    let manifest = folder.join("MANIFEST.csv");
    let core = core_of(&manifest)?;
    let unreadable = |source| TracesError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut traces = Traces::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let (Some(stem), Some("csv")) = (
            path.file_stem().and_then(|stem| stem.to_str()),
            path.extension().and_then(|extension| extension.to_str()),
        ) else {
            continue;
        };
        if stem == "MANIFEST" {
            continue;
        }
        let file = format!("{stem}.csv");
        let Some(&core) = core.get(&file) else {
            let path = manifest.clone();
            return Err(TracesError::NotListed { path, file });
        };
        let values = values_of(&path)?;
        traces.insert(stem.to_owned(), Trace { values, core });
    }
    Ok(traces)
}

/// Reads the traces of these names alone; what is core is not known then.
pub fn read_named<'a>(
    folder: &Path,
    names: impl Iterator<Item = &'a str>,
) -> Result<Traces, TracesError> {
    let mut traces = Traces::new();
    for name in names {
        if !traces.contains_key(name) {
            let values = values_of(&folder.join(format!("{name}.csv")))?;
            let core = false;
            traces.insert(name.to_owned(), Trace { values, core });
        }
    }
    Ok(traces)
}

fn values_of(path: &Path) -> Result<Vec<f64>, TracesError> {
    let text = text_of(path)?;
    let column = column_of(path, &text, "value")?;
    let rows = text.lines().zip(1..).skip(1);
    rows.filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| {
            let cell = line.split(',').nth(column).unwrap_or_default().trim();
            let value = cell.parse::<f64>().ok().filter(|value| value.is_finite());
            value.ok_or_else(|| TracesError::NotANumber {
                path: path.to_owned(),
                line: number,
                cell: cell.to_owned(),
            })
        })
        .collect()
}

/// Whether a file is part of the headline numbers, from the manifest.
fn core_of(path: &Path) -> Result<BTreeMap<String, bool>, TracesError> {
    let text = text_of(path)?;
    let file = column_of(path, &text, "file")?;
    let core = column_of(path, &text, "core")?;
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let name = cells.get(file).copied().unwrap_or_default();
        (name.to_owned(), cells.get(core) == Some(&"1"))
    };
    Ok(text.lines().skip(1).map(row).collect())
}

pub(crate) fn text_of(path: &Path) -> Result<String, TracesError> {
    fs::read_to_string(path).map_err(|source| TracesError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn column_of(
    path: &Path,
    text: &str,
    column: &'static str,
) -> Result<usize, TracesError> {
    let header = text.lines().next().unwrap_or_default();
    let mut names = header.split(',').map(str::trim);
    names
        .position(|name| name == column)
        .ok_or_else(|| TracesError::NoColumn {
            path: path.to_owned(),
            column,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_timestamps_are_read_and_what_is_no_number_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "MANIFEST.csv",
            "file,kind,core\na.csv,cpu,1\nb.csv,other,0\n",
        );
        write("a.csv", "timestamp,value\n60,1.5\n120,2\n");
        write("b.csv", "timestamp,value\n2014-02-14 14:30:00,3e1\n");
        let traces = read(folder.path()).unwrap();
        assert_eq!(
            traces["a"],
            Trace {
                values: vec![1.5, 2.0],
                core: true
            }
        );
        assert_eq!(
            traces["b"],
            Trace {
                values: vec![30.0],
                core: false
            }
        );
        write("b.csv", "timestamp,value\n0,1\n60,NaN\n");
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("b.csv, line 3: `NaN` is not a finite number"),
            "{error}"
        );
        let named = read_named(folder.path(), ["a", "a"].into_iter()).unwrap();
        assert_eq!(named["a"].values, [1.5, 2.0]);
        assert!(read_named(folder.path(), ["x"].into_iter()).is_err());
        write("c.csv", "timestamp,value\n");
        write("b.csv", "timestamp,value\n");
        assert!(
            matches!(read(folder.path()), Err(TracesError::NotListed { file, .. }) if file == "c.csv")
        );
    }
}

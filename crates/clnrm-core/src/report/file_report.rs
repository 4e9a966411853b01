//! What `clnrm validate` and `clnrm init` report.

use std::path::PathBuf;

use serde::Serialize;

use crate::text;

/// The checked files. JSON: schema `clnrm.validate/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValidateReport {
    /// Always [`ValidateReport::SCHEMA`].
    pub schema: &'static str,
    /// Every file, in the order in which they were found.
    pub files: Vec<CheckedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedFile {
    /// The file, as given or discovered.
    #[serde(serialize_with = "text::serialize_path")]
    pub file: PathBuf,
    /// The test's name; `None` when the file could not be read that far.
    pub name: Option<String>,
    /// How many services it declares.
    pub services: usize,
    /// How many steps it has.
    pub steps: usize,
    /// Everything that is wrong with it; empty = valid.
    pub errors: Vec<String>,
    /// What its author should know although the file is valid.
    pub warnings: Vec<String>,
}

/// The written file. JSON: schema `clnrm.init/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InitReport {
    /// Always [`InitReport::SCHEMA`].
    pub schema: &'static str,
    #[serde(serialize_with = "text::serialize_path")]
    pub file: PathBuf,
    /// An older file of that name was replaced (`--force`).
    pub replaced: bool,
}

impl ValidateReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.validate/1";
}

impl InitReport {
    /// The name and version of this report's JSON form.
    pub const SCHEMA: &'static str = "clnrm.init/1";
}

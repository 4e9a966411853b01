//! `clnrm validate`.

use std::path::{Path, PathBuf};

use crate::cli::error::CliError;
use crate::cli::invocation::Invocation;
use crate::cli::types::ValidateArguments;
use crate::config::definition::{ServiceDefinition, TestDefinition};
use crate::config::discovery::discover;
use crate::config::{self, ConfigError, step_variables};
use crate::exit::Exit;
use crate::report::file_report::{CheckedFile, ValidateReport};
use crate::report::{Format, Printer, unless_closed};
use crate::servers;
use crate::services::service_manager::AutoScaleConfig;
use crate::text::one_line;

/// Checks test files without starting anything.
pub(in crate::cli) fn validate(
    options: &ValidateArguments,
    format: Format,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let settings = invocation.settings()?;
    let files = discover(&options.paths, &invocation.current_dir)?;
    let checked: Vec<CheckedFile> = files
        .into_iter()
        .map(|file| check(file, &settings.root, &settings.config.scale))
        .collect();
    let wrong = checked.iter().any(|file| !file.errors.is_empty());
    unless_closed(printer.validate(
        &ValidateReport {
            schema: ValidateReport::SCHEMA,
            files: checked,
        },
        format,
    ))?;
    Ok(if wrong { Exit::Usage } else { Exit::Good })
}

fn check(file: PathBuf, root: &Path, scale: &AutoScaleConfig) -> CheckedFile {
    match config::load_test_with(&file, root, scale, &servers::forms()) {
        Ok(TestDefinition {
            name,
            services,
            steps,
            ..
        }) => CheckedFile {
            file,
            name: Some(name),
            warnings: warnings(&services),
            services: services.len(),
            steps: steps.len(),
            errors: Vec::new(),
        },
        Err(error) => CheckedFile {
            file,
            name: None,
            services: 0,
            steps: 0,
            errors: sentences(&error),
            warnings: Vec::new(),
        },
    }
}

fn warnings(services: &[ServiceDefinition]) -> Vec<String> {
    let left = step_variables::left_to_the_caller(services);
    let sentence = |(service, variable, property)| {
        format!(
            "services.{service}: ${variable} stays as it is in steps, since programs read it; write {{{service}.{property}}}"
        )
    };
    left.map(sentence).collect()
}

/// One sentence for each mistake.
pub(super) fn sentences(error: &ConfigError) -> Vec<String> {
    match error {
        ConfigError::Invalid { .. } => error.to_string().lines().map(str::to_owned).collect(),
        other => vec![one_line(other)],
    }
}

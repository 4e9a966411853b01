//! What instances and commands see of the environment of whoever starts them.

use std::collections::BTreeMap;

use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::{Bindings, PlaceholderError, render};

/// Variables of the caller's environment that processes see; everything else comes from the test file.
const INHERITED: [&str; 10] = [
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME", "SHELL", "TZ",
];

/// The allow-listed part of the environment.
pub fn inherited(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    passed_on(environment, &INHERITED)
}

/// Those of these variables that the environment has.
pub fn passed_on<'a, N: AsRef<str> + 'a>(
    environment: &BTreeMap<String, String>,
    names: impl IntoIterator<Item = &'a N>,
) -> BTreeMap<String, String> {
    let names = names.into_iter();
    let found = names.filter_map(|name| environment.get_key_value(name.as_ref()));
    found
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What the file says of a service's environment, filled in.
///
/// # Errors
/// Names the placeholder that has no value.
pub fn stated(
    definition: &ServiceDefinition,
    environment: &BTreeMap<String, String>,
    bindings: &Bindings,
) -> Result<BTreeMap<String, String>, PlaceholderError> {
    let mut variables = passed_on(environment, &definition.env_of_caller);
    for (name, value) in &definition.env {
        variables.insert(name.clone(), render(value, bindings)?);
    }
    Ok(variables)
}

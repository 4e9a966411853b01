//! Which services a command means. Pure.

use glob::{Pattern, PatternError};
use thiserror::Error;

use crate::exit::{Exit, Fatal};
use crate::store::ServiceRow;

/// A selection that cannot be made.
#[derive(Debug, Error)]
pub enum SelectionError {
    #[error("no service is named `{pattern}`")]
    NoMatch { pattern: String, known: Vec<String> },
    #[error("`{pattern}` is not a name or pattern")]
    BadPattern {
        pattern: String,
        source: PatternError,
    },
}

impl Fatal for SelectionError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoMatch { known, .. } if known.is_empty() => Some(
                "this project has no services yet; `clnrm run` starts those of a test file"
                    .to_owned(),
            ),
            Self::NoMatch { known, .. } => Some(format!("the services are: {}", known.join(", "))),
            Self::BadPattern { .. } => {
                Some("write a name, or a pattern such as 'api-*'".to_owned())
            }
        }
    }
}

/// The services that at least one pattern names; all of them where there is no pattern. Every pattern must match.
pub fn select(
    services: Vec<ServiceRow>,
    patterns: &[String],
) -> Result<Vec<ServiceRow>, SelectionError> {
    if patterns.is_empty() {
        return Ok(services);
    }
    let mut wanted = vec![false; services.len()];
    for text in patterns {
        let pattern = Pattern::new(text).map_err(|source| SelectionError::BadPattern {
            pattern: text.clone(),
            source,
        })?;
        let mut matched = false;
        for (service, wanted) in services.iter().zip(&mut wanted) {
            if pattern.matches(&service.name) {
                matched = true;
                *wanted = true;
            }
        }
        if !matched {
            let mut known: Vec<String> = services
                .iter()
                .map(|service| service.name.clone())
                .collect();
            known.dedup();
            return Err(SelectionError::NoMatch {
                pattern: text.clone(),
                known,
            });
        }
    }
    Ok(services
        .into_iter()
        .zip(wanted)
        .filter_map(|(service, wanted)| wanted.then_some(service))
        .collect())
}

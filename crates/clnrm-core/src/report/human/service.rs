//! How a service is named, and its score written.

use crate::report::manage::document::ServiceReport;
use crate::report::manage::metric::words;
use crate::report::text::safe_line;
use crate::services::service_manager::Health;

/// The service's name, with its file where two services share the name.
pub(super) fn title(service: &ServiceReport) -> String {
    let name = safe_line(&service.name);
    match &service.file {
        Some(file) => format!("{name} ({})", safe_line(file)),
        None => name,
    }
}

/// A score with what it was made of.
pub(super) fn score(health: &Health) -> String {
    let Some(score) = health.score else {
        return "n/a  (nothing was measured)".to_owned();
    };
    if health.used.is_empty() {
        return format!("{score:.1}/100");
    }
    let parts: Vec<&str> = health
        .used
        .iter()
        .map(|metric| words(*metric).part)
        .collect();
    format!("{score:.1}/100  (from {})", parts.join(", "))
}

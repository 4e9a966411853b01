//! The labels on everything that clnrm makes in an engine: nothing without them is ever touched.

use std::collections::HashMap;

use crate::clock::Timestamp;

/// The project: a hash of the folder that its state lies in.
pub const PROJECT: &str = "clnrm.project";
/// The project's state folder, for people and for whoever finds the container without it.
pub const STATE_DIR: &str = "clnrm.state-dir";
/// Where that is: user, machine, and the folders above it by file system and number.
pub const HOME: &str = "clnrm.home";
/// The service's name.
pub const SERVICE: &str = "clnrm.service";
/// The instance's id.
pub const INSTANCE: &str = "clnrm.instance";
/// Of the definition.
pub const DIGEST: &str = "clnrm.digest";
/// The run that started it.
pub const RUN: &str = "clnrm.run";
/// The command that started it: pid, start time in clock ticks after boot, boot id.
pub const OWNER: &str = "clnrm.owner";
/// RFC 3339: from then on any clnrm may remove it, if its project is gone.
pub const EXPIRES: &str = "clnrm.expires";

/// Bytes of its log that are kept when it ends.
pub const LOG_LIMIT: &str = "clnrm.log-limit";

/// Whether a container was to be gone by now.
pub(super) fn has_expired(labels: &HashMap<String, String>, now: Timestamp) -> bool {
    let expires = labels.get(EXPIRES).and_then(|text| text.parse().ok());
    expires.is_some_and(|at: Timestamp| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_past_time_has_expired() {
        let labels = |expires: &str| HashMap::from([(EXPIRES.to_owned(), expires.to_owned())]);
        let now = Timestamp::from_millis(1_000_000);
        let (past, future) = (Timestamp::from_millis(0), Timestamp::from_millis(2_000_000));
        assert!(has_expired(&labels(&past.to_string()), now));
        assert!(!has_expired(&labels(&future.to_string()), now));
        assert!(!has_expired(&labels("some day"), now));
        assert!(!has_expired(&HashMap::new(), now));
    }
}

//! The labels on everything that clnrm makes in an engine: nothing without them is ever touched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::request::ContainerRequest;
use crate::clock::Timestamp;

/// The project: a hash of its state folder's path.
pub const PROJECT: &str = "clnrm.project";
/// The project's state folder, for people and for whoever finds the container without it.
pub const STATE_DIR: &str = "clnrm.state-dir";
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

/// Marks what belongs to one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectMark {
    state_dir: PathBuf,
    hash: String,
}

impl ProjectMark {
    /// The mark of the project whose state is in this folder.
    pub fn of(state_dir: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let digest = Sha256::digest(state_dir.as_os_str().as_bytes());
        Self {
            state_dir: state_dir.to_owned(),
            hash: digest
                .iter()
                .take(6)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }

    /// The value of the label [`PROJECT`].
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The name of an instance's container.
    pub fn container_name(&self, instance: &str) -> String {
        format!("clnrm-{}-{instance}", self.hash)
    }

    /// The name of the project's network.
    pub fn network_name(&self) -> String {
        format!("clnrm-{}", self.hash)
    }

    /// Finds what belongs to the project.
    pub(super) fn filter(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{PROJECT}={}", self.hash)])])
    }

    pub(super) fn labels(&self) -> HashMap<String, String> {
        HashMap::from([
            (PROJECT.to_owned(), self.hash.clone()),
            (STATE_DIR.to_owned(), self.state_dir.display().to_string()),
        ])
    }
}

/// Whether a container has expired and its project is no more.
pub(super) fn is_abandoned(labels: &HashMap<String, String>, now: Timestamp) -> bool {
    let expires = labels.get(EXPIRES).and_then(|text| text.parse().ok());
    let is_expired = expires.is_some_and(|at: Timestamp| at <= now);
    is_expired && (labels.get(STATE_DIR)).is_some_and(|dir| !Path::new(dir).exists())
}

pub(super) fn of_container(
    request: &ContainerRequest,
    project: &ProjectMark,
) -> HashMap<String, String> {
    let mut labels = project.labels();
    let owner = &request.owner;
    labels.extend([
        (SERVICE.to_owned(), request.service.clone()),
        (INSTANCE.to_owned(), request.place.id.clone()),
        (DIGEST.to_owned(), request.digest.clone()),
        (
            OWNER.to_owned(),
            format!("{} {} {}", owner.pid, owner.start_ticks, owner.boot_id),
        ),
        (EXPIRES.to_owned(), request.expires_at.to_string()),
        (LOG_LIMIT.to_owned(), request.log_limit_bytes.to_string()),
    ]);
    labels.extend(request.run.clone().map(|run| (RUN.to_owned(), run)));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_expired_container_of_a_deleted_project_is_abandoned() {
        let here = tempfile::tempdir().unwrap();
        let labels = |dir: &Path, expires: &str| {
            HashMap::from([
                (STATE_DIR.to_owned(), dir.display().to_string()),
                (EXPIRES.to_owned(), expires.to_owned()),
            ])
        };
        let now = Timestamp::from_millis(1_000_000);
        let (past, future) = (Timestamp::from_millis(0), Timestamp::from_millis(2_000_000));
        let gone = here.path().join("gone");
        assert!(is_abandoned(&labels(&gone, &past.to_string()), now));
        assert!(!is_abandoned(&labels(&gone, &future.to_string()), now));
        assert!(!is_abandoned(&labels(here.path(), &past.to_string()), now));
        assert!(!is_abandoned(&labels(&gone, "some day"), now));
    }
}

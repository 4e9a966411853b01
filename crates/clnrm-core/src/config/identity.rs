//! What identifies a test and a definition, wherever the project's files lie.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// 16 hexadecimal digits that change with what they are of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

impl Digest {
    pub fn of(text: &[u8]) -> Self {
        let bytes = Sha256::digest(text);
        Self(
            bytes
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A test in any checkout of its project: `tests/api.clnrm.toml::api`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TestId(pub String);

impl TestId {
    /// Of the test of this name, whose file is named from the project's root on.
    pub fn of(file: &Path, name: &str) -> Self {
        Self(format!("{}::{name}", file.display()))
    }
}

impl fmt::Display for TestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::definition::{ServiceDefinition, TestDefinition};
    use crate::config::{AutoScaleConfig, load_test_with};

    const FILE: &str = r#"
        [test]
        name = "a test"
        [services.api]
        image = "nginx"
        volumes = ["./data:/data", "/etc/hosts:/hosts"]
        [services.worker]
        command = "./worker"
        working_dir = "data"
        [[steps]]
        name = "x"
        command = "true"
    "#;

    /// A checkout with the same file in two folders.
    fn checkout(text: &str) -> (tempfile::TempDir, [TestDefinition; 2]) {
        let root = tempfile::tempdir().unwrap();
        let tests = ["tests", "more"].map(|folder| {
            let folder = root.path().join(folder);
            fs::create_dir_all(folder.join("data")).unwrap();
            let file = folder.join("a.clnrm.toml");
            fs::write(&file, text).unwrap();
            load_test_with(&file, root.path(), &AutoScaleConfig::default(), &[]).unwrap()
        });
        (root, tests)
    }

    fn digests(test: &TestDefinition) -> Vec<Digest> {
        test.services
            .iter()
            .map(ServiceDefinition::digest)
            .collect()
    }

    #[test]
    fn another_checkout_has_the_same_ids() {
        let (_here, here) = checkout(FILE);
        let (_there, there) = checkout(FILE);
        assert_ne!(here[0].services[0].base_dir, there[0].services[0].base_dir);
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here.id, there.id);
            assert_eq!(here.digest, there.digest);
            assert_eq!(digests(here), digests(there));
        }
        assert_eq!(here[0].id.0, "tests/a.clnrm.toml::a test");
    }

    #[test]
    fn another_folder_or_another_path_is_another_service() {
        let (_dir, [test, of_other_folder]) = checkout(FILE);
        let changed = FILE
            .replace("./data:", "../tests:")
            .replace("\"data\"", "\".\"");
        let (_dir, [of_other_paths, _]) = checkout(&changed);
        for other in [of_other_folder, of_other_paths] {
            for (one, other) in digests(&test).iter().zip(&digests(&other)) {
                assert_ne!(one, other);
            }
        }
    }
}

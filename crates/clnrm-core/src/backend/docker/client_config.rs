//! The configuration of the Docker command, as far as it says which engine is meant and who one is to registries.
//!
//! Deliberately absent: writing it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The name that stands for no context at all.
const DEFAULT_CONTEXT: &str = "default";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClientConfig {
    folder: Option<PathBuf>,
}

/// How a context says its engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    /// It wants or has certificates.
    pub(super) is_secured: bool,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

#[derive(Deserialize)]
struct ContextFile {
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, EndpointEntry>,
}

#[derive(Deserialize)]
struct EndpointEntry {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

impl ClientConfig {
    /// That of `DOCKER_CONFIG`, else of the home folder.
    pub(super) fn of_environment(environment: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| {
            let path = environment.get(name).filter(|path| !path.is_empty());
            path.map(PathBuf::from)
        };
        Self {
            folder: set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker"))),
        }
    }

    /// The file with the name of the current context and the logins.
    pub(super) fn file(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("config.json"))
    }

    /// The current context; `None` = none is chosen. A file that cannot be read chooses none, as for `docker` itself.
    pub(super) fn current_context(&self) -> Option<String> {
        let text = fs::read(self.file()?).ok()?;
        let config: ConfigFile = serde_json::from_slice(&text).ok()?;
        Some(config.current_context).filter(|name| is_a_context(name))
    }

    /// How the engine of a context is reached; `Err` = why nobody knows.
    pub(super) fn endpoint(&self, context: &str) -> Result<Endpoint, String> {
        let Some(folder) = &self.folder else {
            return Err("neither DOCKER_CONFIG nor HOME is set".to_owned());
        };
        let of_contexts = folder.join("contexts");
        let id = hex(&Sha256::digest(context));
        let path = of_contexts.join("meta").join(&id).join("meta.json");
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {}", path.display()),
            _ => format!("{} cannot be read: {error}", path.display()),
        })?;
        let file: ContextFile = serde_json::from_slice(&text)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let endpoint = file.endpoints.get("docker");
        match endpoint.filter(|endpoint| !endpoint.host.is_empty()) {
            Some(endpoint) => Ok(Endpoint {
                host: endpoint.host.clone(),
                is_secured: endpoint.skip_tls_verify || has_certificates(&of_contexts, &id),
            }),
            None => Err(format!("{} names no host of an engine", path.display())),
        }
    }
}

/// Whether this names a context that is kept in a file.
pub(super) fn is_a_context(name: &str) -> bool {
    !name.is_empty() && name != DEFAULT_CONTEXT
}

fn has_certificates(of_contexts: &Path, id: &str) -> bool {
    of_contexts.join("tls").join(id).join("docker").exists()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a context as `docker context create` does; returns its folders for metadata and certificates.
    pub(in crate::backend::docker) fn write_context(
        folder: &Path,
        name: &str,
        meta: &str,
    ) -> [PathBuf; 2] {
        let id = hex(&Sha256::digest(name));
        let of_contexts = folder.join("contexts");
        let folders = ["meta", "tls"].map(|kind| of_contexts.join(kind).join(&id));
        fs::create_dir_all(&folders[0]).unwrap();
        fs::write(folders[0].join("meta.json"), meta).unwrap();
        folders
    }

    fn config(folder: &Path) -> ClientConfig {
        ClientConfig {
            folder: Some(folder.to_owned()),
        }
    }

    #[test]
    fn the_folder_is_that_of_the_variable_and_else_below_home() {
        let file = |variables: &[(&str, &str)]| {
            let variables = variables.iter();
            let variables =
                variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            ClientConfig::of_environment(&variables.collect()).file()
        };
        let home = ("HOME", "/home/me");
        assert_eq!(file(&[]), None);
        let below_home = Some(PathBuf::from("/home/me/.docker/config.json"));
        assert_eq!(file(&[home]), below_home);
        assert_eq!(file(&[home, ("DOCKER_CONFIG", "")]), below_home);
        assert_eq!(
            file(&[home, ("DOCKER_CONFIG", "/etc/d")]),
            Some(PathBuf::from("/etc/d/config.json"))
        );
    }

    #[test]
    fn only_a_readable_file_chooses_a_context() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        assert_eq!(config.current_context(), None, "there is no file");
        for (text, name) in [
            (
                r#"{"auths": {}, "currentContext": "colima"}"#,
                Some("colima"),
            ),
            (r#"{"currentContext": "default"}"#, None),
            (r#"{"currentContext": ""}"#, None),
            (r#"{"auths": {}}"#, None),
            ("{", None),
        ] {
            fs::write(folder.path().join("config.json"), text).unwrap();
            assert_eq!(config.current_context().as_deref(), name, "{text}");
        }
    }

    #[test]
    fn a_context_lies_under_the_digest_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let meta = r#"{"Name": "far", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://far:2375", "SkipTLSVerify": false}}}"#;
        let [of_meta, certificates] = write_context(folder.path(), "far", meta);
        // As `printf far | sha256sum` says.
        let digest = "512eea46ceb3921dff4363c7069d89d4964d1d9fccaa0f411851a7aa60a5c868";
        assert!(of_meta.ends_with(digest), "{of_meta:?}");
        let mut expected = Endpoint {
            host: "tcp://far:2375".to_owned(),
            is_secured: false,
        };
        assert_eq!(config.endpoint("far"), Ok(expected.clone()));
        fs::create_dir_all(certificates.join("docker")).unwrap();
        expected.is_secured = true;
        assert_eq!(config.endpoint("far"), Ok(expected));
    }

    #[test]
    fn what_is_wrong_with_a_context_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let says = |name: &str, words: &str| {
            let error = config.endpoint(name).unwrap_err();
            assert!(
                error.contains(words) && error.contains("meta.json"),
                "{error}"
            );
        };
        says("none", "there is no ");
        for meta in [r#"{"Endpoints": {"kubernetes": {}}}"#, "{}"] {
            write_context(folder.path(), "other", meta);
            says("other", "names no host of an engine");
        }
        write_context(folder.path(), "broken", "{");
        says("broken", "cannot be read");
    }
}

//! Which engine the environment means: `DOCKER_HOST`, else the Docker context, else the first usable of the usual sockets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::client_config::{ClientConfig, is_a_context};
use super::error::{EngineError, NamedBy};

/// Where an engine may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Candidates {
    Sockets(Vec<PathBuf>),
    /// There, without TLS.
    Http(String),
}

/// What the environment says, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    host: Option<String>,
    wants_tls: bool,
    context: Option<String>,
    config: ClientConfig,
    runtime_dir: Option<PathBuf>,
}

impl Surroundings {
    pub(super) fn of_environment(environment: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        Self {
            host: set("DOCKER_HOST").cloned(),
            wants_tls: set("DOCKER_TLS_VERIFY").is_some(),
            context: set("DOCKER_CONTEXT").cloned(),
            config: ClientConfig::of_environment(environment),
            runtime_dir: set("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }

    /// Where the engine may be, and who says so.
    pub(super) fn candidates(&self) -> Result<(Candidates, NamedBy), EngineError> {
        if let Some(host) = &self.host {
            return at(host, self.wants_tls, NamedBy::DockerHost);
        }
        let Some((name, chosen_in)) = self.chosen_context() else {
            let config = self.config.file();
            return Ok((
                Candidates::Sockets(self.usual_sockets()),
                NamedBy::Nobody { config },
            ));
        };
        match self.config.endpoint(&name) {
            Ok(endpoint) => at(
                &endpoint.host,
                endpoint.is_secured,
                NamedBy::Context { name, chosen_in },
            ),
            Err(message) => Err(EngineError::ContextUnknown {
                named_by: NamedBy::Context { name, chosen_in },
                message,
            }),
        }
    }

    /// The name of the context, and the file that chooses it.
    fn chosen_context(&self) -> Option<(String, Option<PathBuf>)> {
        match &self.context {
            Some(name) => is_a_context(name).then(|| (name.clone(), None)),
            None => Some((self.config.current_context()?, self.config.file())),
        }
    }

    fn usual_sockets(&self) -> Vec<PathBuf> {
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        if let Some(runtime_dir) = &self.runtime_dir {
            sockets.push(runtime_dir.join("docker.sock"));
            sockets.push(runtime_dir.join("podman/podman.sock"));
        }
        sockets.push(PathBuf::from("/run/podman/podman.sock"));
        sockets
    }
}

fn at(
    host: &str,
    is_secured: bool,
    named_by: NamedBy,
) -> Result<(Candidates, NamedBy), EngineError> {
    let is_plain = host.starts_with("tcp://") || host.starts_with("http://");
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => {
            Ok((Candidates::Sockets(vec![PathBuf::from(path)]), named_by))
        }
        None if is_plain && !is_secured => Ok((Candidates::Http(host.to_owned()), named_by)),
        _ => Err(EngineError::AddressNotSupported {
            address: host.to_owned(),
            is_secured,
            named_by,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::docker::client_config::tests::write_context;

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Surroundings::of_environment(&variables.collect())
    }

    fn sockets(found: (Candidates, NamedBy)) -> Vec<String> {
        let Candidates::Sockets(paths) = found.0 else {
            unreachable!("{found:?}")
        };
        let paths = paths.iter();
        paths.map(|path| path.display().to_string()).collect()
    }

    /// A configuration that chooses the context `mine`, and knows `other`, too.
    fn two_contexts() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"currentContext": "mine"}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        for name in ["mine", "other"] {
            let host = format!("unix:///run/{name}.sock");
            let meta = format!(r#"{{"Endpoints": {{"docker": {{"Host": "{host}"}}}}}}"#);
            write_context(folder.path(), name, &meta);
        }
        folder
    }

    #[test]
    fn the_usual_sockets_come_in_their_order() {
        let found = surroundings(&[("XDG_RUNTIME_DIR", "/run/user/1000")]).candidates();
        assert_eq!(
            sockets(found.unwrap()),
            [
                "/var/run/docker.sock",
                "/run/user/1000/docker.sock",
                "/run/user/1000/podman/podman.sock",
                "/run/podman/podman.sock"
            ]
        );
    }

    #[test]
    fn the_host_comes_before_the_variables_context_and_that_before_the_current_one() {
        let folder = two_contexts();
        let config = ("DOCKER_CONFIG", folder.path().to_str().unwrap());
        let host = ("DOCKER_HOST", "unix:///run/host.sock");
        let context = ("DOCKER_CONTEXT", "other");
        let found = |variables: &[(&str, &str)]| {
            let found = surroundings(variables).candidates().unwrap();
            let named_by = found.1.to_string();
            (sockets(found).remove(0), named_by)
        };
        let (socket, named_by) = found(&[config, context, host]);
        assert_eq!((&*socket, &*named_by), ("/run/host.sock", "DOCKER_HOST"));
        let (socket, named_by) = found(&[config, context]);
        assert_eq!(socket, "/run/other.sock");
        assert_eq!(named_by, "the Docker context `other` of DOCKER_CONTEXT");
        let (socket, named_by) = found(&[config]);
        assert_eq!(socket, "/run/mine.sock");
        assert!(
            named_by.starts_with("the Docker context `mine` of /"),
            "{named_by}"
        );
        let (socket, _) = found(&[config, ("DOCKER_CONTEXT", "default")]);
        assert_eq!(socket, "/var/run/docker.sock");
        let (socket, _) = found(&[config, ("DOCKER_CONTEXT", ""), ("DOCKER_HOST", "")]);
        assert_eq!(socket, "/run/mine.sock");
    }

    #[test]
    fn a_context_that_is_not_there_is_no_reason_to_use_another_engine() {
        let folder = two_contexts();
        let config = ("DOCKER_CONFIG", folder.path().to_str().unwrap());
        let error = surroundings(&[config, ("DOCKER_CONTEXT", "gone")]).candidates();
        let words = error.unwrap_err().to_string();
        let begin = "the Docker context `gone` of DOCKER_CONTEXT cannot be used: there is no /";
        assert!(words.starts_with(begin), "{words}");
    }

    #[test]
    fn what_cannot_be_talked_to_is_refused_with_who_named_it() {
        let folder = two_contexts();
        let config = folder.path().to_str().unwrap();
        let refused = |variables: &[(&str, &str)]| {
            let error = surroundings(variables).candidates().unwrap_err();
            (error.to_string(), error.hint().unwrap())
        };
        let (words, _) = refused(&[("DOCKER_HOST", "ssh://me@host")]);
        assert_eq!(words, "clnrm cannot speak to ssh://me@host (DOCKER_HOST)");
        let (words, hint) = refused(&[
            ("DOCKER_HOST", "tcp://host:2376"),
            ("DOCKER_TLS_VERIFY", "1"),
        ]);
        assert_eq!(
            words,
            "clnrm cannot speak to tcp://host:2376 with TLS (DOCKER_HOST)"
        );
        assert!(hint.contains("ssh -N -L"), "{hint}");
        let meta = r#"{"Endpoints": {"docker": {"Host": "ssh://far"}}}"#;
        write_context(folder.path(), "mine", meta);
        let (words, hint) = refused(&[("DOCKER_CONFIG", config)]);
        assert_eq!(
            words,
            format!(
                "clnrm cannot speak to ssh://far (the Docker context `mine` of {config}/config.json)"
            )
        );
        assert!(hint.contains("docker context use"), "{hint}");
        let meta = r#"{"Endpoints": {"docker": {"Host": "tcp://far:2376"}}}"#;
        let [_, certificates] = write_context(folder.path(), "mine", meta);
        std::fs::create_dir_all(certificates.join("docker")).unwrap();
        let (words, _) = refused(&[("DOCKER_CONFIG", config)]);
        assert!(
            words.starts_with("clnrm cannot speak to tcp://far:2376 with TLS"),
            "{words}"
        );
    }
}

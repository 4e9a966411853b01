//! Registries: who one is to them, and what their refusals mean.
//!
//! Logins are those of the Docker configuration (`docker login`), else of Podman's; the engine itself keeps none.
//! Deliberately absent: speaking to a registry. The engine does that.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};

use super::client_config::ClientConfig;

/// What `docker login` calls the registry of images without a host in their name.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Why a registry did not give an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullFault {
    /// It has no such image.
    NotFound,
    /// It wants a login, or does not tell a private image from a missing one.
    LoginNeeded,
    /// It was asked too often.
    RateLimited,
    /// It failed itself.
    RegistryBroken,
    /// It cannot be reached from the engine.
    NoRoute,
    /// The file says that the image is never pulled.
    NotAllowed,
    /// The image does not exist for the platform.
    Platform,
    /// Anything else.
    Other,
}

impl PullFault {
    /// What the engine's words mean.
    pub(super) fn of(message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        if says(&["toomanyrequests", "rate limit", "429 too many"]) {
            Self::RateLimited
        } else if says(&[
            "no matching manifest",
            "does not match the specified platform",
        ]) {
            Self::Platform
        } else if says(&[
            "unauthorized",
            "authentication required",
            "no basic auth",
            "access denied",
            "access to the resource is denied",
            "403 forbidden",
        ]) {
            Self::LoginNeeded
        } else if says(&["manifest unknown", "not found", "name unknown"]) {
            Self::NotFound
        } else if says(&[
            "http status: 5",
            "http 5",
            "status code 5",
            "internal server error",
        ]) {
            Self::RegistryBroken
        } else if says(&[
            "no such host",
            "dial tcp",
            "no route to host",
            "connection refused",
            "i/o timeout",
            "request canceled",
            "deadline exceeded",
            "network is unreachable",
        ]) {
            Self::NoRoute
        } else {
            Self::Other
        }
    }

    pub(super) fn hint(self, image: &str) -> String {
        let registry = Registry::of(image);
        match self {
            Self::NotFound => {
                format!("check the name and the tag, or build it: docker build -t {image} .")
            }
            Self::LoginNeeded => format!(
                "check the name; if it is right, log in with `{}`: clnrm uses the logins of the Docker configuration",
                registry.login_command()
            ),
            Self::RateLimited => format!(
                "wait, or log in with `{}` for a higher limit",
                registry.login_command()
            ),
            Self::RegistryBroken => {
                "the registry itself failed: try again, or bring the image by `docker load`"
                    .to_owned()
            }
            Self::NoRoute => format!(
                "the engine cannot reach {}: see its network and proxy settings, or bring the image by `docker load`",
                registry.host
            ),
            Self::NotAllowed => format!(
                "remove `pull = \"never\"`, or bring it there with `docker pull {image}` or `docker build -t {image} .`"
            ),
            Self::Platform => "remove `platform`, or name one that the image has".to_owned(),
            Self::Other => format!(
                "check the name, or bring it there with `docker pull {image}` or `docker build -t {image} .`"
            ),
        }
    }
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Registry {
    /// For people.
    host: String,
    /// As the Docker configuration names it.
    key: String,
}

impl Registry {
    /// A first part with a dot or a port, or `localhost`, is a host (the rule of Docker's reference parser).
    fn of(image: &str) -> Self {
        let first = image.split_once('/').map(|(first, _)| first);
        match first.filter(|first| first.contains(['.', ':']) || *first == "localhost") {
            Some(host) if host != "docker.io" => Self {
                host: host.to_owned(),
                key: host.to_owned(),
            },
            _ => Self {
                host: "Docker Hub".to_owned(),
                key: DOCKER_HUB.to_owned(),
            },
        }
    }

    fn login_command(&self) -> String {
        match self.key.as_str() {
            DOCKER_HUB => "docker login".to_owned(),
            host => format!("docker login {host}"),
        }
    }
}

/// Where logins may be kept, the first that answers wins.
#[derive(Debug, Clone, Default)]
pub(super) struct Logins {
    files: Vec<PathBuf>,
}

impl Logins {
    /// The configuration files that this environment means.
    pub(super) fn of_environment(environment: &BTreeMap<String, String>) -> Self {
        let folder = |name: &str| environment.get(name).filter(|path| !path.is_empty());
        let podman = folder("REGISTRY_AUTH_FILE").map_or_else(
            || folder("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("containers/auth.json")),
            |path| Some(PathBuf::from(path)),
        );
        Self {
            files: ClientConfig::of_environment(environment)
                .file()
                .into_iter()
                .chain(podman)
                .collect(),
        }
    }

    /// The login for an image's registry; `Err` = one is stated but its helper failed. Blocks while a helper runs.
    pub(super) fn for_image(&self, image: &str) -> Result<Option<DockerCredentials>, String> {
        let registry = Registry::of(image);
        for path in &self.files {
            let Ok(file) = File::open(path) else { continue };
            match get_credential_from_reader(file, &registry.key) {
                Ok(login) => return Ok(Some(credentials(login, &registry))),
                // A helper's word for "no login", with a failing exit code.
                Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                    if stdout.contains("credentials not found") => {}
                Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                    return Err(format!(
                        "the credential helper `{helper}` of {} failed",
                        path.display()
                    ));
                }
                Err(CredentialRetrievalError::HelperCommunicationError) => {
                    return Err(format!(
                        "a credential helper of {} cannot be run",
                        path.display()
                    ));
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

fn credentials(login: DockerCredential, registry: &Registry) -> DockerCredentials {
    let serveraddress = Some(registry.key.clone());
    match login {
        DockerCredential::IdentityToken(token) => DockerCredentials {
            identitytoken: Some(token),
            serveraddress,
            ..DockerCredentials::default()
        },
        DockerCredential::UsernamePassword(username, password) => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress,
            ..DockerCredentials::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_engines_are_told_apart() {
        for (words, fault) in [
            (
                "toomanyrequests: You have reached your pull rate limit.",
                PullFault::RateLimited,
            ),
            (
                "manifest for redis:none not found: manifest unknown: manifest unknown",
                PullFault::NotFound,
            ),
            (
                "pull access denied for nobody/none, repository does not exist or may require 'docker login'",
                PullFault::LoginNeeded,
            ),
            (
                "Head \"http://h:5000/v2/x/manifests/1\": no basic auth credentials",
                PullFault::LoginNeeded,
            ),
            (
                "unauthorized: authentication required",
                PullFault::LoginNeeded,
            ),
            (
                "received unexpected HTTP status: 500 Internal Server Error",
                PullFault::RegistryBroken,
            ),
            (
                "error parsing HTTP 502 response body: invalid character",
                PullFault::RegistryBroken,
            ),
            (
                "Get \"https://h/v2/\": dial tcp: lookup h on 10.0.0.1:53: no such host",
                PullFault::NoRoute,
            ),
            (
                "no matching manifest for linux/s390x in the manifest list entries",
                PullFault::Platform,
            ),
            ("filesystem layer verification failed", PullFault::Other),
        ] {
            assert_eq!(PullFault::of(words), fault, "{words}");
        }
    }

    #[test]
    fn a_host_is_told_from_a_folder_of_docker_hub() {
        let key = |image: &str| Registry::of(image).key;
        assert_eq!(key("redis:7"), DOCKER_HUB);
        assert_eq!(key("team/redis"), DOCKER_HUB);
        assert_eq!(key("docker.io/team/redis"), DOCKER_HUB);
        assert_eq!(key("localhost/redis"), "localhost");
        assert_eq!(key("host:5000/team/redis"), "host:5000");
        assert_eq!(key("quay.io/team/redis"), "quay.io");
        assert!(
            PullFault::RateLimited
                .hint("redis")
                .contains("`docker login`")
        );
        assert!(
            PullFault::LoginNeeded
                .hint("h:1/x")
                .contains("`docker login h:1`")
        );
    }

    #[test]
    fn logins_are_those_of_the_configuration() {
        let home = tempfile::tempdir().unwrap();
        let environment = BTreeMap::from([(
            "DOCKER_CONFIG".to_owned(),
            home.path().display().to_string(),
        )]);
        let logins = Logins::of_environment(&environment);
        assert_eq!(logins.for_image("quay.io/x"), Ok(None), "there is no file");
        // "user:secret"
        let auths = r#"{"auths": {"quay.io": {"auth": "dXNlcjpzZWNyZXQ="}}, "credHelpers": {"h:1": "clnrm-none"}}"#;
        std::fs::write(home.path().join("config.json"), auths).unwrap();
        let login = logins.for_image("quay.io/x").unwrap().unwrap();
        assert_eq!(login.username.as_deref(), Some("user"));
        assert_eq!(login.password.as_deref(), Some("secret"));
        assert_eq!(logins.for_image("redis:7"), Ok(None));
        let refused = logins.for_image("h:1/x").unwrap_err();
        assert!(refused.contains("config.json"), "{refused}");
        std::fs::write(home.path().join("config.json"), "{").unwrap();
        assert_eq!(logins.for_image("quay.io/x"), Ok(None));
    }
}

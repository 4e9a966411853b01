//! Images: looked at, and pulled only when they are not there.

use std::collections::HashMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::DockerBackend;
use super::container_error::ContainerError;
use super::error::EngineError;
use super::registry::PullFault;
use crate::backend::pull::{OnPull, PullProgress};
use crate::config::definition::{ContainerLaunch, PullPolicy};

/// A credential helper may unlock a key ring; one that waits for a person must not hold up a test for ever.
const HELPER_TIMEOUT: Duration = Duration::from_secs(20);

/// What is known of an image before a container is made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ImageFacts {
    /// What its name means now; another one after it was built again.
    pub(super) id: String,
    /// What every container of it runs, before its command.
    pub(super) entry_point: Vec<String>,
    pub(super) command: Vec<String>,
    /// Who its containers run as: `name`, `1000`, `name:group`; empty = root.
    pub(super) user: String,
}

impl ImageFacts {
    /// Whether a container runs a shell, with this entry point and command or with the image's own.
    pub(super) fn runs_a_shell(
        &self,
        entry_point: Option<&[String]>,
        command: Option<&[String]>,
    ) -> bool {
        let command = command.unwrap_or(&self.command);
        let mut words = entry_point
            .unwrap_or(&self.entry_point)
            .iter()
            .chain(command);
        let program = words.next();
        program.is_some_and(|program| is_shell(program))
    }

    /// Whether it runs a shell that has nothing to do but to wait for input, as images of distributions do.
    pub(super) fn waits_for_input(&self) -> bool {
        let mut words = self.entry_point.iter().chain(&self.command);
        words.next().is_some_and(|program| is_shell(program))
            && words.all(|word| word.starts_with('-') && word != "-c")
    }
}

impl DockerBackend {
    /// Looks at an image, and pulls it first where it is not there or the file always wants that; `cancel` ends the pull.
    pub(super) async fn image(
        &self,
        wanted: &ContainerLaunch,
        on_pull: &OnPull,
        cancel: &CancellationToken,
    ) -> Result<ImageFacts, ContainerError> {
        let image = &wanted.image;
        let is_always = wanted.settings.pull == PullPolicy::Always;
        if !is_always && let Some(facts) = self.look_at_image(image).await? {
            return Ok(facts);
        }
        if wanted.settings.pull == PullPolicy::Never {
            let message = "the file says `pull = \"never\"`".to_owned();
            return Err(absent(image, message, PullFault::NotAllowed));
        }
        let by_podman = !self.engine.has_links().await?;
        let pulling = cancel.run_until_cancelled(self.pulled_image(wanted, on_pull));
        pulling.await.unwrap_or_else(|| {
            Err(ContainerError::PullEnded {
                image: image.clone(),
                by_podman,
            })
        })
    }

    async fn pulled_image(
        &self,
        wanted: &ContainerLaunch,
        on_pull: &OnPull,
    ) -> Result<ImageFacts, ContainerError> {
        let image = &wanted.image;
        let is_always = wanted.settings.pull == PullPolicy::Always;
        // Tests that start together must not pull the same image together.
        let mut pulled = self.pulling.lock().await;
        let is_done = !is_always || pulled.contains(image);
        if is_done && let Some(facts) = self.look_at_image(image).await? {
            return Ok(facts);
        }
        self.pull(wanted, on_pull)
            .await
            .map_err(|error| match error {
                EngineError::Refused { message, .. } => {
                    let fault = PullFault::of(&message);
                    absent(image, message, fault)
                }
                other => other.into(),
            })?;
        pulled.insert(image.clone());
        let facts = self.look_at_image(image).await?;
        let missing = "it is not there after it was pulled".to_owned();
        facts.ok_or_else(|| absent(image, missing, PullFault::Other))
    }

    /// `None` = there is no such image here.
    pub(super) async fn look_at_image(
        &self,
        image: &str,
    ) -> Result<Option<ImageFacts>, EngineError> {
        let found = self
            .engine
            .ask("look at an image", async |client| {
                client.inspect_image(image).await
            })
            .await;
        match found {
            Ok(image) => Ok(Some(facts(&image))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pull(&self, wanted: &ContainerLaunch, on_pull: &OnPull) -> Result<(), EngineError> {
        let image = &wanted.image;
        let connected = self.engine.connected().await?;
        let login = self.login_for(image).await;
        let options = CreateImageOptions {
            from_image: Some(with_tag(image)),
            platform: wanted.settings.platform.clone().unwrap_or_default(),
            ..CreateImageOptions::default()
        };
        let mut layers = HashMap::new();
        on_pull.tell(PullProgress {
            image: image.clone(),
            downloaded_bytes: 0,
        });
        let (login, no_login) = match login {
            Ok(login) => (login, None),
            Err(why) => (None, Some(why)),
        };
        let mut progress = connected.client.create_image(Some(options), None, login);
        while let Some(step) = progress.next().await {
            let step = step.map_err(|error| {
                let refused = EngineError::from_client(error, "pull an image", &connected.address);
                refused.because(no_login.as_deref())
            })?;
            if let Some((layer, bytes)) = downloaded(&step) {
                layers.insert(layer, bytes);
            }
            on_pull.tell(PullProgress {
                image: image.clone(),
                downloaded_bytes: layers.values().sum(),
            });
        }
        Ok(())
    }
}

impl DockerBackend {
    /// The login for an image's registry, looked up where a credential helper may take its time.
    async fn login_for(&self, image: &str) -> Result<Option<DockerCredentials>, String> {
        let (logins, name) = (self.logins.clone(), image.to_owned());
        let looking = tokio::task::spawn_blocking(move || logins.for_image(&name));
        match timeout(HELPER_TIMEOUT, looking).await {
            Ok(Ok(login)) => login,
            // A panic of the library is as good as no answer.
            Ok(Err(_)) | Err(_) => Err(format!(
                "no credential helper answered within {} s",
                HELPER_TIMEOUT.as_secs()
            )),
        }
    }
}

fn absent(image: &str, message: String, fault: PullFault) -> ContainerError {
    ContainerError::ImageAbsent {
        image: image.to_owned(),
        message,
        fault,
    }
}

fn downloaded(step: &CreateImageInfo) -> Option<(String, u64)> {
    if step.status.as_deref() != Some("Downloading") {
        return None;
    }
    let bytes = step.progress_detail.as_ref()?.current?;
    Some((step.id.clone()?, u64::try_from(bytes).ok()?))
}

/// Without a tag, the engine would pull every tag that there is.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

fn facts(image: &ImageInspect) -> ImageFacts {
    let config = image.config.as_ref();
    ImageFacts {
        id: image.id.clone().unwrap_or_default(),
        entry_point: config
            .and_then(|config| config.entrypoint.clone())
            .unwrap_or_default(),
        command: config
            .and_then(|config| config.cmd.clone())
            .unwrap_or_default(),
        user: config
            .and_then(|config| config.user.clone())
            .unwrap_or_default(),
    }
}

fn is_shell(program: &str) -> bool {
    SHELLS.contains(&program.rsplit('/').next().unwrap_or(program))
}

const SHELLS: [&str; 5] = ["sh", "bash", "ash", "dash", "zsh"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_never_means_every_tag() {
        assert_eq!(with_tag("redis"), "redis:latest");
        assert_eq!(
            with_tag("host:5000/team/redis"),
            "host:5000/team/redis:latest"
        );
        for complete in ["redis:7", "redis@sha256:00", "host:5000/redis:7"] {
            assert_eq!(with_tag(complete), complete);
        }
    }

    #[test]
    fn a_shell_is_told_from_a_program() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let image = |entry_point: &[&str], command: &[&str]| ImageFacts {
            entry_point: texts(entry_point),
            command: texts(command),
            ..ImageFacts::default()
        };
        assert!(image(&[], &["/bin/sh"]).runs_a_shell(None, None));
        assert!(
            image(&[], &["redis-server"]).runs_a_shell(None, Some(&texts(&["bash", "-c", "x"])))
        );
        assert!(!image(&["docker-entrypoint.sh"], &["sh"]).runs_a_shell(None, None));
        assert!(!image(&[], &["/bin/sh"]).runs_a_shell(None, Some(&texts(&["redis-server"]))));
        assert!(!image(&[], &[]).runs_a_shell(None, None));
        let stated: Vec<String> = texts(&["sh"]);
        assert!(image(&["httpd"], &[]).runs_a_shell(Some(&stated), None));
        assert!(image(&["httpd"], &[]).runs_a_shell(Some(&[]), Some(&stated)));
        assert!(image(&[], &["/bin/bash"]).waits_for_input());
        assert!(image(&["/bin/sh"], &["-l"]).waits_for_input());
        assert!(!image(&[], &["sh", "-c", "cat"]).waits_for_input());
        assert!(!image(&["sh"], &["start.sh"]).waits_for_input());
        assert!(!image(&[], &["redis-server"]).waits_for_input());
    }
}

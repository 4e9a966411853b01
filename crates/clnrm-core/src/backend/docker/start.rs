//! Makes and starts a container, and helps an engine over what it does not know.

use std::time::Duration;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::CreateContainerOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::container::{NANO_CPUS, cpus, exit_of, has_health_check, main_pid};
use super::container_error::ContainerError;
use super::error::EngineError;
use super::image::ImageFacts;
use super::request::{Attachment, ContainerRequest, body};
use super::{DockerBackend, log};
use crate::backend::instance::{InstancePlace, RecordedContainer, Running, TreeState};
use crate::backend::pull::OnPull;
use crate::backend::root::{ContainerRoot, Root};
use crate::backend::wanted_lines::LineWatch;
use crate::config::placeholder::needs_data_dir;
use crate::folder::log_path;

/// Another command may remove the project's network just when we want to use it.
const NETWORK_ATTEMPTS: usize = 3;

impl DockerBackend {
    /// Starts a container and returns as soon as its program runs. It lives on when this process ends. `cancel` ends
    /// the pull of its image.
    pub(super) async fn start(
        &self,
        request: &ContainerRequest,
        on_pull: &OnPull,
        cancel: &CancellationToken,
    ) -> Result<Running, ContainerError> {
        // A pull may take minutes. What comes after it is finished once begun: the engine would not stop halfway either.
        let image = self.image(&request.launch, on_pull, cancel).await?;
        let name = self.project.container_name(&request.place.id);
        let published_at = self.published_at().await?;
        let mut warnings = Vec::new();
        let mut remedies = Remedies::default();
        let lines_seen = loop {
            let network_id = self.network().await?;
            let attachment = Attachment {
                host_gateway: self.host_gateway(&network_id).await?,
                network_id,
                bind: published_at.bind.clone(),
                has_links: self.engine.has_links().await?,
            };
            let mut body = body(request, &image, &attachment, &self.project);
            remedies.apply(&mut body);
            let error = match self.create_and_start(&name, body, request, &image).await {
                Ok(lines_seen) => break lines_seen,
                Err(error) => error,
            };
            if !self
                .can_be_remedied(&error, &attachment.network_id, &mut remedies)
                .await?
            {
                let command = request.command.as_deref();
                return Err(ContainerError::from_start(
                    error,
                    command,
                    &request.launch.image,
                ));
            }
            self.remove(&name).await?;
        };
        if let (Some(wanted), Some(cpus)) = (request.definition.cpus, remedies.cpus) {
            warnings.push(format!(
                "`cpus = {wanted}` is more than the {cpus} of the engine's machine: a container gets all of them"
            ));
        }
        let found = self.inspect(&name).await?.ok_or(ContainerError::Removed)?;
        let now = exit_of(&found, false).map_or(TreeState::Running, TreeState::Ended);
        let published = self.published(&found).await?;
        let elsewhere = published.at_its_own_address();
        let running = self.running(&found, &request.place, now).await;
        Ok(Running {
            reached: published.binding(&request.own),
            elsewhere: elsewhere.and_then(|elsewhere| elsewhere.binding(&request.own)),
            warnings,
            lines_seen,
            ..running
        })
    }

    /// Watches a container that was found so.
    pub(super) async fn running(
        &self,
        found: &ContainerInspectResponse,
        place: &InstancePlace,
        now: TreeState,
    ) -> Running {
        let (sender, state) = watch::channel(now);
        if now == TreeState::Running {
            tokio::spawn(self.watch(found, sender));
        }
        let (id, main_pid) = (found.id.clone().unwrap_or_default(), main_pid(found));
        let root = Root::Container(ContainerRoot {
            container_id: id.clone(),
            main_pid,
        });
        Running {
            container: Some(RecordedContainer {
                id,
                // It has just answered, so it will tell.
                engine: self.engine.mark().await.ok().cloned(),
            }),
            image_id: found.image.clone(),
            cpus: cpus(found),
            has_health_check: has_health_check(found),
            ..Running::of(root, main_pid, &place.dir, state)
        }
    }

    async fn create_and_start(
        &self,
        name: &str,
        body: ContainerCreateBody,
        request: &ContainerRequest,
        image: &ImageFacts,
    ) -> Result<watch::Receiver<Vec<u32>>, EngineError> {
        let options = CreateContainerOptions {
            name: Some(name.to_owned()),
            platform: request.launch.settings.platform.clone().unwrap_or_default(),
        };
        self.engine
            .have_done("create a container", Duration::ZERO, async |client| {
                client.create_container(Some(options), body).await
            })
            .await?;
        let user = request.launch.settings.user.as_ref().unwrap_or(&image.user);
        if needs_data_dir(&request.definition) && !user.is_empty() {
            self.give_data_folder(name, user).await?;
        }
        let patterns = request.definition.ready.log_patterns();
        let (lines, lines_seen) = LineWatch::new(&patterns);
        if !patterns.is_empty() {
            let connected = self.engine.connected().await?;
            let path = log_path(&request.place.dir);
            log::attach(
                connected,
                name,
                &path,
                request.definition.log_limit_bytes,
                lines,
            )
            .await?;
        }
        self.engine
            .have_done("start a container", Duration::ZERO, async |client| {
                client.start_container(name, None).await
            })
            .await?;
        Ok(lines_seen)
    }

    /// Whether another attempt may do what this one could not.
    async fn can_be_remedied(
        &self,
        error: &EngineError,
        network: &str,
        remedies: &mut Remedies,
    ) -> Result<bool, EngineError> {
        let EngineError::Refused { message, .. } = error else {
            return Ok(false);
        };
        let says = |text: &str| message.contains(text);
        if !remedies.without_init && (says("container-init") || says("docker-init")) {
            remedies.without_init = true;
        } else if remedies.cpus.is_none() && says("Range of CPUs") {
            let info = self
                .engine
                .ask("say what machine it is on", async |client| {
                    client.info().await
                });
            remedies.cpus = info.await?.ncpu;
            return Ok(remedies.cpus.is_some());
        } else if remedies.networks < NETWORK_ATTEMPTS
            && says("network")
            && (says(network) || says("not found"))
        {
            remedies.networks += 1;
            self.forget_network().await;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// What this engine needs otherwise.
#[derive(Debug, Default)]
struct Remedies {
    /// It has no program to be process 1: then a shell is, and is killed after its grace period.
    without_init: bool,
    /// Its machine has only so many cores, and it refuses a limit above.
    cpus: Option<i64>,
    /// How often the network went away between being found and being used.
    networks: usize,
}

impl Remedies {
    fn apply(&self, body: &mut ContainerCreateBody) {
        let Some(host_config) = &mut body.host_config else {
            return;
        };
        if self.without_init {
            host_config.init = None;
        }
        if let Some(cpus) = self.cpus {
            let most = cpus.saturating_mul(NANO_CPUS);
            host_config.nano_cpus = host_config.nano_cpus.map(|wanted| wanted.min(most));
        }
    }
}

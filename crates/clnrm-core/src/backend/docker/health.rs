//! A container's own health check: that of its image, or of its file.
//!
//! The engine first looks after a whole interval, half a minute unless the image says otherwise, and only newer ones can
//! be told to look sooner. Whoever waits does not wait for that: the same command is executed at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::{ContainerConfig, ContainerInspectResponse, HealthStatusEnum};
use tokio_util::sync::CancellationToken;

use super::DockerBackend;
use super::error::EngineError;
use crate::backend::command::{CommandOutcome, CommandRequest};
use crate::backend::instance::Health;

/// What Docker gives a check whose image does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

impl DockerBackend {
    /// What the engine has found, and where it has not found that the check passes or fails, what it gives now.
    pub(super) async fn health_now(
        &self,
        container: &ContainerInspectResponse,
        cancel: &CancellationToken,
    ) -> Result<Health, EngineError> {
        let told = told(container);
        let check = container.config.as_ref().and_then(check);
        let (Health::NotYet(_), Some(check), Some(id)) = (&told, check, &container.id) else {
            return Ok(told);
        };
        let result = self.exec(id, &check, cancel).await?;
        Ok(match result.outcome {
            CommandOutcome::Exited(status) if status.is_success() => Health::Healthy,
            CommandOutcome::Exited(_) => {
                Health::NotYet(one_line(&String::from_utf8_lossy(&result.output)))
            }
            CommandOutcome::TimedOut => {
                Health::NotYet(format!("it took longer than {:?}", check.timeout))
            }
            CommandOutcome::Cancelled => Health::NotYet("it was ended".to_owned()),
            CommandOutcome::NotStarted { message, .. } => Health::NotYet(one_line(&message)),
        })
    }
}

fn told(container: &ContainerInspectResponse) -> Health {
    let state = container.state.as_ref();
    let Some(health) = state.and_then(|state| state.health.as_ref()) else {
        return Health::NotChecked;
    };
    let last = || {
        let last = health.log.as_ref().and_then(|log| log.last());
        let output = last.and_then(|last| last.output.as_deref());
        one_line(output.unwrap_or_default())
    };
    match health.status {
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::STARTING) => Health::NotYet(last()),
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy(last()),
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::NotChecked,
    }
}

/// The command of the check, in the form in which images have it: `CMD program …` or `CMD-SHELL script`.
fn check(config: &ContainerConfig) -> Option<CommandRequest> {
    let check = config.healthcheck.as_ref()?;
    let argv = match check.test.as_deref()? {
        [kind, command @ ..] if kind == "CMD" => command.to_vec(),
        [kind, script] if kind == "CMD-SHELL" => {
            let shell = config.shell.clone();
            let mut argv = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            argv.push(script.clone());
            argv
        }
        _ => return None,
    };
    let timeout = check
        .timeout
        .and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    let timeout = timeout.filter(|nanoseconds| *nanoseconds > 0);
    Some(CommandRequest {
        id: "health".to_owned(),
        argv,
        env: BTreeMap::new(),
        working_dir: None,
        timeout: timeout.map_or(DEFAULT_TIMEOUT, Duration::from_nanos),
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use bollard::models::HealthConfig;

    use super::*;

    fn argv(test: &[&str], shell: Option<&[&str]>) -> Option<Vec<String>> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let config = ContainerConfig {
            healthcheck: Some(HealthConfig {
                test: Some(texts(test)),
                ..HealthConfig::default()
            }),
            shell: shell.map(texts),
            ..ContainerConfig::default()
        };
        check(&config).map(|check| check.argv)
    }

    #[test]
    fn checks_are_executed_as_the_engine_would() {
        assert_eq!(argv(&["CMD", "a", "b"], None).unwrap(), ["a", "b"]);
        assert_eq!(
            argv(&["CMD-SHELL", "a | b"], None).unwrap(),
            ["/bin/sh", "-c", "a | b"]
        );
        assert_eq!(
            argv(&["CMD-SHELL", "a"], Some(&["bash", "-ec"])).unwrap(),
            ["bash", "-ec", "a"]
        );
        assert_eq!(argv(&["NONE"], None), None);
        assert_eq!(argv(&[], None), None);
    }
}

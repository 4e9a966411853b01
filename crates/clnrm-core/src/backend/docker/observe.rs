//! What there is of instances, by one list of the engine's containers.

use super::DockerBackend;
use super::container::{exit_of, is_running};
use super::error::EngineError;
use super::list::{ContainerList, Listed, ListedState};
use crate::backend::error::BackendError;
use crate::backend::exit::ExitRecord;
use crate::backend::instance::{Condition, InstancePlace, Loss, Observed};

impl DockerBackend {
    pub(super) async fn observe_in(
        &self,
        listed: Result<&ContainerList, &EngineError>,
        places: &[InstancePlace],
    ) -> Vec<Result<Observed, BackendError>> {
        let mut observed = Vec::with_capacity(places.len());
        for place in places {
            let looked = match listed {
                Ok(ContainerList(containers)) => {
                    let listed = containers.iter().find(|listed| is_of(listed, place));
                    self.observe_one(place, listed).await
                }
                Err(error) => Ok(Observed::Unknown(error.clone().into())),
            };
            observed.push(match looked {
                Err(error) if error.is_unreachable() => Ok(Observed::Unknown(error.into())),
                looked => looked.map_err(Into::into),
            });
        }
        observed
    }

    async fn observe_one(
        &self,
        place: &InstancePlace,
        listed: Option<&Listed>,
    ) -> Result<Observed, EngineError> {
        let gone = || match ExitRecord::read(&place.dir).ok().flatten() {
            Some(exit) => Observed::Ended(exit),
            None if place.container.is_some() => Observed::Lost(Loss::ContainerRemoved),
            None => Observed::NeverStarted,
        };
        match listed.map(|listed| listed.state) {
            // Of a project that was somewhere else when it was started.
            None if place.container.is_some() => match self.of(place).await? {
                Some(container) if is_running(&container) => {
                    Ok(Observed::Alive(Condition::Serving))
                }
                Some(container) => {
                    Ok(exit_of(&container, false).map_or_else(gone, Observed::Ended))
                }
                None => Ok(gone()),
            },
            None => Ok(gone()),
            Some(ListedState::Created) => Ok(Observed::NeverStarted),
            Some(ListedState::Up(condition)) => Ok(Observed::Alive(condition)),
            Some(ListedState::Down) => {
                let container = self.of(place).await?;
                let exit = container.and_then(|container| exit_of(&container, false));
                match exit {
                    Some(exit) if self.engine.was_restarted_after(exit.at_ms).await => {
                        Ok(Observed::Lost(Loss::EngineRestarted))
                    }
                    exit => Ok(exit.map_or_else(gone, Observed::Ended)),
                }
            }
        }
    }
}

/// Whether that container is the one of the instance: by its recorded id, else by label and name.
fn is_of(listed: &Listed, place: &InstancePlace) -> bool {
    match &place.container {
        Some(recorded) => recorded.id == listed.id,
        None => listed.has_our_name && listed.instance == place.id,
    }
}

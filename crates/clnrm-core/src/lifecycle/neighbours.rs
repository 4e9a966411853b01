//! Where the services that another one depends on are, from the history.

use std::collections::BTreeMap;

use super::project::Project;
use crate::backend::NetworkNames;
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::{Inside, Where};
use crate::store::{InstanceRow, InstanceState, ServiceRow, StoreError};

/// Where the instances of the services that it depends on are, directly or through others.
///
/// Of several, one of the same run as `beside` is taken, else one of the same file, else the newest.
pub(crate) async fn neighbours(
    project: &Project,
    definition: &ServiceDefinition,
    beside: Option<&InstanceRow>,
) -> Result<BTreeMap<String, Where>, StoreError> {
    if definition.depends_on.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (services, live, done_jobs) = project
        .store
        .call(|store| {
            let services = store.services()?;
            let mut done_jobs = Vec::new();
            for job in services
                .iter()
                .filter(|service| service.definition.is_job())
            {
                done_jobs.extend(store.newest_instances(job.id, 1)?);
            }
            Ok((services, store.live_instances()?, done_jobs))
        })
        .await?;
    let digest = definition.digest();
    let own = services
        .iter()
        .find(|service| service.name == definition.name && service.digest == digest);
    let file = own.map(|service| &service.file);
    let run = beside.and_then(|instance| instance.start.run);
    let rank = |service: &ServiceRow, instance: &InstanceRow| {
        let same_run = run.is_some() && instance.start.run == run;
        (
            same_run,
            Some(&service.file) == file,
            instance.start.created_at,
        )
    };
    let mut found = BTreeMap::new();
    let mut wanted: Vec<&String> = definition.depends_on.iter().collect();
    while let Some(name) = wanted.pop() {
        if found.contains_key(name) {
            continue;
        }
        let named = services.iter().filter(|service| service.name == *name);
        let candidates = named.clone().flat_map(|service| {
            let ready = live.iter().filter(|row| {
                row.start.service == service.id && row.state == InstanceState::Running
            });
            ready.map(move |instance| (service, instance))
        });
        if let Some((service, instance)) =
            candidates.max_by_key(|(service, instance)| rank(service, instance))
        {
            found.insert(name.clone(), instance.start.reached.clone());
            wanted.extend(&service.definition.depends_on);
            continue;
        }
        let mut jobs = named.filter(|service| service.definition.is_job());
        if let Some(job) = jobs.rfind(|service| Some(&service.file) == file) {
            // It has run; its folder and what it waited for are still there.
            let done = done_jobs.iter().find(|row| row.start.service == job.id);
            found.extend(done.map(|row| (name.clone(), row.start.reached.clone().of_done())));
            wanted.extend(&job.definition.depends_on);
        }
    }
    Ok(found)
}

/// The names that another container of the same service has.
pub(crate) fn names_like(inside: Option<&Inside>) -> NetworkNames {
    inside.map_or_else(NetworkNames::default, |inside| NetworkNames {
        own: inside.name.clone(),
        links: inside.links.clone(),
        addresses: BTreeMap::new(),
    })
}

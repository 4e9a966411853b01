//! What cannot stand side by side in one file: two services on one port, what runs before a job, what runs in one.

use std::collections::BTreeMap;

use super::references::waits_for;
use super::service::ReadService;
use super::step::ReadStep;
use crate::config::reader::Source;

/// Two services of a test run at the same time, so they cannot have the same port.
pub(super) fn check_ports(source: &Source<'_>, services: &[ReadService]) {
    let mut fixed: BTreeMap<u16, &str> = BTreeMap::new();
    for service in services {
        let name = service.definition.name.as_str();
        for port in service.definition.ports_of_this_machine() {
            let earlier = *fixed.entry(port).or_insert(name);
            if earlier != name {
                source.report(
                    &service.place,
                    format!("port {port} of this machine is that of `{earlier}` already"),
                    Some("give it another, or let clnrm choose one".to_owned()),
                );
            }
        }
    }
}

/// A job runs before what waits for it, and has ended when the steps run.
pub(super) fn check_jobs(source: &Source<'_>, services: &[ReadService], steps: &[ReadStep]) {
    let jobs = || {
        services
            .iter()
            .filter(|service| service.definition.is_job())
    };
    for service in services
        .iter()
        .filter(|service| service.definition.pool.is_wanted())
    {
        let job = jobs().find(|job| waits_for(services, service, &job.definition.name));
        if let Some(job) = job {
            source.report(
                &service.place,
                format!(
                    "a warm instance is started before the job `{}` has run for its test",
                    job.definition.name
                ),
                Some("remove `pool`".to_owned()),
            );
        }
    }
    for (name, place) in steps.iter().filter_map(|step| step.service.as_ref()) {
        if jobs().any(|job| job.definition.name == *name) {
            source.report(
                place,
                format!("`{name}` is a job, which has ended before the first step"),
                Some("remove `service`".to_owned()),
            );
        }
    }
}

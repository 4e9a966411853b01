//! By which names the containers of one test find each other.
//!
//! All containers of a project are on one network, and tests that run at the same time may have a `db` each. So a
//! container has a name there that is its test's alone, and the engine resolves the names of the file to those.

use std::collections::BTreeMap;

use crate::backend::NetworkNames;
use crate::config::definition::ServiceDefinition;
use crate::config::placeholder::Where;

/// The containers of one test.
#[derive(Debug, Clone)]
pub(super) struct Neighbourhood {
    /// What each is called in the network; those of a pool are not in here, as they are not the test's alone.
    names: BTreeMap<String, String>,
    depends_on: BTreeMap<String, Vec<String>>,
}

impl Neighbourhood {
    /// Of these services; `id` is no other test's.
    pub(super) fn of(services: &[ServiceDefinition], id: u32) -> Self {
        let own = services
            .iter()
            .filter(|service| service.launch.image().is_some() && !service.pool.is_wanted());
        let depends_on = services.iter();
        Self {
            names: own
                .map(|service| {
                    (
                        service.name.clone(),
                        format!("{}-in-{id:06x}", service.name),
                    )
                })
                .collect(),
            depends_on: depends_on
                .map(|service| (service.name.clone(), service.depends_on.clone()))
                .collect(),
        }
    }

    /// The names of a service that is started now; `ready` = those that are.
    pub(super) fn names_of(&self, service: &str, ready: &BTreeMap<String, Where>) -> NetworkNames {
        let mut links = self.names.clone();
        for name in self.needed_by(service) {
            if let Some(target) = ready.get(name).and_then(Where::link) {
                links.insert(name.to_owned(), target.to_owned());
            }
        }
        NetworkNames {
            own: self.names.get(service).cloned().unwrap_or_default(),
            links,
            addresses: BTreeMap::new(),
        }
    }

    /// What a service depends on, directly or through others. The file has no circles.
    fn needed_by<'a>(&'a self, service: &'a str) -> Vec<&'a str> {
        let direct = self.depends_on.get(service).into_iter().flatten();
        direct
            .flat_map(|name| {
                let mut needed = self.needed_by(name);
                needed.push(name);
                needed
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::definition::{ContainerLaunch, Launch, PoolSpec};
    use crate::config::placeholder::Inside;

    fn container(name: &str, depends_on: &[&str]) -> ServiceDefinition {
        ServiceDefinition {
            launch: Launch::Container(ContainerLaunch {
                health_check: None,
                image: "image".to_owned(),
                entry_point: None,
                command: None,
                ports: Vec::new(),
                volumes: Vec::new(),
                settings: Box::default(),
            }),
            depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
            ..crate::store::tests::definition(name)
        }
    }

    fn names(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, target)| ((*name).to_owned(), (*target).to_owned()))
            .collect()
    }

    #[test]
    fn the_names_of_a_test_are_its_own_and_do_not_depend_on_the_order() {
        let services = [container("db", &[]), container("api", &["db"])];
        let one = Neighbourhood::of(&services, 1);
        let other = Neighbourhood::of(&services, 2);
        let nothing = BTreeMap::new();
        let all = names(&[("api", "api-in-000001"), ("db", "db-in-000001")]);
        assert_eq!(one.names_of("db", &nothing).links, all);
        assert_eq!(one.names_of("api", &nothing).links, all);
        assert_eq!(one.names_of("api", &nothing).own, "api-in-000001");
        assert_ne!(
            other.names_of("db", &nothing).own,
            one.names_of("db", &nothing).own
        );
    }

    #[test]
    fn an_instance_of_a_pool_is_found_by_whoever_waits_for_it() {
        let pooled = ServiceDefinition {
            pool: PoolSpec {
                size: 1,
                ..PoolSpec::default()
            },
            ..container("db", &[])
        };
        let services = [
            pooled,
            container("cache", &["db"]),
            container("api", &["cache"]),
            container("alone", &[]),
        ];
        let neighbourhood = Neighbourhood::of(&services, 1);
        let inside = Inside {
            name: "clnrm-1-db-1".to_owned(),
            ..Inside::default()
        };
        let db = Where {
            inside: Some(inside),
            ..Where::default()
        };
        let ready = BTreeMap::from([("db".to_owned(), db)]);
        let of = |name: &str| {
            neighbourhood
                .names_of(name, &ready)
                .links
                .get("db")
                .cloned()
        };
        assert_eq!(of("api"), Some("clnrm-1-db-1".to_owned()));
        assert_eq!(of("alone"), None);
        let process = Where {
            port: Some(5432),
            ..Where::default()
        };
        let ready = BTreeMap::from([("db".to_owned(), process)]);
        let links = neighbourhood.names_of("api", &ready).links;
        assert_eq!(links.get("db").map(String::as_str), Some("host-gateway"));
        assert_eq!(neighbourhood.names_of("db", &ready).own, "");
    }
}

//! In which order the tests of a run begin. Pure.
//!
//! They begin in the plan's order, but for those that need a fixed port of this machine which another test has: they
//! wait for it, and let others pass.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::config::definition::{ServiceDefinition, TestDefinition};

/// The tests that have not begun, and the fixed ports of those that run.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// In the plan's order.
    waiting: Vec<Waiting>,
    /// The test that has each port.
    held: BTreeMap<u16, usize>,
}

#[derive(Debug)]
struct Waiting {
    test: usize,
    ports: BTreeSet<u16>,
    /// Whether it was told that it waits.
    told: bool,
}

/// A test that could begin but for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) test: usize,
    pub(super) port: u16,
    /// The test that has the port, or is to have it first.
    pub(super) behind: usize,
}

impl Schedule {
    pub(super) fn of(tests: &[TestDefinition]) -> Self {
        let waiting = tests.iter().enumerate().map(|(test, definition)| Waiting {
            test,
            ports: fixed_ports(definition),
            told: false,
        });
        Self {
            waiting: waiting.collect(),
            held: BTreeMap::new(),
        }
    }

    /// The next test that may begin, which has its ports from now on; and those before it that have to wait, each once.
    ///
    /// A port for which an earlier test waits is not given to a later one, so none waits for ever.
    pub(super) fn next(&mut self) -> (Option<usize>, Vec<Blocked>) {
        let mut claimed = self.held.clone();
        let mut blocked = Vec::new();
        let mut found = None;
        for (position, waiting) in self.waiting.iter_mut().enumerate() {
            let behind = waiting.ports.iter().find_map(|port| {
                let behind = claimed.get(port)?;
                Some((*port, *behind))
            });
            let Some((port, behind)) = behind else {
                found = Some(position);
                break;
            };
            if !std::mem::replace(&mut waiting.told, true) {
                blocked.push(Blocked {
                    test: waiting.test,
                    port,
                    behind,
                });
            }
            for port in &waiting.ports {
                claimed.entry(*port).or_insert(waiting.test);
            }
        }
        let next = found.map(|position| self.waiting.remove(position));
        if let Some(next) = &next {
            self.held
                .extend(next.ports.iter().map(|port| (*port, next.test)));
        }
        (next.map(|next| next.test), blocked)
    }

    /// Its ports are free again.
    pub(super) fn ended(&mut self, test: usize) {
        self.held.retain(|_, holder| *holder != test);
    }
}

/// The ports of this machine that a test cannot do without.
pub(super) fn fixed_ports(test: &TestDefinition) -> BTreeSet<u16> {
    let services = test.services.iter();
    services
        .flat_map(|service| service.ports_of_this_machine())
        .collect()
}

/// The services of a test that cannot stay up after it: those of a pool, which go back there, those whose port another test
/// wants, and whatever would go on speaking to one of them.
pub(super) fn cannot_stay(
    services: &[ServiceDefinition],
    is_wanted: impl Fn(u16) -> bool,
) -> HashSet<String> {
    let mut going: HashSet<String> = HashSet::new();
    loop {
        let next = services.iter().find(|service| {
            let mut ports = service.ports_of_this_machine().into_iter();
            let goes = service.pool.is_wanted()
                || ports.any(&is_wanted)
                || service.depends_on.iter().any(|name| going.contains(name));
            goes && !going.contains(&service.name)
        });
        let Some(next) = next else { return going };
        going.insert(next.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(tests: &[&[u16]]) -> Schedule {
        let waiting = tests.iter().enumerate().map(|(test, ports)| Waiting {
            test,
            ports: ports.iter().copied().collect(),
            told: false,
        });
        Schedule {
            waiting: waiting.collect(),
            held: BTreeMap::new(),
        }
    }

    #[test]
    fn who_needs_a_port_that_another_has_waits_and_lets_others_pass() {
        let mut schedule = schedule(&[&[80], &[80, 90], &[], &[90], &[70]]);
        assert_eq!(schedule.next(), (Some(0), vec![]));
        let second = Blocked {
            test: 1,
            port: 80,
            behind: 0,
        };
        assert_eq!(schedule.next(), (Some(2), vec![second]));
        let fourth = Blocked {
            test: 3,
            port: 90,
            behind: 1,
        };
        assert_eq!(schedule.next(), (Some(4), vec![fourth]), "90 is promised");
        assert_eq!(schedule.next(), (None, vec![]), "told once");
        schedule.ended(2);
        assert_eq!(schedule.next().0, None);
        schedule.ended(0);
        assert_eq!(schedule.next().0, Some(1));
        assert_eq!(schedule.next().0, None);
        schedule.ended(1);
        assert_eq!(schedule.next().0, Some(3));
    }

    #[test]
    fn what_speaks_to_a_service_that_goes_goes_too() {
        let service = |name: &str, port: u16, depends_on: &[&str]| ServiceDefinition {
            fixed_ports: vec![port],
            depends_on: depends_on.iter().map(|&name| name.to_owned()).collect(),
            ..crate::store::tests::definition(name)
        };
        let services = [
            service("far", 1, &["near"]),
            service("near", 2, &["db"]),
            service("db", 3, &[]),
            service("other", 4, &[]),
        ];
        let going = cannot_stay(&services, |port| port == 3);
        let expected = ["far", "near", "db"].map(str::to_owned);
        assert_eq!(going, HashSet::from(expected));
        assert_eq!(cannot_stay(&services, |_| false), HashSet::new());
    }

    proptest! {
        #[test]
        fn every_test_begins_once_and_no_port_is_had_twice(
            tests in prop::collection::vec(prop::collection::vec(0_u16..4, 0..3), 0..12),
            jobs in 1_usize..4,
        ) {
            let ports: Vec<&[u16]> = tests.iter().map(Vec::as_slice).collect();
            let mut schedule = schedule(&ports);
            let mut running: Vec<usize> = Vec::new();
            let mut begun = Vec::new();
            loop {
                while running.len() < jobs {
                    let (Some(next), _) = schedule.next() else { break };
                    for other in &running {
                        prop_assert!(!tests[*other].iter().any(|port| tests[next].contains(port)));
                    }
                    running.push(next);
                    begun.push(next);
                }
                if running.is_empty() {
                    break;
                }
                schedule.ended(running.remove(0));
            }
            begun.sort_unstable();
            prop_assert_eq!(begun, (0..tests.len()).collect::<Vec<_>>());
        }
    }
}

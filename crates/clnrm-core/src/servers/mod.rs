//! The servers that clnrm knows from inside, a folder for each kind: what test files may say of it, how it is asked for
//! its own numbers, and how a used one becomes clean.
//!
//! A new kind is a folder and a line of [`KINDS`]. Deliberately absent: when to ask and what becomes of the numbers
//! (`metrics`), and when to clean (`lifecycle`).

mod kind;
mod memcached;
mod nginx;
mod page;
mod postgres;
mod prometheus;
mod redis;

use std::net::SocketAddr;
use std::sync::Arc;

use self::kind::ServerKind;
pub(crate) use self::kind::{Cleaner, Server};
use crate::clock::Clock;
use crate::config::definition::{MetricsSpec, ServerForm, ServerSpec};
use crate::metrics::{MetricsSource, OwnConnections};

/// Every kind, in the order in which hints name them.
static KINDS: &[&ServerKind] = &[
    &redis::KIND,
    &postgres::KIND,
    &nginx::KIND,
    &memcached::KIND,
    &prometheus::KIND,
];

/// What test files may say.
pub fn forms() -> Vec<&'static ServerForm> {
    KINDS.iter().map(|kind| &kind.form).collect()
}

/// Where a server's own numbers are read; `None` = it has no address, or is of a kind that this clnrm does not know.
pub fn source(
    spec: &ServerSpec,
    address: Option<SocketAddr>,
    own: OwnConnections,
    clock: Arc<dyn Clock>,
) -> Option<Box<dyn MetricsSource>> {
    let address = match address {
        Some(address) => address.to_string(),
        None => spec.shared_url().map(|_| String::new())?,
    };
    let server = Server {
        address: &address,
        spec,
    };
    Some((kind(spec)?.source)(&server, own, clock))
}

/// Who makes servers of this kind clean.
pub(crate) fn cleaner(spec: &MetricsSpec) -> Option<(&'static dyn Cleaner, &ServerSpec)> {
    match spec {
        MetricsSpec::ProcessOnly => None,
        MetricsSpec::Server(spec) => Some((kind(spec)?.cleaner?, spec)),
    }
}

fn kind(spec: &ServerSpec) -> Option<&'static ServerKind> {
    let mut kinds = KINDS.iter().copied();
    kinds.find(|kind| kind.form.name == spec.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_the_truth_about_who_can_be_cleaned() {
        for kind in KINDS {
            assert_eq!(kind.form.has_cleaner, kind.cleaner.is_some(), "{kind:?}");
        }
    }
}

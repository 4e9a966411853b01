//! How instances with an inside find each other.

use std::collections::BTreeMap;

/// The names of one instance in the network that it shares with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkNames {
    /// What others look for in the network; empty = the instance's own name.
    pub own: String,
    /// Names that it may use, each with the name in the network that it stands for: several tests may have a `db` each.
    pub links: BTreeMap<String, String>,
    /// Where those are now that run already, for an engine that knows no such names.
    pub addresses: BTreeMap<String, String>,
}

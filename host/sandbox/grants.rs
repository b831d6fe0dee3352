//! What the host's configuration allows one plugin to touch.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The grants of one plugin; by default it may touch nothing but the subject of its run.
///
/// The subject itself needs no grant: it may be read in every phase that reads, and written in
/// `action` and `save`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Collections it may read.
    pub read: BTreeSet<String>,
    /// Collections it may write, and so also read.
    pub write: BTreeSet<String>,
    /// Topics it may emit events on, each named in full.
    pub topics: BTreeSet<String>,
    /// Endpoints it may call, by the names that the configuration gives them.
    pub endpoints: BTreeSet<String>,
    /// Whether it may write without a condition on the version (`expectation.any`).
    pub blind_writes: bool,
    /// Businesses that its routes may claim; any where this is not set. The configuration names
    /// them beside the grants.
    #[serde(skip)]
    pub businesses: Option<BTreeSet<String>>,
}

impl Grants {
    pub(crate) fn reads(&self, collection: &str) -> bool {
        self.read.contains(collection) || self.writes(collection)
    }

    pub(crate) fn writes(&self, collection: &str) -> bool {
        self.write.contains(collection)
    }

    pub(crate) fn emits(&self, topic: &str) -> bool {
        self.topics.contains(topic)
    }

    pub(crate) fn calls(&self, endpoint: &str) -> bool {
        self.endpoints.contains(endpoint)
    }

    pub(crate) fn claims(&self, business: &str) -> bool {
        self.businesses.as_ref().is_none_or(|businesses| businesses.contains(business))
    }
}

//! What a plugin says of itself before anybody runs it.

use std::collections::{BTreeMap, BTreeSet};

use callgate_sandbox::descriptor::{Descriptor, Edge, Route};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;

use crate::admit::sha256_text;
use crate::read;
use crate::refused::Refused;
use crate::schema::Schema;

/// A manifest. Every field has passed its checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Name of the plugin, such as `shop/order-payment`.
    pub name: String,
    /// Its semantic version.
    pub version: semver::Version,
    /// SHA-256 of the component, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The version of the contract that it was built against.
    pub contract: semver::Version,
    /// What it may claim, at most: each route of the component is one of these or narrower.
    pub routes: Vec<Route>,
    /// The steps that it may declare, at most; `None` where the manifest does not say.
    pub transitions: Option<Vec<Edge>>,
    /// What it asks to touch. Its businesses are those of its routes.
    pub grants: Grants,
    /// The limits that it asks for, by name; the others keep their defaults.
    pub limits: BTreeMap<String, u64>,
    /// What its configuration must look like; `None` for a plugin that has none.
    pub config_schema: Option<Schema>,
    /// Where in the file each field stands.
    pub(crate) lines: Lines,
}

/// The line of each field, by its name with dots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lines(pub(crate) BTreeMap<String, usize>);

impl Lines {
    /// The line of a field, 1 where it stands nowhere.
    pub(crate) fn of(&self, field: &str) -> usize {
        self.0.get(field).copied().unwrap_or(1)
    }
}

impl Manifest {
    /// Reads a manifest without its signatures. Whoever wants to trust it calls
    /// [`crate::admit()`] instead.
    ///
    /// # Errors
    /// [`Refused`] with the line, what was found and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        read::manifest(body)
    }

    /// The businesses of its routes.
    #[must_use]
    pub fn businesses(&self) -> BTreeSet<&str> {
        self.routes.iter().map(|route| route.business.as_str()).collect()
    }

    /// The limits that it asks for over the defaults, whatever a policy says.
    ///
    /// # Errors
    /// [`Refused::Field`] where they are no limits, which reading has made sure of.
    pub fn asked_limits(&self) -> Result<Limits, Refused> {
        read::limits_of(&self.limits)
    }

    /// Whether this manifest is for these bytes.
    ///
    /// # Errors
    /// [`Refused::Hash`] with both hashes.
    pub fn check_hash(&self, component: &[u8]) -> Result<(), Refused> {
        let found = sha256_text(component);
        if found == self.sha256 {
            return Ok(());
        }
        let line = self.lines.of("sha256");
        Err(Refused::Hash { line, expected: self.sha256.clone(), found })
    }

    /// Whether a component that describes itself so keeps to this manifest: the same name and
    /// version, no transition that is not here, no route that one here does not cover.
    ///
    /// # Errors
    /// [`Refused::Descriptor`] with the first thing that it claims beyond the manifest.
    pub fn check_descriptor(&self, descriptor: &Descriptor) -> Result<(), Refused> {
        let Descriptor { name, version, routes, transitions, after: _ } = descriptor;
        let differs = |what: &str, found: &dyn std::fmt::Display, expected: &str| {
            Err(Refused::Descriptor(format!(
                "it says its {what} is {found}, the manifest says {expected}"
            )))
        };
        if *name != self.name {
            return differs("name", name, &self.name);
        }
        if *version != self.version {
            return differs("version", version, &self.version.to_string());
        }
        let beyond = |route: &&Route| !self.routes.iter().any(|wide| covers(wide, route));
        if let Some(route) = routes.iter().find(beyond) {
            return Err(Refused::Descriptor(format!(
                "it claims the route {route}, which no route of the manifest covers; add it under \
                 [[routes]] and sign again"
            )));
        }
        let Some(declared) = &self.transitions else { return Ok(()) };
        match transitions.iter().find(|edge| !declared.contains(edge)) {
            None => Ok(()),
            Some(Edge { from, to }) => Err(Refused::Descriptor(format!(
                "it declares the transition from {from} to {to}, which the manifest does not have; \
                 add it under [[transitions]] and sign again"
            ))),
        }
    }

    /// Holds a configuration to the schema.
    ///
    /// # Errors
    /// [`Refused::Config`] with the path in the configuration and the rule.
    pub fn check_config(&self, config: &serde_json::Value) -> Result<(), Refused> {
        let empty = config.is_null() || config.as_object().is_some_and(serde_json::Map::is_empty);
        match &self.config_schema {
            Some(schema) => schema.check(config),
            None if empty => Ok(()),
            None => Err(Refused::Config {
                path: "config".to_owned(),
                problem: "the plugin takes no configuration: its manifest has no [config_schema]"
                    .to_owned(),
            }),
        }
    }
}

/// Whether every notification that takes the narrow route could take the wide one.
fn covers(wide: &Route, narrow: &Route) -> bool {
    let event_type = match wide.event_type.strip_suffix('*') {
        Some(start) => narrow.event_type.starts_with(start),
        None => wide.event_type == narrow.event_type,
    };
    // `*` is any state of a subject; an empty state is a route without a subject.
    let any_state = wide.state == "*" && !narrow.state.is_empty();
    wide.business == narrow.business
        && (wide.scene == "*" || wide.scene == narrow.scene)
        && event_type
        && (any_state || wide.state == narrow.state)
}

//! Which plugin a notification goes to; swapped as a whole while runs go on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::descriptor::{Edge, Route};
use crate::plugin::Plugin;
use crate::routes::RouteTable;

/// What picks a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteKey<'a> {
    /// Business of the channel.
    pub business: &'a str,
    /// Scene of the channel.
    pub scene: &'a str,
    /// The normalised event type.
    pub event_type: &'a str,
    /// State of the subject; `None` where the run has no subject.
    pub state: Option<&'a str>,
}

/// All plugins that are in force, as one value that never changes.
///
/// The most specific route wins. Routes are compared by event type, then state, then scene; exact
/// beats prefix beats shorter prefix, and exact beats `*`. A route with state `*` needs a subject;
/// one with an empty state needs that there is none.
#[derive(Debug, Default)]
pub struct Registry {
    plugins: Vec<Arc<Plugin>>,
    routes: RouteTable,
}

impl Registry {
    /// Puts plugins in force together.
    ///
    /// # Errors
    /// [`RegistryError`] where two plugins have one name or claim one route of one business.
    pub fn build(plugins: Vec<Arc<Plugin>>) -> Result<Self, RegistryError> {
        let mut names = BTreeMap::new();
        for plugin in &plugins {
            let descriptor = plugin.descriptor();
            if let Some(first) = names.insert(descriptor.name.as_str(), &descriptor.version) {
                let (first, second) = (first.to_string(), descriptor.version.to_string());
                return Err(RegistryError::SameName {
                    name: descriptor.name.clone(),
                    first,
                    second,
                });
            }
        }
        let routes = plugins.iter().map(|plugin| plugin.descriptor().routes.as_slice());
        let routes = RouteTable::build(routes).map_err(|claim| {
            let name = |number: usize| {
                plugins
                    .get(number)
                    .map(|plugin| plugin.descriptor().name.clone())
                    .unwrap_or_default()
            };
            let (first, second) = (name(claim.first), name(claim.second));
            RegistryError::SameRoute { route: Box::new(claim.route), first, second }
        })?;
        Ok(Self { plugins, routes })
    }

    /// The plugin for a notification; `None` where none claims it.
    #[must_use]
    pub fn pick(&self, key: RouteKey<'_>) -> Option<Arc<Plugin>> {
        self.plugins.get(self.routes.pick(key)?).cloned()
    }

    /// Whether a plugin would be picked for an order in some state, so that it is worth waiting
    /// for the order. The state of the key is not looked at.
    #[must_use]
    pub fn serves(&self, key: RouteKey<'_>) -> bool {
        self.routes.serves(key)
    }

    /// All plugins, in the order they were given.
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// The steps that each plugin declared, by its name.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &[Edge])> {
        self.plugins.iter().map(|plugin| {
            let descriptor = plugin.descriptor();
            (descriptor.name.as_str(), descriptor.transitions.as_slice())
        })
    }
}

/// Why plugins cannot be in force together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Code `plugin.same-name`.
    #[error("plugin `{name}` is given twice, as {first} and as {second}")]
    SameName {
        /// The name of both.
        name: String,
        /// Version of the first.
        first: String,
        /// Version of the second.
        second: String,
    },
    /// Code `plugin.same-route`.
    #[error("plugins `{first}` and `{second}` both claim the route {route}")]
    SameRoute {
        /// What both claim.
        route: Box<Route>,
        /// Name of the first.
        first: String,
        /// Name of the second.
        second: String,
    },
}

impl RegistryError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::SameName { .. } => "plugin.same-name",
            Self::SameRoute { .. } => "plugin.same-route",
        }
    }
}

/// The registry in force. A run that has picked its plugin keeps it through a swap.
#[derive(Debug, Default)]
pub struct InForce(RwLock<Arc<Registry>>);

impl InForce {
    /// Starts with a registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self(RwLock::new(Arc::new(registry)))
    }

    /// The registry in force now.
    #[must_use]
    pub fn current(&self) -> Arc<Registry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another registry in force at once and answers the one before.
    pub fn swap(&self, registry: Registry) -> Arc<Registry> {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, Arc::new(registry))
    }
}

//! Which plugin a notification goes to; swapped as a whole while runs go on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use callgate_core::canary::Share;

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

/// A plugin in force, and its part.
#[derive(Debug, Clone)]
pub struct Member {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// Which orders it gets.
    pub role: Role,
}

/// Which orders a version of a plugin gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// All that no canary of the same name gets.
    Active,
    /// These.
    Canary(Share),
}

/// All plugins that are in force, as one value that never changes.
///
/// The most specific route wins. Routes are compared by event type, then state, then scene; exact
/// beats prefix beats shorter prefix, and exact beats `*`. A route with state `*` needs a subject;
/// one with an empty state needs that there is none.
///
/// Of a plugin with a canary, an order has one version: the other one's routes are not there for
/// it. What has no order is the active version's.
#[derive(Debug, Default)]
pub struct Registry {
    plugins: Vec<Arc<Plugin>>,
    parts: Vec<Part>,
    routes: RouteTable,
    kept: Vec<Arc<Plugin>>,
}

/// What a plugin's orders are decided by.
#[derive(Debug, Default)]
struct Part {
    canary: bool,
    /// The canary's orders, where its plugin has one.
    share: Option<Arc<Share>>,
}

impl Registry {
    /// Puts plugins in force together, each for all orders.
    ///
    /// # Errors
    /// [`RegistryError`] where two plugins have one name or claim one route of one business.
    pub fn build(plugins: Vec<Arc<Plugin>>) -> Result<Self, RegistryError> {
        let member = |plugin| Member { plugin, role: Role::Active };
        Self::with(plugins.into_iter().map(member).collect(), Vec::new())
    }

    /// Puts versions of plugins in force together. What is kept has no routes: it is there to be
    /// found by its component.
    ///
    /// # Errors
    /// [`RegistryError`] where two plugins of the same part have one name, or two of different
    /// names claim one route of one business.
    pub fn with(members: Vec<Member>, kept: Vec<Arc<Plugin>>) -> Result<Self, RegistryError> {
        let groups = groups(&members)?;
        let routes = groups.iter().zip(&members);
        let routes = routes.map(|(group, one)| (*group, one.plugin.descriptor().routes.as_slice()));
        let routes = RouteTable::build(routes).map_err(|claim| {
            let name = |number: usize| {
                let found = members.get(number);
                found.map(|one| one.plugin.descriptor().name.clone()).unwrap_or_default()
            };
            let (first, second) = (name(claim.first), name(claim.second));
            RegistryError::SameRoute { route: Box::new(claim.route), first, second }
        })?;
        let mut shares: BTreeMap<usize, Arc<Share>> = BTreeMap::new();
        for (group, one) in groups.iter().zip(&members) {
            if let Role::Canary(share) = &one.role {
                shares.insert(*group, Arc::new(share.clone()));
            }
        }
        let part = |(group, one): (&usize, &Member)| Part {
            canary: one.role != Role::Active,
            share: shares.get(group).cloned(),
        };
        let parts = groups.iter().zip(&members).map(part).collect();
        let plugins = members.into_iter().map(|one| one.plugin).collect();
        Ok(Self { plugins, parts, routes, kept })
    }

    /// The plugin for a notification of an order; `None` where none claims it.
    #[must_use]
    pub fn pick(&self, key: RouteKey<'_>, order_no: Option<&str>) -> Option<Arc<Plugin>> {
        let picked = self.routes.pick(key, |number| self.has(number, order_no));
        self.plugins.get(picked?).cloned()
    }

    /// The version of a plugin that an order has; `None` where no such plugin is in force.
    #[must_use]
    pub fn named(&self, name: &str, order_no: Option<&str>) -> Option<Arc<Plugin>> {
        let mut numbered = self.plugins.iter().enumerate();
        let found = numbered.find(|(number, plugin)| {
            plugin.descriptor().name == name && self.has(*number, order_no)
        });
        found.map(|(_, plugin)| Arc::clone(plugin))
    }

    /// The plugin of exactly these bytes, in force or kept.
    #[must_use]
    pub fn of_component(&self, sha256: &str) -> Option<Arc<Plugin>> {
        let mut all = self.plugins.iter().chain(&self.kept);
        all.find(|plugin| plugin.sha256() == sha256).cloned()
    }

    /// Whether an order has this version of its plugin.
    fn has(&self, number: usize, order_no: Option<&str>) -> bool {
        let (Some(plugin), Some(part)) = (self.plugins.get(number), self.parts.get(number)) else {
            return false;
        };
        let Some(share) = &part.share else { return true };
        let name = plugin.descriptor().name.as_str();
        order_no.is_some_and(|order_no| share.takes(name, order_no)) == part.canary
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

/// The group of each member: plugins of one name have one.
fn groups(members: &[Member]) -> Result<Vec<usize>, RegistryError> {
    let mut names: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for one in members {
        let descriptor = one.plugin.descriptor();
        let known = names.entry(descriptor.name.as_str()).or_default();
        let canary = |one: &Member| one.role != Role::Active;
        if let Some(first) = known.iter().find(|other| canary(other) == canary(one)) {
            let first = first.plugin.descriptor().version.to_string();
            let (name, second) = (descriptor.name.clone(), descriptor.version.to_string());
            return Err(RegistryError::SameName { name, first, second });
        }
        known.push(one);
    }
    let names: Vec<&str> = names.into_keys().collect();
    let group = |one: &Member| {
        names.binary_search(&one.plugin.descriptor().name.as_str()).unwrap_or(usize::MAX)
    };
    Ok(members.iter().map(group).collect())
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

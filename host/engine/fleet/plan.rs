//! What is wanted of each plugin, and the registry that is made of what is loaded of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use callgate_core::canary::Share;
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::registry::{Member, Registry, RegistryError, Role};
use callgate_store::{Activation, Rollout};

use super::load::{Loader, Place};

/// A version with its configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) version: String,
    /// JSON.
    pub(super) config: String,
}

/// What is wanted of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The active version; `None` for the configuration's.
    pub(super) active: Option<Version>,
    pub(super) canary: Option<WantedCanary>,
    /// What a rollback leads to.
    pub(super) before: Option<Version>,
}

/// A canary that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedCanary {
    pub(super) version: Version,
    pub(super) share: Share,
    pub(super) round: i64,
}

impl Wanted {
    /// What the configuration names, and nothing else.
    pub(super) fn configured(_name: &str) -> Self {
        Self { active: None, canary: None, before: None }
    }

    /// What the store says.
    pub(super) fn of(rollout: &Rollout) -> Self {
        let version = |version: &str, config: &str| Version {
            name: rollout.name.clone(),
            version: version.to_owned(),
            config: config.to_owned(),
        };
        let activated = |one: &Activation| version(&one.version, &one.config);
        Self {
            active: rollout.active.as_ref().map(activated),
            canary: rollout.canary.as_ref().map(|canary| WantedCanary {
                version: version(&canary.version, &canary.config),
                share: canary.share.clone(),
                round: canary.round,
            }),
            before: rollout.before.as_ref().map(activated),
        }
    }

    /// What must be loaded before it is in force.
    pub(super) fn needed(&self) -> impl Iterator<Item = &Version> {
        self.active.iter().chain(self.canary.iter().map(|canary| &canary.version))
    }

    /// That, and what a rollback leads to.
    pub(super) fn all(&self) -> impl Iterator<Item = &Version> {
        self.needed().chain(&self.before)
    }
}

/// What is in force of one plugin.
#[derive(Clone, Default)]
pub(super) struct Standing {
    pub(super) active: Option<Arc<Plugin>>,
    pub(super) canary: Option<StandingCanary>,
}

/// A canary in force.
#[derive(Clone)]
pub(super) struct StandingCanary {
    pub(super) plugin: Arc<Plugin>,
    pub(super) share: Share,
    pub(super) round: i64,
}

impl Standing {
    fn members(&self) -> impl Iterator<Item = Member> {
        let active = self.active.iter().cloned();
        let active = active.map(|plugin| Member { plugin, role: Role::Active });
        let canary = self.canary.iter().map(|canary| Member {
            plugin: Arc::clone(&canary.plugin),
            role: Role::Canary(canary.share.clone()),
        });
        active.chain(canary)
    }

    fn is(&self, other: &Self) -> bool {
        let same = |one: &Option<Arc<Plugin>>, other: &Option<Arc<Plugin>>| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let same_canary = match (&self.canary, &other.canary) {
            (Some(one), Some(other)) => {
                Arc::ptr_eq(&one.plugin, &other.plugin)
                    && one.share == other.share
                    && one.round == other.round
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same(&self.active, &other.active) && same_canary
    }
}

/// What is loaded of a wish, if all of it is; else why not.
pub(super) fn standing(
    wanted: &Wanted,
    configured: Option<&Arc<Plugin>>,
    loader: &Arc<Loader>,
) -> Result<Standing, String> {
    let ready = |version: &Version| match loader.ready_or_start(version) {
        Place::Ready(plugin) => Ok(plugin),
        Place::Loading => Err(LOADING.to_owned()),
        Place::Failed(refused) => {
            Err(format!("{} is refused: {}: {refused}", version.version, refused.code()))
        }
    };
    let active = match &wanted.active {
        Some(version) => Some(ready(version)?),
        None => configured.cloned(),
    };
    let canary = match &wanted.canary {
        None => None,
        Some(canary) => Some(StandingCanary {
            plugin: ready(&canary.version)?,
            share: canary.share.clone(),
            round: canary.round,
        }),
    };
    Ok(Standing { active, canary })
}

/// Takes over what changed, as far as it goes together; tells whether anything did. Where two
/// plugins cannot be in force together, the one that was stays.
pub(super) fn merge(
    standing: &mut BTreeMap<String, Standing>,
    next: BTreeMap<String, Standing>,
    wanted: &BTreeMap<String, Wanted>,
    problems: &mut BTreeMap<String, String>,
) -> bool {
    let before = standing.len();
    standing.retain(|name, _| wanted.contains_key(name));
    let mut changed = standing.len() != before;
    let mut open: Vec<_> = next
        .into_iter()
        .filter(|(name, next)| !standing.get(name).is_some_and(|now| now.is(next)))
        .collect();
    // One may make room for another, so what does not fit is tried again after what does.
    loop {
        let (mut left, mut refused) = (Vec::new(), Vec::new());
        let tried = open.len();
        for (name, next) in open {
            let now = standing.insert(name.clone(), next.clone());
            match registry(standing, Vec::new()) {
                Ok(_) => changed = true,
                Err(error) => {
                    match now {
                        Some(now) => standing.insert(name.clone(), now),
                        None => standing.remove(&name),
                    };
                    refused.push((name.clone(), format!("{}: {error}", error.code())));
                    left.push((name, next));
                }
            }
        }
        if left.is_empty() || left.len() == tried {
            problems.extend(refused);
            return changed;
        }
        open = left;
    }
}

/// The registry of what is in force; `kept` can be found by its component.
pub(super) fn registry(
    standing: &BTreeMap<String, Standing>,
    kept: Vec<Arc<Plugin>>,
) -> Result<Registry, RegistryError> {
    Registry::with(standing.values().flat_map(Standing::members).collect(), kept)
}

/// What is said of what is not there yet.
pub(super) const LOADING: &str = "is being loaded; what was stays in force until then";

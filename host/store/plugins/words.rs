//! The words of plugins: what is pushed, what is in force, what can be done about it.

use callgate_core::canary::{Budget, Runs, Share};
use callgate_core::time::Timestamp;

/// A version that somebody pushes; it was checked, compiled and asked to describe itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// Name of the plugin, as it and its manifest say.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component, 64 hexadecimal digits.
    pub sha256: String,
    /// The component's bytes.
    pub component: Vec<u8>,
    /// The manifest file, signatures and all.
    pub manifest: String,
    /// SHA-256 of what the signatures cover.
    pub manifest_sha256: String,
    /// Who signed it, for people; empty for nobody.
    pub signed_by: String,
    /// Who pushes it, 1 to 128 characters.
    pub who: String,
    /// Why, 1 to [`WHY_MAX`](crate::WHY_MAX) characters.
    pub why: String,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// It is stored.
    New(PluginVersion),
    /// It was there already; other signatures than before took the place of those.
    Known(PluginVersion),
    /// This version is there already with other bytes or another manifest.
    Differs(PluginVersion),
}

/// A version that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginVersion {
    /// Name of the plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its component.
    pub sha256: String,
    /// Bytes of its component.
    pub size: i64,
    /// The manifest file, as it was pushed.
    pub manifest: String,
    /// SHA-256 of what the signatures cover.
    pub manifest_sha256: String,
    /// Who signed it, for people; empty for nobody.
    pub signed_by: String,
    /// When it was pushed first.
    pub pushed_at: Timestamp,
    /// By whom.
    pub pushed_by: String,
    /// Since when it must not be activated any more.
    pub retired_at: Option<Timestamp>,
}

/// A version in force, and the configuration of its processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Its own id.
    pub id: String,
    /// Which version.
    pub version: String,
    /// What the processor reads through `config`: JSON.
    pub config: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
}

/// A version on trial, for some of the orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Which version.
    pub version: String,
    /// What its processor reads through `config`: JSON.
    pub config: String,
    /// Which orders it gets.
    pub share: Share,
    /// When it has failed too often.
    pub budget: Budget,
    /// Names the trial, for those who count its runs.
    pub round: i64,
    /// Since when.
    pub at: Timestamp,
    /// Who began it.
    pub who: String,
}

/// What every host is to have in force of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Name of the plugin.
    pub name: String,
    /// Of the last act on it; the next one has to name it.
    pub revision: i64,
    /// The active version; `None` for what the host's configuration names.
    pub active: Option<Activation>,
    /// What a rollback leads to; `None` for what the host's configuration names.
    pub before: Option<Activation>,
    /// The version on trial.
    pub canary: Option<Canary>,
    /// When it was changed last.
    pub changed_at: Timestamp,
}

/// What can be done to a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginAct {
    /// Put a version in force.
    Activate {
        /// Which one.
        version: String,
        /// Its configuration: JSON.
        config: String,
    },
    /// Back to the version and configuration before; with a canary under way, only that ends.
    Rollback,
    /// Never activate a version again. It cannot be in force or on trial.
    Retire {
        /// Which one.
        version: String,
    },
    /// Try a version on some orders.
    StartCanary {
        /// Which one.
        version: String,
        /// Its configuration: JSON.
        config: String,
        /// Which orders.
        share: Share,
        /// When it has failed too often.
        budget: Budget,
    },
    /// Give the canary other orders; its runs are counted on.
    ChangeCanary {
        /// Which orders.
        share: Share,
    },
    /// Make the canary the active version.
    PromoteCanary,
    /// End the trial.
    StopCanary,
}

impl PluginAct {
    /// The word for it in the audit table.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Activate { .. } => "plugins.activate",
            Self::Rollback => "plugins.rollback",
            Self::Retire { .. } => "plugins.retire",
            Self::StartCanary { .. } => "plugins.canary-start",
            Self::ChangeCanary { .. } => "plugins.canary-change",
            Self::PromoteCanary => "plugins.canary-promote",
            Self::StopCanary => "plugins.canary-stop",
        }
    }
}

/// An act on a plugin, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInstruction {
    /// Name of the plugin.
    pub name: String,
    /// What to do.
    pub act: PluginAct,
    /// The revision of its rollout that this rests on; 0 where it was never activated.
    pub revision: i64,
    /// Who wants it, 1 to 128 characters.
    pub who: String,
    /// Why, 1 to [`WHY_MAX`](crate::WHY_MAX) characters.
    pub why: String,
}

/// What became of an act on a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginActed {
    /// It is done.
    Done {
        /// How the plugin stands now; `None` where it was never activated.
        rollout: Option<Box<Rollout>>,
        /// What changed, for people.
        told: String,
    },
    /// Somebody else acted in between.
    Stale {
        /// The revision that the plugin is at.
        revision: i64,
    },
    /// There is no such version.
    NotFound,
    /// The act makes no sense as things stand.
    Refused {
        /// How they stand.
        why: String,
    },
}

/// Runs that a host has counted since it counted last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedRuns {
    /// Name of the plugin.
    pub name: String,
    /// The trial they belong to.
    pub round: i64,
    /// Runs of the active version.
    pub active: Runs,
    /// Runs of the canary.
    pub canary: Runs,
}

/// A canary that was ended because it failed too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossed {
    /// Name of the plugin.
    pub name: String,
    /// The version that was on trial.
    pub version: String,
    /// Why.
    pub why: String,
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// The process.
    pub host: String,
    /// The machine that it runs on.
    pub machine: String,
    /// The revision that it has looked at last.
    pub revision: i64,
    /// What is wanted and what is in force: JSON.
    pub report: String,
    /// When it said so.
    pub seen_at: Timestamp,
}

//! A loaded plugin: checked, compiled, linked, ready to run.

use std::fmt;
use std::sync::Arc;

use crate::bindings::ProcessorPre;
use crate::descriptor::Descriptor;
use crate::engine::Rooms;
use crate::grants::Grants;
use crate::limits::Limits;
use crate::load;
use crate::state::{RunState, Terms};

/// A plugin that may be run. Made by [`crate::engine::Sandbox::load`] and nowhere else.
pub struct Plugin {
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) pre: ProcessorPre<RunState>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) descriptor: Descriptor,
    pub(crate) sha256: String,
    pub(crate) names: Names,
}

/// What a plugin is called by those who keep count of its runs: for each of them, and so shared.
#[derive(Clone)]
pub(crate) struct Names {
    plugin: Arc<str>,
    identity: Arc<str>,
}

impl Names {
    pub(crate) fn of(descriptor: &Descriptor, sha256: &str, revision: &str) -> Self {
        let identity = format!("{sha256}.{revision}").into();
        Self { plugin: descriptor.name.as_str().into(), identity }
    }
}

impl Plugin {
    /// The same plugin with another configuration. Nothing is compiled: the two share their code.
    #[must_use]
    pub fn with_config(&self, config: serde_json::Value) -> Self {
        let terms = Terms {
            name: self.terms.name.clone(),
            version: self.terms.version.clone(),
            limits: self.terms.limits.clone(),
            grants: self.terms.grants.clone(),
            revision: load::revision(&config),
            config,
        };
        let names = Names::of(&self.descriptor, &self.sha256, &terms.revision);
        Self {
            rooms: Arc::clone(&self.rooms),
            names,
            pre: self.pre.clone(),
            terms: Arc::new(terms),
            descriptor: self.descriptor.clone(),
            sha256: self.sha256.clone(),
        }
    }

    /// What it says of itself.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Its name, as the descriptor has it.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.names.plugin
    }

    /// Component and configuration: what is mended by either begins with a clean record.
    #[must_use]
    pub fn identity(&self) -> &Arc<str> {
        &self.names.identity
    }

    /// SHA-256 of the component file, in hexadecimal: names this exact build.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.terms.limits
    }

    /// What it may touch.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.terms.grants
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &serde_json::Value {
        &self.terms.config
    }

    /// Identity of its configuration.
    #[must_use]
    pub fn config_revision(&self) -> &str {
        &self.terms.revision
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("descriptor", &self.descriptor)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

//! The components at hand: those of the configuration's files, files that are named, and those
//! that were pushed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use callgate_package::{Policies, admit};
use callgate_sandbox::engine::Sandbox;
use callgate_sandbox::load::Source;
use callgate_sandbox::plugin::Plugin;
use callgate_store::{PluginVersion, ReadOnly};
use serde_json::Value;

use crate::config::Config;
use crate::packages;

/// Loads components on the terms that they have in this configuration.
pub(super) struct Cast {
    sandbox: Sandbox,
    policies: Policies,
    store: ReadOnly,
    /// By SHA-256 of the component.
    loaded: BTreeMap<String, Arc<Plugin>>,
}

impl Cast {
    /// Loads what the configuration names.
    pub(super) async fn new(config: &Config, store: ReadOnly) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(config.sandbox.clone()).context("sandbox")?;
        let policies = config.policies.clone();
        let mut cast = Self { sandbox, policies, store, loaded: BTreeMap::new() };
        for (name, settings) in &config.plugins {
            let package = packages::read(name, settings, &cast.policies).await?;
            let plugin = cast.sandbox.load(package.source).await;
            let place = || format!("plugins.{name}: {}", settings.file.display());
            cast.keep(Arc::new(plugin.with_context(place)?));
        }
        Ok(cast)
    }

    /// What a word of the command line names.
    ///
    /// # Errors
    /// Where there is no such component, or it is refused.
    pub(super) async fn named(
        &mut self,
        word: &str,
        values: Option<Value>,
    ) -> anyhow::Result<Arc<Plugin>> {
        let file = PathBuf::from(word);
        if file.is_file() {
            return self.file(&file, values).await;
        }
        let (name, version) =
            word.rsplit_once('@').context("there is no such file, and it is not NAME@VERSION")?;
        let found = self.store.plugin_version(name, version).await?;
        let found = found.context("there is no such file, and no such version was pushed")?;
        self.pushed(&found, values).await
    }

    /// The component that ran, with the configuration that its version was activated with last;
    /// `None` where it is not at hand.
    pub(super) async fn ran(&mut self, sha256: &str) -> anyhow::Result<Option<Arc<Plugin>>> {
        if let Some(plugin) = self.loaded.get(sha256) {
            return Ok(Some(Arc::clone(plugin)));
        }
        let Some(version) = self.store.version_of(sha256).await? else { return Ok(None) };
        let plugin = self.pushed(&version, None).await.with_context(|| {
            format!("{} {}, which ran, is refused now", version.name, version.version)
        })?;
        self.keep(Arc::clone(&plugin));
        Ok(Some(plugin))
    }

    /// A version on the terms of its manifest.
    async fn pushed(
        &self,
        version: &PluginVersion,
        values: Option<Value>,
    ) -> anyhow::Result<Arc<Plugin>> {
        let bytes = self.store.component(&version.sha256).await?;
        let bytes = bytes.context("its component is not stored")?;
        let admitted = admit(version.manifest.as_bytes(), &bytes, &self.policies);
        let admitted = admitted.map_err(packages::coded)?;
        let config = match values {
            Some(values) => values,
            None => self.config(version).await?,
        };
        let (limits, grants) = (admitted.limits, admitted.grants);
        Ok(Arc::new(self.sandbox.load(Source { bytes, limits, grants, config }).await?))
    }

    /// What a version's processor reads: what it was activated with last, else what the version in
    /// force reads.
    async fn config(&self, version: &PluginVersion) -> anyhow::Result<Value> {
        let name = version.name.as_str();
        let own = self.store.last_config(name, &version.version).await?;
        if let Some(config) = own {
            return serde_json::from_str(&config).context("its stored configuration");
        }
        let rollouts = self.store.rollouts().await?.into_iter();
        let active = rollouts.filter(|one| one.name == name).find_map(|one| one.active);
        if let Some(active) = active {
            return serde_json::from_str(&active.config).context("the stored configuration");
        }
        let configured = self.loaded.values().find(|one| one.descriptor().name == name);
        Ok(configured
            .map_or_else(|| Value::Object(serde_json::Map::new()), |one| one.config().clone()))
    }

    /// A file on the terms of the version in force: the pushed one, else the configured one.
    async fn file(&mut self, file: &Path, values: Option<Value>) -> anyhow::Result<Arc<Plugin>> {
        let shown = || format!("{} cannot be read", file.display());
        let bytes = tokio::fs::read(file).await.with_context(shown)?;
        // Who it is, before it is known what it may do.
        let alone = Source { bytes: bytes.clone(), ..Source::default() };
        let name = self.sandbox.load(alone).await?.descriptor().name.clone();
        let terms = self.terms(&name).await?;
        let source = Source {
            bytes,
            limits: terms.limits().clone(),
            grants: terms.grants().clone(),
            config: values.unwrap_or_else(|| terms.config().clone()),
        };
        Ok(Arc::new(self.sandbox.load(source).await?))
    }

    /// The version of a plugin that is in force.
    async fn terms(&self, name: &str) -> anyhow::Result<Arc<Plugin>> {
        let rollouts = self.store.rollouts().await?.into_iter();
        if let Some(active) = rollouts.filter(|one| one.name == name).find_map(|one| one.active) {
            let version = self.store.plugin_version(name, &active.version).await?;
            let version = version.context("the version in force is not stored")?;
            return self.pushed(&version, None).await;
        }
        let terms = self.loaded.values().find(|one| one.descriptor().name == name);
        terms.cloned().with_context(|| {
            format!("no plugin in force or in the configuration is {name}: what may it do?")
        })
    }

    fn keep(&mut self, plugin: Arc<Plugin>) {
        self.loaded.insert(plugin.sha256().to_owned(), plugin);
    }
}

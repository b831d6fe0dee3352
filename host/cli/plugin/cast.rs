//! The components at hand: those of the configuration's files, files that are named, and those
//! that were pushed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use callgate_sandbox::engine::Sandbox;
use callgate_sandbox::grants::Grants;
use callgate_sandbox::load::Source;
use callgate_sandbox::plugin::Plugin;
use callgate_store::ReadOnly;
use serde_json::Value;

use crate::config::Config;

/// Loads components on the terms that they have in this configuration.
pub(super) struct Cast {
    sandbox: Sandbox,
    #[expect(dead_code, reason = "components that were pushed come from here")]
    store: ReadOnly,
    /// By SHA-256 of the component.
    loaded: BTreeMap<String, Arc<Plugin>>,
}

impl Cast {
    /// Loads what the configuration names.
    pub(super) async fn new(config: &Config, store: ReadOnly) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(config.sandbox.clone()).context("sandbox")?;
        let mut cast = Self { sandbox, store, loaded: BTreeMap::new() };
        for (name, settings) in &config.plugins {
            let place = || format!("plugins.{name}: {}", settings.file.display());
            let source = Source {
                bytes: read(&settings.file).await?,
                limits: settings.limits.clone(),
                grants: Grants {
                    businesses: Some(settings.businesses.iter().cloned().collect()),
                    ..settings.grants.clone()
                },
                config: settings.config.clone(),
            };
            let plugin = cast.sandbox.load(source).await.with_context(place)?;
            cast.keep(plugin);
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
        anyhow::bail!("there is no such file, and no version of this name was pushed")
    }

    /// The component that ran; `None` where it is not at hand.
    pub(super) async fn ran(&mut self, sha256: &str) -> anyhow::Result<Option<Arc<Plugin>>> {
        Ok(self.loaded.get(sha256).cloned())
    }

    /// A file on the terms of the configured plugin of the same name.
    async fn file(&mut self, file: &Path, values: Option<Value>) -> anyhow::Result<Arc<Plugin>> {
        let bytes = read(file).await?;
        // Who it is, before it is known what it may do.
        let alone = Source { bytes: bytes.clone(), ..Source::default() };
        let name = self.sandbox.load(alone).await?.descriptor().name.clone();
        let terms = self.loaded.values().find(|one| one.descriptor().name == name);
        let terms = terms.with_context(|| {
            format!("no plugin of the configuration is {name}: its grants are not known")
        })?;
        let source = Source {
            bytes,
            limits: terms.limits().clone(),
            grants: terms.grants().clone(),
            config: values.unwrap_or_else(|| terms.config().clone()),
        };
        Ok(Arc::new(self.sandbox.load(source).await?))
    }

    fn keep(&mut self, plugin: Plugin) {
        self.loaded.insert(plugin.sha256().to_owned(), Arc::new(plugin));
    }
}

async fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(file).await.with_context(|| format!("{} cannot be read", file.display()))
}

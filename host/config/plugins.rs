//! Plugins: which files hold processors, for whom, and what they may do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use serde::Deserialize;

use crate::engine::BreakerSettings;

use super::{ConfigError, NAME_OF_BUSINESS, beside, check_name};

/// Settings of one plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// The component.
    pub file: PathBuf,
    /// Its signed manifest. With one, the plugin is held to it, and businesses, grants and limits
    /// stand there; without one it counts as unsigned.
    pub manifest: Option<PathBuf>,
    /// For whom it may claim routes.
    #[serde(default)]
    pub businesses: Vec<String>,
    /// What the processor reads through `config`.
    #[serde(default = "empty_object")]
    pub config: serde_json::Value,
    /// What it may touch besides its subject.
    #[serde(default)]
    pub grants: Grants,
    /// What it may use up.
    #[serde(default)]
    pub limits: Limits,
    /// When it counts as broken: what differs from `[engine.breaker]`.
    #[serde(default)]
    pub breaker: BreakerPart,
}

/// What differs from the breaker of all plugins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerPart {
    window: Option<usize>,
    runs_min: Option<usize>,
    restrict_percent: Option<u32>,
    open_percent: Option<u32>,
    open_ms: Option<u32>,
    open_max_ms: Option<u32>,
    probes: Option<u32>,
}

impl PluginSettings {
    /// Its breaker, where it is not that of all.
    #[must_use]
    pub fn breaker(&self, all: BreakerSettings) -> Option<BreakerSettings> {
        let part = &self.breaker;
        (*part != BreakerPart::default()).then(|| BreakerSettings {
            window: part.window.unwrap_or(all.window),
            runs_min: part.runs_min.unwrap_or(all.runs_min),
            restrict_percent: part.restrict_percent.unwrap_or(all.restrict_percent),
            open_percent: part.open_percent.unwrap_or(all.open_percent),
            open_ms: part.open_ms.unwrap_or(all.open_ms),
            open_max_ms: part.open_max_ms.unwrap_or(all.open_max_ms),
            probes: part.probes.unwrap_or(all.probes),
        })
    }
}

/// Holds the breakers of plugins against their bounds.
pub(super) fn check(
    plugins: BTreeMap<String, PluginSettings>,
    all: BreakerSettings,
) -> Result<BTreeMap<String, PluginSettings>, ConfigError> {
    for (name, plugin) in &plugins {
        if let Some(Err((field, problem))) = plugin.breaker(all).map(|breaker| breaker.check()) {
            return Err(ConfigError::new(format!("plugins.{name}.breaker.{field}"), problem));
        }
    }
    Ok(plugins)
}

fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

pub(super) fn read(
    table: toml::Table,
    businesses: &[&str],
    folder: &Path,
) -> Result<BTreeMap<String, PluginSettings>, ConfigError> {
    let mut plugins = BTreeMap::new();
    for (name, value) in table {
        let key = format!("plugins.{name}");
        check_name(&key, &name, NAME_OF_BUSINESS)?;
        check_terms(&value, &key)?;
        let mut plugin: PluginSettings = super::read(value, &key)?;
        for business in &plugin.businesses {
            if !businesses.contains(&business.as_str()) {
                let problem =
                    format!("`{business}` is not configured, expected [businesses.{business}]");
                return Err(ConfigError::new(format!("{key}.businesses"), problem));
            }
        }
        plugin.file = beside(folder, &plugin.file.to_string_lossy());
        plugin.manifest =
            plugin.manifest.map(|manifest| beside(folder, &manifest.to_string_lossy()));
        plugins.insert(name, plugin);
    }
    Ok(plugins)
}

/// The terms of a plugin stand in one place: its manifest, or the configuration.
fn check_terms(plugin: &toml::Value, key: &str) -> Result<(), ConfigError> {
    if plugin.get("manifest").is_none() {
        return match plugin.get("businesses") {
            Some(_) => Ok(()),
            None => Err(ConfigError::new(
                format!("{key}.businesses"),
                "is missing, expected the businesses that the plugin may claim routes of, or a \
                 signed `manifest`",
            )),
        };
    }
    match ["businesses", "grants", "limits"].into_iter().find(|term| plugin.get(term).is_some()) {
        None => Ok(()),
        Some(term) => Err(ConfigError::new(
            format!("{key}.{term}"),
            "stands beside `manifest`, expected in the manifest alone; what it may ask for there \
             says [businesses.NAME.policy]",
        )),
    }
}

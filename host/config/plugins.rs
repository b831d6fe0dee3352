//! Plugins: which files hold processors, for whom, and what they may do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use serde::Deserialize;

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

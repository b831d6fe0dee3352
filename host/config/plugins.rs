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
    /// For whom it may claim routes.
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
        let mut plugin: PluginSettings = super::read(value, &key)?;
        for business in &plugin.businesses {
            if !businesses.contains(&business.as_str()) {
                let problem =
                    format!("`{business}` is not configured, expected [businesses.{business}]");
                return Err(ConfigError::new(format!("{key}.businesses"), problem));
            }
        }
        plugin.file = beside(folder, &plugin.file.to_string_lossy());
        plugins.insert(name, plugin);
    }
    Ok(plugins)
}

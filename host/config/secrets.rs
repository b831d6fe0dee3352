//! `x_file`, `x_files` and `x_env`: where the text of a key `x` is found.

use std::path::Path;

use super::{ConfigError, beside, files};

/// Replaces every `x_file` by `x` with the file's text, every `x_files` by `xs` with the texts,
/// every `x_env` by `x` with the variable's text; in tables and lists below, too.
pub(super) fn resolve(
    table: toml::Table,
    prefix: &str,
    folder: &Path,
) -> Result<toml::Table, ConfigError> {
    let mut resolved = toml::Table::new();
    for (key, value) in table {
        let full = format!("{prefix}.{key}");
        let (name, value) = if let Some(name) = key.strip_suffix("_file") {
            (name.to_owned(), read_file(&full, &value, folder)?)
        } else if let Some(name) = key.strip_suffix("_files") {
            (format!("{name}s"), read_files(&full, value, folder)?)
        } else if let Some(name) = key.strip_suffix("_env") {
            (name.to_owned(), read_variable(&full, &value)?)
        } else {
            (key, below(value, &full, folder)?)
        };
        if resolved.insert(name.clone(), value).is_some() {
            let problem = format!("`{prefix}.{name}` is given twice, expected it in one form");
            return Err(ConfigError::new(full, problem));
        }
    }
    Ok(resolved)
}

fn below(value: toml::Value, key: &str, folder: &Path) -> Result<toml::Value, ConfigError> {
    if let toml::Value::Table(table) = value {
        return Ok(toml::Value::Table(resolve(table, key, folder)?));
    }
    if let toml::Value::Array(items) = value {
        let numbered = items.into_iter().enumerate();
        let items = numbered.map(|(nth, item)| below(item, &format!("{key}[{nth}]"), folder));
        return Ok(toml::Value::Array(items.collect::<Result<_, _>>()?));
    }
    Ok(value)
}

fn read_files(key: &str, value: toml::Value, folder: &Path) -> Result<toml::Value, ConfigError> {
    let toml::Value::Array(paths) = value else {
        return Err(ConfigError::new(key, "expected a list of paths"));
    };
    let numbered = paths.iter().enumerate();
    let texts = numbered.map(|(nth, path)| read_file(&format!("{key}[{nth}]"), path, folder));
    Ok(toml::Value::Array(texts.collect::<Result<_, _>>()?))
}

fn read_file(key: &str, value: &toml::Value, folder: &Path) -> Result<toml::Value, ConfigError> {
    let path = value.as_str().ok_or_else(|| {
        ConfigError::new(key, format!("found {}, expected a path", value.type_str()))
    })?;
    let full = beside(folder, path);
    let text = files::read(key, &full).map_err(|error| {
        ConfigError::new(key, format!("{} cannot be read: {error}", full.display()))
            .coded(ConfigError::FILE)
    })?;
    Ok(toml::Value::String(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[expect(clippy::disallowed_methods, reason = "configuration is where variables are read")]
fn read_variable(key: &str, value: &toml::Value) -> Result<toml::Value, ConfigError> {
    let name = value.as_str().ok_or_else(|| {
        ConfigError::new(key, format!("found {}, expected a variable's name", value.type_str()))
    })?;
    std::env::var(name).map(toml::Value::String).map_err(|error| {
        // In words of our own: the library's would show the value.
        let problem = match error {
            std::env::VarError::NotPresent => "is not set",
            std::env::VarError::NotUnicode(_) => "is not UTF-8",
        };
        ConfigError::new(key, format!("environment variable {name} {problem}"))
    })
}

//! What a business allows its front ends: `[businesses.B.status]`.

use std::path::Path;

use callgate_core::secret::Secret;
use serde::Deserialize;

use super::{ConfigError, read, secrets};
use crate::inbound::status::front::{Front, Origin};
use crate::inbound::status::token::{Key, Keys};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    keys: Vec<KeyFields>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFields {
    id: String,
    secret: Secret,
}

/// Takes what is about front ends out of the table of a business.
pub(super) fn take_front(
    business: &mut toml::Table,
    key: &str,
    folder: &Path,
) -> Result<Front, ConfigError> {
    let at = format!("{key}.status");
    let fields = match business.remove("status") {
        None => return Ok(Front::default()),
        Some(toml::Value::Table(fields)) => secrets::resolve(fields, &at, folder)?,
        Some(other) => {
            let found = other.type_str();
            return Err(ConfigError::new(at, format!("found {found}, expected a table")));
        }
    };
    let fields: Fields = read(toml::Value::Table(fields), &at)?;
    let mut origins = Vec::with_capacity(fields.origins.len());
    for (number, text) in fields.origins.iter().enumerate() {
        let origin = Origin::parse(text)
            .map_err(|problem| ConfigError::new(format!("{at}.origins[{number}]"), problem))?;
        origins.push(origin);
    }
    let mut keys: Vec<Key> = Vec::with_capacity(fields.keys.len());
    for (number, KeyFields { id, secret }) in fields.keys.iter().enumerate() {
        let problem = |(field, problem): (&str, String)| {
            let error = ConfigError::new(format!("{at}.keys[{number}].{field}"), problem);
            if field == "secret" { error.coded(ConfigError::KEY) } else { error }
        };
        let key = Key::new(id, secret.expose()).map_err(problem)?;
        if keys.iter().any(|one| one.id() == id) {
            return Err(problem(("id", format!("`{id}` is given twice"))));
        }
        keys.push(key);
    }
    Ok(Front { keys: Keys::new(keys), origins })
}

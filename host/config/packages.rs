//! Who signs plugins for a business, and what its plugins may ask for: `[businesses.B]` without
//! its tokens.

use std::collections::BTreeMap;
use std::path::Path;

use callgate_package::key::PublicKey;
use callgate_package::policy::{Policy, Rules};
use callgate_package::signed::Signer;
use serde::Deserialize;

use super::{ConfigError, read, secrets};

/// One of `[[businesses.B.plugin_keys]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    id: String,
    public_key: String,
}

/// Takes what is about plugins out of the table of a business.
pub(super) fn take_policy(
    business: &mut toml::Table,
    key: &str,
    folder: &Path,
) -> Result<Policy, ConfigError> {
    let mut take = |field: &str| (format!("{key}.{field}"), business.remove(field));
    let (at, allow_unsigned) = take("allow_unsigned");
    let allow_unsigned = allow_unsigned.map(|value| read(value, &at)).transpose()?;
    let (at, rules) = take("policy");
    let rules: Option<Rules> = rules.map(|value| read(value, &at)).transpose()?;
    let (at, listed) = take("plugin_keys");
    Ok(Policy {
        keys: listed.map(|listed| keys(listed, &at, folder)).transpose()?.unwrap_or_default(),
        allow_unsigned: allow_unsigned.unwrap_or_default(),
        rules: rules.unwrap_or_default(),
    })
}

fn keys(
    listed: toml::Value,
    at: &str,
    folder: &Path,
) -> Result<BTreeMap<String, PublicKey>, ConfigError> {
    let toml::Value::Array(listed) = listed else {
        return Err(ConfigError::new(at, "expected a list: [[businesses.NAME.plugin_keys]]"));
    };
    let mut keys = BTreeMap::new();
    for (number, fields) in listed.into_iter().enumerate() {
        let at = format!("{at}[{number}]");
        let toml::Value::Table(fields) = fields else {
            return Err(ConfigError::new(at, "expected a table"));
        };
        let fields = secrets::resolve(fields, &at, folder)?;
        let Key { id, public_key } = read(toml::Value::Table(fields), &at)?;
        let problem =
            |field: &str, problem: String| ConfigError::new(format!("{at}.{field}"), problem);
        if Signer::new("any", &id).is_err() {
            let expected = "expected 1 to 64 characters of A-Z a-z 0-9 _ - .";
            return Err(problem("id", expected.to_owned()));
        }
        let public_key = match PublicKey::from_pem(&public_key) {
            Ok(public_key) => public_key,
            Err(error) => {
                return Err(problem("public_key", error.to_string()).coded(ConfigError::KEY));
            }
        };
        if keys.insert(id.clone(), public_key).is_some() {
            return Err(problem("id", format!("`{id}` is given twice")));
        }
    }
    Ok(keys)
}

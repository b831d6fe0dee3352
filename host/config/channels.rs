//! Channels: a gateway with an account, keys, a business and a scene.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use callgate_core::gateway;
use serde::Deserialize;

use super::{ConfigError, NAME_OF_BUSINESS, NAME_OF_CHANNEL, check_name, read, secrets, sinks};
use crate::engine::inquire;
use crate::inbound::asking::AskSettings;
use crate::inbound::channel::{AnswerWhen, Channel};
use crate::inbound::networks::Networks;

/// The fields that every channel has; the rest belongs to the gateway.
#[derive(Debug, Deserialize)]
struct Common {
    business: String,
    scene: String,
    #[serde(default)]
    answer: AnswerWhen,
    #[serde(default = "default_answer_within_ms")]
    answer_within_ms: u32,
    #[serde(default)]
    networks: Networks,
    #[serde(default)]
    ask: AskSettings,
}

/// Well inside the five seconds that gateways wait.
fn default_answer_within_ms() -> u32 {
    3000
}

/// Longer would let a gateway's five seconds pass.
const ANSWER_WITHIN_MS_MAX: u32 = 4500;

pub(super) fn open(
    table: toml::Table,
    businesses: &[&str],
    folder: &Path,
) -> Result<BTreeMap<String, Arc<Channel>>, ConfigError> {
    let mut channels = BTreeMap::new();
    for (name, value) in table {
        let key = format!("channels.{name}");
        check_name(&key, &name, NAME_OF_CHANNEL)?;
        let toml::Value::Table(fields) = value else {
            return Err(ConfigError::new(key, "expected a table"));
        };
        let channel = open_one(&name, &key, secrets::resolve(fields, &key, folder)?)?;
        if !businesses.contains(&channel.business.as_str()) {
            let business = &channel.business;
            let problem =
                format!("`{business}` is not configured, expected [businesses.{business}]");
            return Err(ConfigError::new(format!("{key}.business"), problem));
        }
        channels.insert(name, Arc::new(channel));
    }
    Ok(channels)
}

fn open_one(name: &str, key: &str, mut fields: toml::Table) -> Result<Channel, ConfigError> {
    let mut common = toml::Table::new();
    for field in ["business", "scene", "answer", "answer_within_ms", "networks", "ask"] {
        if let Some(value) = fields.remove(field) {
            common.insert(field.to_owned(), value);
        }
    }
    let common: Common = read(toml::Value::Table(common), key)?;
    check_name(&format!("{key}.scene"), &common.scene, NAME_OF_BUSINESS)?;
    if !(1..=ANSWER_WITHIN_MS_MAX).contains(&common.answer_within_ms) {
        let problem =
            format!("found {}, expected 1 to {ANSWER_WITHIN_MS_MAX}", common.answer_within_ms);
        return Err(ConfigError::new(format!("{key}.answer_within_ms"), problem));
    }
    common
        .ask
        .check()
        .map_err(|(field, problem)| ConfigError::new(format!("{key}.ask.{field}"), problem))?;
    sinks::roots(common.ask.roots(), &format!("{key}.ask"))?;
    let settings: gateway::Settings = read(toml::Value::Table(fields), key)?;
    let gateway = gateway::open(settings).map_err(|error| {
        ConfigError::new(format!("{key}.{}", error.field), error.problem).coded(error.code)
    })?;
    let channel = Channel {
        name: name.to_owned(),
        business: common.business,
        scene: common.scene,
        answer: common.answer,
        answer_within_ms: common.answer_within_ms,
        networks: common.networks,
        ask: common.ask,
        gateway,
    };
    if channel.gateway.inquiry().is_some() {
        inquire::caller(&channel)
            .map_err(|error| ConfigError::new(format!("{key}.ask"), error.to_string()))?;
    }
    Ok(channel)
}

//! For tests: the engine's own gateways, opened with the keys that sign here.

use std::sync::{Arc, LazyLock};

use callgate_core::gateway::{self, Gateway, Refusal};
use callgate_core::notification::Verified;
use callgate_core::request::Request;
use callgate_core::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use toml::Value;

use crate::channel::Channel;
use crate::keys::Keys;
use crate::message::Message;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_795_226_406);

/// Keys for tests that do not care which; making them takes a while.
pub(crate) fn keys() -> &'static Keys {
    static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::generate(NOW).unwrap());
    &KEYS
}

/// Opens a channel from the very configuration that the keys write.
pub(crate) fn open(keys: &Keys, channel: Channel) -> Arc<dyn Gateway> {
    let config: toml::Table = keys.channels_toml("keys").parse().unwrap();
    let mut table = config["channels"][channel.name()].as_table().unwrap().clone();
    assert_eq!(table.remove("business"), Some(Value::from("PRODUCT_ORDER")));
    assert_eq!(table.remove("scene"), Some(Value::from(channel.scene())));
    let files = keys.files().unwrap();
    let read = |path: &str| {
        let name = path.strip_prefix("keys/").unwrap();
        files.iter().find(|file| file.name == name).unwrap().content.clone()
    };
    let settings = Value::Table(loaded(table, &read)).try_into().unwrap();
    gateway::open(settings).unwrap()
}

/// `x_file = path` becomes `x = content`, `x_files` becomes `xs`: what the server's loader does.
fn loaded(table: toml::Table, read: &dyn Fn(&str) -> String) -> toml::Table {
    let content = |path: &Value| Value::from(read(path.as_str().unwrap()));
    let contents = |paths: Value| match paths.as_array() {
        Some(paths) => Value::Array(paths.iter().map(content).collect()),
        None => content(&paths),
    };
    let inner = |value: Value| match value.as_table() {
        Some(table) => Value::Table(loaded(table.clone(), read)),
        None => value,
    };
    table
        .into_iter()
        .map(|(key, value)| match (key.strip_suffix("_file"), key.strip_suffix("_files"), value) {
            (Some(key), _, value) => (key.to_owned(), contents(value)),
            (_, Some(key), value) => (format!("{key}s"), contents(value)),
            (_, _, Value::Array(list)) => {
                (key, Value::Array(list.into_iter().map(inner).collect()))
            }
            (_, _, value) => (key, value),
        })
        .collect()
}

/// Hands a message to a gateway as the server would.
pub(crate) fn verify(
    gateway: &dyn Gateway,
    message: &Message,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in &message.headers {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    gateway.verify(
        &Request {
            method: "POST",
            path: &message.path,
            query: "",
            headers: &headers,
            body: &message.body,
        },
        now,
    )
}

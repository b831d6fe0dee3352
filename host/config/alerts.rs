//! Alerts: limits, and the webhooks that are told.

use std::path::Path;

use callgate_core::secret::Secret;
use callgate_store::Severity;
use reqwest::Url;
use serde::Deserialize;

use super::{ConfigError, NAME_OF_CHANNEL, check_name, read, secrets, sinks};
use crate::engine::alert::Settings;
use crate::engine::alert::robot::{Robot, RobotKind, WebhookSettings};
use crate::outbound::address::Reach;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    kind: RobotKind,
    /// The address of a robot holds its key.
    url: Secret,
    #[serde(default)]
    secret: Option<Secret>,
    #[serde(default = "least")]
    severity: Severity,
    #[serde(default = "per_minute")]
    per_minute: u32,
    #[serde(default = "timeout_ms")]
    timeout_ms: u32,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    ca: Option<String>,
    #[serde(default)]
    cas: Vec<String>,
}

/// Reads `[alerts]`, and `[alerts.webhooks.NAME]` with its secrets.
pub(super) fn open(
    mut table: toml::Table,
    folder: &Path,
) -> Result<(Settings, Vec<WebhookSettings>), ConfigError> {
    let webhooks = match table.remove("webhooks") {
        None => toml::Table::new(),
        Some(toml::Value::Table(webhooks)) => webhooks,
        Some(other) => {
            let problem =
                format!("found {}, expected a table [alerts.webhooks.NAME]", other.type_str());
            return Err(ConfigError::new("alerts.webhooks", problem));
        }
    };
    let settings: Settings = read(toml::Value::Table(table), "alerts")?;
    settings
        .check()
        .map_err(|(field, problem)| ConfigError::new(format!("alerts.{field}"), problem))?;
    let webhooks = webhooks.into_iter().map(|(name, value)| open_one(name, value, folder));
    Ok((settings, webhooks.collect::<Result<_, _>>()?))
}

fn open_one(
    name: String,
    value: toml::Value,
    folder: &Path,
) -> Result<WebhookSettings, ConfigError> {
    let key = format!("alerts.webhooks.{name}");
    check_name(&key, &name, NAME_OF_CHANNEL)?;
    let toml::Value::Table(fields) = value else {
        return Err(ConfigError::new(key, "expected a table"));
    };
    let fields = secrets::resolve(fields, &key, folder)?;
    let webhook: Webhook = read(toml::Value::Table(fields), &key)?;
    let wrong = |field: &str, problem: String| ConfigError::new(format!("{key}.{field}"), problem);
    for (field, found, (least, most)) in [
        ("per_minute", webhook.per_minute, (1, 600)),
        ("timeout_ms", webhook.timeout_ms, (100, 60_000)),
    ] {
        if !(least..=most).contains(&found) {
            return Err(wrong(field, format!("found {found}, expected {least} to {most}")));
        }
    }
    // Nothing of the text is shown: a robot's key stands in it.
    let url = webhook.url.expose().trim().parse::<Url>();
    let url = url.map_err(|_| wrong("url", "expected https://host/path".to_owned()))?;
    let settings = WebhookSettings {
        kind: webhook.kind,
        url,
        secret: webhook.secret,
        least: webhook.severity,
        per_minute: webhook.per_minute,
        timeout_ms: webhook.timeout_ms,
        reach: if webhook.allow_private { Reach::Anywhere } else { Reach::Public },
        roots: sinks::roots(webhook.ca.iter().chain(&webhook.cas), &key)?,
        name,
    };
    Robot::new(settings.clone()).map_err(|(field, problem)| {
        let error = wrong(field, problem);
        if field == "secret" { error.coded(ConfigError::KEY) } else { error }
    })?;
    Ok(settings)
}

fn least() -> Severity {
    Severity::Warning
}

/// Robots take 20; two are left for people who try it.
fn per_minute() -> u32 {
    18
}

fn timeout_ms() -> u32 {
    5_000
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::open;
    use crate::config::default_text;

    fn opened(more: &str) -> Result<usize, String> {
        let mut table: toml::Table = default_text().parse().expect("the defaults");
        let Some(toml::Value::Table(mut alerts)) = table.remove("alerts") else {
            panic!("the defaults have alerts");
        };
        let more: toml::Table = more.parse().expect("TOML");
        alerts.extend(more);
        let opened = open(alerts, Path::new("/nowhere"));
        opened.map(|(_, webhooks)| webhooks.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(opened(""), Ok(0));
    }

    #[test]
    fn each_kind_of_robot_is_read() {
        let robots = "webhooks.a = { kind = \"feishu\", url = \"https://a.example/x\", secret = \"s\" }\n\
            webhooks.b = { kind = \"dingtalk\", url = \"https://b.example/x?access_token=1\" }\n\
            webhooks.c = { kind = \"wecom\", url = \"https://c.example/x?key=1\" }\n\
            webhooks.d = { kind = \"json\", url = \"http://10.0.0.1/x\", allow_private = true }";
        assert_eq!(opened(robots), Ok(4));
    }

    #[test]
    fn a_mistake_names_its_key_and_shows_no_address() {
        for (text, key) in [
            ("webhooks.a = { kind = \"feishu\", url = \"sesame\" }", "alerts.webhooks.a.url"),
            (
                "webhooks.a = { kind = \"json\", url = \"http://127.0.0.1/sesame\" }",
                "alerts.webhooks.a.url",
            ),
            ("webhooks.a = { kind = \"irc\", url = \"https://sesame\" }", "alerts.webhooks.a.kind"),
            (
                "webhooks.a = { kind = \"wecom\", url = \"https://a.example/sesame\", secret = \"x\" }",
                "alerts.webhooks.a.secret",
            ),
            (
                "webhooks.a = { kind = \"wecom\", url = \"https://a.example/sesame\", \
                 per_minute = 0 }",
                "alerts.webhooks.a.per_minute",
            ),
            ("look_ms = 1", "alerts.look_ms"),
            (
                "parked = { over = 1, under = 2, for_ms = 0, severity = \"warning\" }",
                "alerts.parked.under",
            ),
            (
                "key_expiry = { over = 9, under = 8, for_ms = 0, severity = \"warning\" }",
                "alerts.key_expiry.under",
            ),
        ] {
            let error = opened(text).expect_err(text);
            assert!(error.contains(key), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}

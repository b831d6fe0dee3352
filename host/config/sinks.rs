//! Sinks: where events go.

use std::path::Path;

use callgate_core::retry::Backoff;
use callgate_core::secret::Secret;
use callgate_store::SinkStart;
use reqwest::{Certificate, Url};
use serde::Deserialize;

use super::{ConfigError, NAME_OF_BUSINESS, NAME_OF_CHANNEL, check_name, read, secrets};
use crate::engine::deliver::signature::SigningSecret;
use crate::engine::deliver::{
    CircuitSettings, NatsLogin, SinkSettings, TargetSettings, TopicPattern,
};
use crate::outbound::address::Reach;

/// What every sink has; `kind` and the rest belong to its target.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    topics: Vec<String>,
    #[serde(default)]
    businesses: Vec<String>,
    #[serde(default)]
    from: From,
    #[serde(default = "in_flight_max")]
    in_flight_max: usize,
    #[serde(default = "held_max")]
    held_max: usize,
    #[serde(default = "timeout_ms")]
    timeout_ms: u32,
    #[serde(default = "lease_ms")]
    lease_ms: u32,
    #[serde(default = "give_up_ms")]
    give_up_ms: u32,
    #[serde(default = "retry")]
    retry: Backoff,
    #[serde(default)]
    circuit: CircuitSettings,
}

/// Where a sink begins that is new.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    #[default]
    Now,
    Beginning,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Target {
    Http {
        url: String,
        #[serde(default)]
        secret: Option<Secret>,
        #[serde(default)]
        secrets: Vec<Secret>,
        #[serde(default)]
        allow_private: bool,
        #[serde(default)]
        ca: Option<String>,
        #[serde(default)]
        cas: Vec<String>,
    },
    Nats {
        url: String,
        #[serde(default = "subject")]
        subject: String,
        #[serde(default)]
        token: Option<Secret>,
        #[serde(default)]
        user: Option<String>,
        #[serde(default)]
        password: Option<Secret>,
    },
}

pub(super) fn open(
    table: toml::Table,
    businesses: &[&str],
    folder: &Path,
) -> Result<Vec<SinkSettings>, ConfigError> {
    let mut sinks = Vec::with_capacity(table.len());
    for (name, value) in table {
        let key = format!("sinks.{name}");
        check_name(&key, &name, NAME_OF_CHANNEL)?;
        let toml::Value::Table(fields) = value else {
            return Err(ConfigError::new(key, "expected a table"));
        };
        sinks.push(open_one(name, businesses, secrets::resolve(fields, &key, folder)?)?);
    }
    Ok(sinks)
}

fn open_one(
    name: String,
    businesses: &[&str],
    mut fields: toml::Table,
) -> Result<SinkSettings, ConfigError> {
    let key = format!("sinks.{name}");
    let mut own = toml::Table::new();
    for field in ["kind", "url", "secret", "secrets", "allow_private", "ca", "cas"]
        .into_iter()
        .chain(["subject", "token", "user", "password"])
    {
        if let Some(value) = fields.remove(field) {
            own.insert(field.to_owned(), value);
        }
    }
    let common: Common = read(toml::Value::Table(fields), &key)?;
    let target = target(read(toml::Value::Table(own), &key)?, &key)?;
    check(&common, businesses, &key)?;
    let topics = common.topics.iter().map(|text| {
        TopicPattern::parse(text).ok_or_else(|| {
            let problem = format!("found `{text}`, expected `order.paid`, `order.*` or `*`");
            ConfigError::new(format!("{key}.topics"), problem)
        })
    });
    Ok(SinkSettings {
        topics: topics.collect::<Result<_, _>>()?,
        businesses: (!common.businesses.is_empty())
            .then(|| common.businesses.iter().cloned().collect()),
        start: match common.from {
            From::Now => SinkStart::Now,
            From::Beginning => SinkStart::Beginning,
        },
        in_flight_max: common.in_flight_max,
        held_max: common.held_max,
        timeout_ms: common.timeout_ms,
        lease_ms: common.lease_ms,
        give_up_ms: i64::from(common.give_up_ms),
        retry: common.retry,
        circuit: common.circuit,
        target,
        name,
    })
}

fn check(common: &Common, businesses: &[&str], key: &str) -> Result<(), ConfigError> {
    let wrong =
        |field: &str, problem: String| Err(ConfigError::new(format!("{key}.{field}"), problem));
    if common.topics.is_empty() {
        return wrong("topics", "found none, expected such as [\"order.*\"]".to_owned());
    }
    for business in &common.businesses {
        check_name(&format!("{key}.businesses"), business, NAME_OF_BUSINESS)?;
        if !businesses.contains(&business.as_str()) {
            let problem =
                format!("`{business}` is not configured, expected [businesses.{business}]");
            return wrong("businesses", problem);
        }
    }
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    for (field, value, (least, most)) in [
        ("in_flight_max", wide(common.in_flight_max), (1, 256)),
        ("held_max", wide(common.held_max), (1, 100_000)),
        ("timeout_ms", u64::from(common.timeout_ms), (1, 60_000)),
        ("lease_ms", u64::from(common.lease_ms), (1, 600_000)),
        ("give_up_ms", u64::from(common.give_up_ms), (1, u64::from(u32::MAX))),
        ("retry.attempts_max", u64::from(common.retry.attempts_max), (1, 100_000)),
        ("circuit.failures", wide(common.circuit.failures), (1, 10_000)),
    ] {
        if !(least..=most).contains(&value) {
            return wrong(field, format!("found {value}, expected {least} to {most}"));
        }
    }
    // A host renews after a quarter of the lease, and begins no attempt that could outlive it.
    if common.lease_ms < common.timeout_ms.saturating_mul(2) {
        let (lease_ms, timeout_ms) = (common.lease_ms, common.timeout_ms);
        let problem = format!("found {lease_ms}, expected at least twice timeout_ms, {timeout_ms}");
        return wrong("lease_ms", problem);
    }
    Ok(())
}

fn target(target: Target, key: &str) -> Result<TargetSettings, ConfigError> {
    let wrong =
        |field: &str, problem: &str| Err(ConfigError::new(format!("{key}.{field}"), problem));
    match target {
        Target::Http { url, secret, secrets, allow_private, ca, cas } => {
            let Ok(url) = url.parse::<Url>() else {
                return wrong("url", "expected https://host/path");
            };
            let texts: Vec<&str> = secret
                .iter()
                .chain(&secrets)
                .flat_map(|secret| secret.expose().split_whitespace())
                .collect();
            if texts.is_empty() || texts.len() > SECRETS_MAX {
                return wrong("secret", "expected 1 to 8 secrets, in secret_file or secret_files");
            }
            let secrets = texts.into_iter().map(SigningSecret::parse);
            let secrets = secrets
                .collect::<Result<_, _>>()
                .map_err(|problem| ConfigError::new(format!("{key}.secret"), problem))
                .map_err(|error| error.coded(ConfigError::KEY))?;
            let reach = if allow_private { Reach::Anywhere } else { Reach::Public };
            let roots = roots(ca.iter().chain(&cas), key)?;
            Ok(TargetSettings::Http { url, secrets, reach, roots })
        }
        Target::Nats { url, subject, token, user, password } => {
            let login = match (token, user, password) {
                (None, None, None) => NatsLogin::None,
                (Some(token), None, None) => NatsLogin::Token(token),
                (None, Some(user), Some(password)) => NatsLogin::User(user, password),
                (_, _, _) => return wrong("token", "expected a token, or user and password"),
            };
            let plain = subject.replace("{business}", "b").replace("{topic}", "t");
            let token =
                |token: &str| !token.is_empty() && !token.contains(['*', '>', '{', '}', ' ']);
            if !plain.split('.').all(token) {
                return wrong("subject", "expected such as `callgate.{business}.{topic}`");
            }
            Ok(TargetSettings::Nats { url, subject, login })
        }
    }
}

/// Reads the certificates of those who sign the other side's, one or more in each text.
pub(super) fn roots<T: AsRef<str>>(
    texts: impl Iterator<Item = T>,
    key: &str,
) -> Result<Vec<Certificate>, ConfigError> {
    let mut roots = Vec::new();
    for text in texts {
        let wrong = |problem: String| {
            ConfigError::new(format!("{key}.ca"), problem).coded(ConfigError::KEY)
        };
        let found = Certificate::from_pem_bundle(text.as_ref().as_bytes())
            .map_err(|error| wrong(format!("expected certificates in PEM: {error}")))?;
        if found.is_empty() {
            return Err(wrong("found no certificate, expected one at least, in PEM".to_owned()));
        }
        roots.extend(found);
    }
    Ok(roots)
}

/// Enough for a rotation with overlap, and every one of them signs every attempt.
const SECRETS_MAX: usize = 8;

fn in_flight_max() -> usize {
    16
}

fn held_max() -> usize {
    10_000
}

fn timeout_ms() -> u32 {
    5_000
}

fn lease_ms() -> u32 {
    15_000
}

/// Three days.
fn give_up_ms() -> u32 {
    259_200_000
}

/// About a day until an event is given up.
fn retry() -> Backoff {
    Backoff { first_ms: 1_000, max_ms: 600_000, attempts_max: 150 }
}

fn subject() -> String {
    "callgate.{business}.{topic}".to_owned()
}

//! Endpoints: what processors may call, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use callgate_core::secret::Secret;
use http::{HeaderName, HeaderValue};
use reqwest::Url;
use serde::Deserialize;

use super::plugins::PluginSettings;
use super::{ConfigError, NAME_OF_BUSINESS, NAME_OF_CHANNEL, check_name, read, secrets, sinks};
use crate::outbound::address::Reach;
use crate::outbound::circuit::CircuitSettings;
use crate::outbound::endpoints::EndpointSettings;

/// One endpoint as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    base_url: String,
    methods: Vec<String>,
    #[serde(default)]
    businesses: Vec<String>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    ca: Option<String>,
    #[serde(default)]
    cas: Vec<String>,
    #[serde(default)]
    allow_private: bool,
    #[serde(default = "timeout_ms")]
    timeout_ms: u32,
    #[serde(default = "wait_ms")]
    wait_ms: u32,
    #[serde(default = "in_flight_max")]
    in_flight_max: usize,
    #[serde(default = "bytes_max")]
    request_bytes_max: usize,
    #[serde(default = "bytes_max")]
    response_bytes_max: usize,
    #[serde(default)]
    circuit: CircuitSettings,
}

pub(super) fn open(
    table: toml::Table,
    businesses: &[&str],
    folder: &Path,
) -> Result<Vec<EndpointSettings>, ConfigError> {
    let mut endpoints = Vec::with_capacity(table.len());
    for (name, value) in table {
        let key = format!("endpoints.{name}");
        check_name(&key, &name, NAME_OF_CHANNEL)?;
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(ConfigError::new(key, "the name must begin with a letter"));
        }
        let toml::Value::Table(fields) = value else {
            return Err(ConfigError::new(key, "expected a table"));
        };
        let fields = secrets::resolve(fields, &key, folder)?;
        let written: Written = read(toml::Value::Table(fields), &key)?;
        check(&written, businesses, &key)?;
        endpoints.push(endpoint(name, written, &key)?);
    }
    Ok(endpoints)
}

fn check(written: &Written, businesses: &[&str], key: &str) -> Result<(), ConfigError> {
    let wrong =
        |field: &str, problem: String| Err(ConfigError::new(format!("{key}.{field}"), problem));
    if written.methods.is_empty() {
        return wrong("methods", format!("found none, expected some of {}", METHODS.join(", ")));
    }
    if let Some(method) = written.methods.iter().find(|one| !METHODS.contains(&one.as_str())) {
        let problem = format!("found `{method}`, expected some of {}", METHODS.join(", "));
        return wrong("methods", problem);
    }
    for business in &written.businesses {
        check_name(&format!("{key}.businesses"), business, NAME_OF_BUSINESS)?;
        if !businesses.contains(&business.as_str()) {
            let problem =
                format!("`{business}` is not configured, expected [businesses.{business}]");
            return wrong("businesses", problem);
        }
    }
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    for (field, value, (least, most)) in [
        ("timeout_ms", u64::from(written.timeout_ms), (1, 60_000)),
        ("wait_ms", u64::from(written.wait_ms), (0, 60_000)),
        ("in_flight_max", wide(written.in_flight_max), (1, 1_024)),
        ("request_bytes_max", wide(written.request_bytes_max), (1, 16 << 20)),
        ("response_bytes_max", wide(written.response_bytes_max), (1, 16 << 20)),
        ("circuit.failures", wide(written.circuit.failures), (1, 10_000)),
    ] {
        if !(least..=most).contains(&value) {
            return wrong(field, format!("found {value}, expected {least} to {most}"));
        }
    }
    for (name, value) in &written.headers {
        let name_fits = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !name_fits || HeaderValue::from_str(value.expose()).is_err() {
            let problem = format!(
                "`{name}` is no header that can be sent: expected visible characters on one line"
            );
            return wrong("headers", problem).map_err(|error| error.coded(ConfigError::KEY));
        }
    }
    let ours = |name: &&String| OURS.contains(&name.to_ascii_lowercase().as_str());
    if let Some(name) = written.headers.keys().find(ours) {
        return wrong("headers", format!("`{name}` is set by the host itself"));
    }
    Ok(())
}

fn endpoint(name: String, written: Written, key: &str) -> Result<EndpointSettings, ConfigError> {
    let wrong = |problem: &str| ConfigError::new(format!("{key}.base_url"), problem);
    let base_url: Url =
        written.base_url.parse().map_err(|_| wrong("expected https://host/path"))?;
    if base_url.query().is_some() || base_url.fragment().is_some() {
        return Err(wrong("expected https://host/path without `?` and `#`"));
    }
    Ok(EndpointSettings {
        base_url,
        methods: written.methods.into_iter().collect(),
        businesses: (!written.businesses.is_empty())
            .then(|| written.businesses.into_iter().collect()),
        timeout_ms: written.timeout_ms,
        wait_ms: written.wait_ms,
        request_bytes_max: written.request_bytes_max,
        response_bytes_max: written.response_bytes_max,
        headers: written.headers,
        reach: if written.allow_private { Reach::Anywhere } else { Reach::Public },
        roots: sinks::roots(written.ca.iter().chain(&written.cas), key)?,
        in_flight_max: written.in_flight_max,
        circuit: written.circuit,
        name,
    })
}

/// Holds what plugins are granted against what there is.
pub(super) fn check_grants(
    plugins: &BTreeMap<String, PluginSettings>,
    endpoints: &[EndpointSettings],
) -> Result<(), ConfigError> {
    let known: BTreeMap<&str, &EndpointSettings> =
        endpoints.iter().map(|one| (one.name.as_str(), one)).collect();
    for (name, plugin) in plugins {
        let wrong = |problem: String| {
            Err(ConfigError::new(format!("plugins.{name}.grants.endpoints"), problem))
        };
        for granted in &plugin.grants.endpoints {
            let Some(endpoint) = known.get(granted.as_str()) else {
                let problem =
                    format!("`{granted}` is not configured, expected [endpoints.{granted}]");
                return wrong(problem);
            };
            let served: Option<&BTreeSet<String>> = endpoint.businesses.as_ref();
            let closed = |business: &&String| served.is_some_and(|some| !some.contains(*business));
            if let Some(business) = plugin.businesses.iter().find(closed) {
                let problem = format!("`{granted}` is not for `{business}` by its `businesses`");
                return wrong(problem);
            }
        }
    }
    Ok(())
}

/// What a processor can ask for.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Headers that frame a request, and those that the host puts there for every call.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

fn timeout_ms() -> u32 {
    3_000
}

fn wait_ms() -> u32 {
    200
}

fn in_flight_max() -> usize {
    16
}

fn bytes_max() -> usize {
    256 << 10
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::open;

    const GOOD: &str = "[erp]\nbase_url = \"https://erp.example/api\"\nmethods = [\"POST\"]\n";

    fn problem(text: &str) -> String {
        let table = text.parse().expect("TOML");
        match open(table, &["SHOP"], Path::new("/")) {
            Ok(_) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_not_named_has_its_default() {
        let found = open(GOOD.parse().unwrap(), &["SHOP"], Path::new("/")).unwrap();
        let [erp] = found.as_slice() else { panic!("expected one, found {found:?}") };
        assert_eq!((erp.timeout_ms, erp.wait_ms, erp.in_flight_max), (3_000, 200, 16));
        assert_eq!((erp.request_bytes_max, erp.response_bytes_max), (262_144, 262_144));
        assert!(erp.businesses.is_none());
    }

    #[test]
    fn a_mistake_says_its_key_and_what_was_expected() {
        for (more, expected) in [
            ("timeout_ms = 0", "endpoints.erp.timeout_ms: found 0, expected 1 to 60000"),
            ("in_flight_max = 0", "endpoints.erp.in_flight_max: found 0"),
            ("businesses = [\"MALL\"]", "endpoints.erp.businesses: `MALL` is not configured"),
            ("headers = { Host = \"x\" }", "endpoints.erp.headers: `Host` is set by the host"),
            ("circuit = { failures = 0 }", "endpoints.erp.circuit.failures: found 0"),
            ("secret = \"x\"", "endpoints.erp"),
        ] {
            let found = problem(&format!("{GOOD}{more}\n"));
            assert!(found.contains(expected), "{more}: {found}");
        }
        let fetch = GOOD.replace("POST", "FETCH");
        assert!(problem(&fetch).contains("found `FETCH`, expected some of GET, POST"));
        let query = GOOD.replace("/api", "/api?a=b");
        assert!(problem(&query).contains("without `?`"));
        assert!(problem(&GOOD.replace("[erp]", "[7erp]")).contains("begin with a letter"));
    }

    #[test]
    fn a_credential_does_not_show() {
        let more = "[erp.headers]\nauthorization = \"Bearer sesame\"\n";
        let found = open(format!("{GOOD}{more}").parse().unwrap(), &[], Path::new("/")).unwrap();
        assert!(!format!("{found:?}").contains("sesame"));
    }
}

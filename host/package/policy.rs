//! What the host allows the plugins of each business.

use std::collections::BTreeMap;

use callgate_sandbox::limits::Limits;
use callgate_sandbox::text;
use serde::Deserialize;

use crate::key::PublicKey;
use crate::read::limit_values;
use crate::signed::Signer;

/// The policies of all businesses of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(BTreeMap<String, Policy>);

impl Policies {
    /// Gathers them by the name of the business.
    #[must_use]
    pub fn new(policies: BTreeMap<String, Policy>) -> Self {
        Self(policies)
    }

    /// The policy of one business; `None` where the host does not have it.
    #[must_use]
    pub fn get(&self, business: &str) -> Option<&Policy> {
        self.0.get(business)
    }

    /// Whether any business takes what nobody signed.
    #[must_use]
    pub fn allow_any_unsigned(&self) -> bool {
        self.0.values().any(|policy| policy.allow_unsigned)
    }

    pub(crate) fn key(&self, signer: &Signer) -> Option<&PublicKey> {
        self.0.get(&signer.business)?.keys.get(&signer.key)
    }
}

/// What the host allows the plugins of one business.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The keys that may sign for it, by name.
    pub keys: BTreeMap<String, PublicKey>,
    /// Whether a plugin may claim its routes without a signature of one of its keys.
    pub allow_unsigned: bool,
    /// What its plugins may be granted and use up.
    pub rules: Rules,
}

/// What the plugins of one business may be granted and use up: `[businesses.B.policy]`.
///
/// Where nothing is said, a plugin may touch nothing but its subject, and use up no more than the
/// default limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Collections that may be read.
    pub read: Vec<Pattern>,
    /// Collections that may be written, and so also read.
    pub write: Vec<Pattern>,
    /// Topics of events.
    pub topics: Vec<Pattern>,
    /// Endpoints that may be called.
    pub endpoints: Vec<Pattern>,
    /// Whether writes without a condition on the version may be granted.
    pub blind_writes: bool,
    /// The most that may be asked for, by limit; the others may not be asked for above their
    /// defaults.
    pub limits: Maxima,
}

/// The most that a plugin may ask for, by the name of the limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>")]
pub struct Maxima(BTreeMap<String, u64>);

impl Maxima {
    /// The most of one limit; `None` where there is no such limit.
    #[must_use]
    pub fn of(&self, limit: &str) -> Option<u64> {
        self.0.get(limit).copied().or_else(|| limit_values(&Limits::default()).remove(limit))
    }
}

impl TryFrom<BTreeMap<String, u64>> for Maxima {
    type Error = String;

    fn try_from(maxima: BTreeMap<String, u64>) -> Result<Self, String> {
        let known = limit_values(&Limits::default());
        match maxima.keys().find(|name| !known.contains_key(*name)) {
            None => Ok(Self(maxima)),
            Some(name) => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                Err(format!("`{name}` is no limit, expected one of {}", names.join(", ")))
            }
        }
    }
}

/// A name in full, a beginning with `*` behind it, or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Whether it takes a name.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.0,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        let start = pattern.strip_suffix('*').unwrap_or(&pattern);
        if pattern == "*" || text::is_topic(start) {
            return Ok(Self(pattern));
        }
        let shown = crate::refused::shown(&pattern);
        Err(format!(
            "found `{shown}`, expected a name of a-z 0-9 . _ - in full, its beginning \
                     and `*`, or `*` for all"
        ))
    }
}

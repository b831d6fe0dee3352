//! Which key a callback names: platform certificates by serial, public keys by id, both at once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::gateway::SettingsError;
use crate::gateway::known::{KeyKind, KnownKey, Origin, Validity};
use crate::gateway::platform::Admitted;
use crate::gateway::scheme::rsa::{Certificate, PublicKey};
use crate::time::Timestamp;

use super::PublicKeySettings;

/// The gateway's keys by normalised serial.
#[derive(Debug, Clone)]
pub(super) struct Ring(BTreeMap<String, RingKey>);

#[derive(Debug, Clone)]
struct RingKey {
    key: PublicKey,
    /// When a certificate is valid; a public key has no end.
    valid: Option<Validity>,
    origin: Origin,
}

impl Ring {
    /// Reads every key; there may be none where more are fetched.
    pub(super) fn new(
        certificates: &[String],
        public_keys: &[PublicKeySettings],
    ) -> Result<Self, SettingsError> {
        let mut ring = Self(BTreeMap::new());
        for (place, pem) in certificates.iter().enumerate() {
            let field = format!("platform_certificates[{place}]");
            let certificate = Certificate::from_pem(pem)
                .map_err(|error| SettingsError::key(field.clone(), &error))?;
            let valid = Validity { from: certificate.not_before, to: certificate.not_after };
            let origin = Origin::Configured;
            let key = RingKey { key: certificate.key, valid: Some(valid), origin };
            ring.add(&field, certificate.serial_hex, key)?;
        }
        for (place, given) in public_keys.iter().enumerate() {
            let field = format!("public_keys[{place}]");
            check_id(&field, &given.id)?;
            let key = PublicKey::from_pem(&given.key)
                .map_err(|error| SettingsError::key(field.clone(), &error))?;
            let key = RingKey { key, valid: None, origin: Origin::Configured };
            ring.add(&field, given.id.clone(), key)?;
        }
        Ok(ring)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key is there that has not ended.
    pub(super) fn has_any(&self, now: Timestamp) -> bool {
        self.0.values().any(|key| key.is_good(now))
    }

    /// These keys and certificates that were fetched. A configured one of the same serial stays:
    /// what a person put there outweighs what came over the wire.
    pub(super) fn with(&self, fetched: &[Admitted]) -> Self {
        let mut ring = self.clone();
        for one in fetched {
            let (key, valid) = (one.certificate.key.clone(), Some(one.valid()));
            let key = RingKey { key, valid, origin: Origin::Fetched };
            ring.0.entry(one.serial().to_owned()).or_insert(key);
        }
        ring
    }

    /// The keys as people may see them.
    pub(super) fn known(&self) -> impl Iterator<Item = KnownKey> {
        self.0.iter().map(|(id, key)| {
            let kind = if key.valid.is_some() { KeyKind::Certificate } else { KeyKind::PublicKey };
            KnownKey { id: id.clone(), kind, origin: key.origin, valid: key.valid }
        })
    }

    /// The key of a `Wechatpay-Serial`. Serials are numbers in hex, so case and leading zeros do
    /// not count; ids of public keys are taken as they are. A certificate past its end is as good
    /// as none: whoever holds its private key by then need not be the gateway.
    pub(super) fn find(&self, serial: &str, now: Timestamp) -> Option<&PublicKey> {
        let found = self.0.get(normal(serial).as_ref())?;
        found.is_good(now).then_some(&found.key)
    }

    /// The id of a public key, where one is configured.
    pub(super) fn public_key_id(&self) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|id| id.starts_with(PUBLIC_KEY_PREFIX))
    }

    fn add(&mut self, field: &str, serial: String, key: RingKey) -> Result<(), SettingsError> {
        let bits = key.key.bits();
        if bits < BITS_MIN {
            let problem = format!("RSA key has {bits} bits, expected at least {BITS_MIN}");
            return Err(SettingsError::key(field.to_owned(), &problem));
        }
        if self.0.contains_key(&serial) {
            let problem = format!("serial {serial} is configured twice, expected once");
            return Err(SettingsError::new(field.to_owned(), problem).coded(SettingsError::SERIAL));
        }
        self.0.insert(serial, key);
        Ok(())
    }
}

impl RingKey {
    fn is_good(&self, now: Timestamp) -> bool {
        self.valid.is_none_or(|valid| now <= valid.to)
    }
}

/// A serial as it is compared: hex in upper case without leading zeros, anything else as it is.
pub(super) fn normal(serial: &str) -> Cow<'_, str> {
    if serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        serial.to_ascii_uppercase().trim_start_matches('0').to_owned().into()
    } else {
        serial.into()
    }
}

fn check_id(field: &str, id: &str) -> Result<(), SettingsError> {
    let digits = id.strip_prefix(PUBLIC_KEY_PREFIX).unwrap_or_default();
    if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        let problem = "id is of another form, expected PUB_KEY_ID_ followed by digits";
        return Err(SettingsError::new(format!("{field}.id"), problem));
    }
    Ok(())
}

const PUBLIC_KEY_PREFIX: &str = "PUB_KEY_ID_";

/// The signature type names 2048 bits; longer keys would be as good.
pub(super) const BITS_MIN: u32 = 2048;

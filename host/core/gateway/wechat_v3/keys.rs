//! Which key a callback names: platform certificates by serial, public keys by id, both at once.

use std::collections::BTreeMap;

use crate::gateway::SettingsError;
use crate::gateway::scheme::rsa::{Certificate, KeyError, PublicKey};
use crate::time::Timestamp;

use super::PublicKeySettings;

/// The gateway's keys by normalised serial.
#[derive(Debug)]
pub(super) struct Ring(BTreeMap<String, RingKey>);

#[derive(Debug)]
struct RingKey {
    key: PublicKey,
    /// The end of a certificate; a public key has none.
    not_after: Option<Timestamp>,
}

impl Ring {
    /// Reads every key.
    pub(super) fn new(
        certificates: &[String],
        public_keys: &[PublicKeySettings],
    ) -> Result<Self, SettingsError> {
        let mut ring = Self(BTreeMap::new());
        for (place, pem) in certificates.iter().enumerate() {
            let field = format!("platform_certificates[{place}]");
            let certificate = Certificate::from_pem(pem).map_err(|error| refuse(&field, &error))?;
            let not_after = Some(certificate.not_after);
            let key = RingKey { key: certificate.key, not_after };
            ring.add(&field, certificate.serial_hex, key)?;
        }
        for (place, given) in public_keys.iter().enumerate() {
            let field = format!("public_keys[{place}]");
            check_id(&field, &given.id)?;
            let key = PublicKey::from_pem(&given.key).map_err(|error| refuse(&field, &error))?;
            ring.add(&field, given.id.clone(), RingKey { key, not_after: None })?;
        }
        if ring.0.is_empty() {
            let problem = "found no key, expected platform_certificates or public_keys or both";
            return Err(SettingsError::new("public_keys", problem));
        }
        Ok(ring)
    }

    /// The key of a `Wechatpay-Serial`. Serials are numbers in hex, so case and leading zeros do
    /// not count; ids of public keys are taken as they are. A certificate past its end is as good as none: whoever
    /// holds its private key by then need not be the gateway.
    pub(super) fn find(&self, serial: &str, now: Timestamp) -> Option<&PublicKey> {
        let found = if serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.0.get(serial.to_ascii_uppercase().trim_start_matches('0'))
        } else {
            self.0.get(serial)
        }?;
        found.not_after.is_none_or(|end| now <= end).then_some(&found.key)
    }

    /// The id of a public key, where one is configured.
    pub(super) fn public_key_id(&self) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|id| id.starts_with(PUBLIC_KEY_PREFIX))
    }

    fn add(&mut self, field: &str, serial: String, key: RingKey) -> Result<(), SettingsError> {
        let bits = key.key.bits();
        if bits < BITS_MIN {
            let problem = format!("RSA key has {bits} bits, expected at least {BITS_MIN}");
            return Err(SettingsError::new(field.to_owned(), problem));
        }
        if self.0.contains_key(&serial) {
            let problem = format!("serial {serial} is configured twice, expected once");
            return Err(SettingsError::new(field.to_owned(), problem));
        }
        self.0.insert(serial, key);
        Ok(())
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

fn refuse(field: &str, error: &KeyError) -> SettingsError {
    SettingsError::new(field.to_owned(), error.to_string())
}

const PUBLIC_KEY_PREFIX: &str = "PUB_KEY_ID_";

/// The signature type names 2048 bits; longer keys would be as good.
const BITS_MIN: u32 = 2048;

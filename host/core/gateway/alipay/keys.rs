//! The Alipay keys of a channel: one bare key, or certificates that callbacks can name.

use md5::{Digest as _, Md5};

use crate::gateway::known::{KeyKind, KnownKey, Validity};
use crate::gateway::scheme::chain::Roots;
use crate::gateway::scheme::hex;
use crate::gateway::scheme::rsa::{Certificate, PublicKey};
use crate::gateway::{Refusal, SettingsError};

use super::{Settings, SignType};

/// The keys of a channel; never empty.
#[derive(Debug)]
pub(super) enum Ring {
    /// Key mode.
    Key(PublicKey),
    /// Certificate mode.
    Certificates(Vec<Known>),
}

/// A certificate that Alipay signs with.
#[derive(Debug)]
pub(super) struct Known {
    serial: String,
    key: PublicKey,
    valid: Validity,
}

impl Ring {
    /// Reads and measures every key of the settings.
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        match (&settings.public_key, settings.certificates.as_slice()) {
            (Some(text), []) => {
                let key = PublicKey::from_pem(text)
                    .map_err(|error| SettingsError::key("public_key", &error))?;
                measure(&key, settings.sign_type, "public_key")?;
                Ok(Self::Key(key))
            }
            (None, []) => Err(SettingsError::new(
                "public_key",
                "is missing, expected it or at least one of certificates",
            )),
            (Some(_), [_, ..]) => Err(SettingsError::new(
                "certificates",
                "stand beside public_key, expected one kind of key",
            )),
            (None, texts) if texts.len() > CERTIFICATES_MAX => {
                let problem = format!("are {}, expected at most {CERTIFICATES_MAX}", texts.len());
                Err(SettingsError::new("certificates", problem))
            }
            (None, texts) => {
                let roots = roots(settings)?;
                let read = |text: &String| certificate(text, roots.as_ref(), settings.sign_type);
                texts.iter().map(read).collect::<Result<_, _>>().map(Self::Certificates)
            }
        }
    }

    /// The keys that can have signed: of certificates the one that the callback names, else all.
    pub(super) fn candidates(&self, serial: Option<&[u8]>) -> Result<Vec<&PublicKey>, Refusal> {
        match (self, serial) {
            (Self::Key(key), _) => Ok(vec![key]),
            (Self::Certificates(known), None) => Ok(known.iter().map(|one| &one.key).collect()),
            (Self::Certificates(known), Some(serial)) => known
                .iter()
                .find(|one| one.serial.as_bytes().eq_ignore_ascii_case(serial))
                .map(|one| vec![&one.key])
                .ok_or(Refusal::KeyUnknown),
        }
    }

    /// The keys as people may see them. A bare key has no name, so it is called by its setting.
    pub(super) fn known(&self) -> Vec<KnownKey> {
        match self {
            Self::Key(_) => vec![KnownKey::endless("public_key", KeyKind::PublicKey)],
            Self::Certificates(known) => known
                .iter()
                .map(|one| KnownKey {
                    valid: Some(one.valid),
                    ..KnownKey::endless(one.serial.clone(), KeyKind::Certificate)
                })
                .collect(),
        }
    }
}

/// Alipay's name of a certificate (`alipay_cert_sn`): MD5 in lower-case hex of the issuer's name
/// in the order of RFC 4514, followed by the serial number in decimal.
pub(super) fn serial(certificate: &Certificate) -> String {
    let text = format!("{}{}", certificate.issuer, certificate.serial_decimal);
    hex::encode(&Md5::digest(text))
}

/// The roots that certificates must chain to, where they are configured.
fn roots(settings: &Settings) -> Result<Option<Roots>, SettingsError> {
    let bundle = settings.root_certificate.as_ref().map(std::slice::from_ref);
    bundle
        .map(Roots::from_pem)
        .transpose()
        .map_err(|error| SettingsError::key("root_certificate", &error))
}

/// Reads one certificate. Its chain is looked at as it was when the certificate was made: ends are
/// watched while the server runs.
fn certificate(
    text: &str,
    roots: Option<&Roots>,
    sign_type: SignType,
) -> Result<Known, SettingsError> {
    let certificate =
        Certificate::from_pem(text).map_err(|error| SettingsError::key("certificates", &error))?;
    measure(&certificate.key, sign_type, "certificates")?;
    let serial = serial(&certificate);
    if let Some(Err(error)) = roots.map(|roots| roots.vouch(text, certificate.not_before)) {
        let problem = format!("{serial} does not chain to root_certificate: {error}");
        return Err(SettingsError::new("certificates", problem).coded(SettingsError::CHAIN));
    }
    let valid = Validity { from: certificate.not_before, to: certificate.not_after };
    Ok(Known { serial, key: certificate.key, valid })
}

fn measure(key: &PublicKey, sign_type: SignType, field: &'static str) -> Result<(), SettingsError> {
    let (bits, least) = match sign_type {
        SignType::Rsa2 => (key.bits(), 2048),
        SignType::Rsa => (key.bits(), 1024),
    };
    if bits < least {
        let problem = format!("RSA key has {bits} bits, expected at least {least}");
        return Err(SettingsError::key(field, &problem));
    }
    Ok(())
}

/// An old and a new certificate of two kinds: enough for a change, and a bound on what a forged
/// callback can make us compute.
const CERTIFICATES_MAX: usize = 4;

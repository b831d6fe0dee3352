//! The Alipay keys of a channel: one bare key, or certificates that callbacks can name.

use md5::{Digest as _, Md5};

use crate::gateway::scheme::hex;
use crate::gateway::scheme::rsa::{Certificate, PublicKey};
use crate::gateway::{Refusal, SettingsError};

use super::{Settings, SignType};

/// The keys of a channel; never empty.
#[derive(Debug)]
pub(super) enum Ring {
    /// Key mode.
    Key(PublicKey),
    /// Certificate mode: serials and keys.
    Certificates(Vec<(String, PublicKey)>),
}

impl Ring {
    /// Reads and measures every key of the settings.
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        match (&settings.public_key, settings.certificates.as_slice()) {
            (Some(text), []) => {
                let key = PublicKey::from_pem(text)
                    .map_err(|error| SettingsError::new("public_key", error.to_string()))?;
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
                let read = |text: &String| certificate(text, settings.sign_type);
                texts.iter().map(read).collect::<Result<_, _>>().map(Self::Certificates)
            }
        }
    }

    /// The keys that can have signed: of certificates the one that the callback names, else all.
    pub(super) fn candidates(&self, serial: Option<&[u8]>) -> Result<Vec<&PublicKey>, Refusal> {
        match (self, serial) {
            (Self::Key(key), _) => Ok(vec![key]),
            (Self::Certificates(known), None) => Ok(known.iter().map(|(_, key)| key).collect()),
            (Self::Certificates(known), Some(serial)) => known
                .iter()
                .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(serial))
                .map(|(_, key)| vec![key])
                .ok_or(Refusal::KeyUnknown),
        }
    }
}

/// Alipay's name of a certificate (`alipay_cert_sn`): MD5 in lower-case hex of the issuer's name
/// in the order of RFC 4514, followed by the serial number in decimal.
pub(super) fn serial(certificate: &Certificate) -> String {
    let text = format!("{}{}", certificate.issuer, certificate.serial_decimal);
    hex::encode(&Md5::digest(text))
}

fn certificate(text: &str, sign_type: SignType) -> Result<(String, PublicKey), SettingsError> {
    let certificate = Certificate::from_pem(text)
        .map_err(|error| SettingsError::new("certificates", error.to_string()))?;
    measure(&certificate.key, sign_type, "certificates")?;
    Ok((serial(&certificate), certificate.key))
}

fn measure(key: &PublicKey, sign_type: SignType, field: &'static str) -> Result<(), SettingsError> {
    let (bits, least) = match sign_type {
        SignType::Rsa2 => (key.bits(), 2048),
        SignType::Rsa => (key.bits(), 1024),
    };
    if bits < least {
        let problem = format!("RSA key has {bits} bits, expected at least {least}");
        return Err(SettingsError::new(field, problem));
    }
    Ok(())
}

/// An old and a new certificate of two kinds: enough for a change, and a bound on what a forged
/// callback can make us compute.
const CERTIFICATES_MAX: usize = 4;

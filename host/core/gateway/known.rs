//! The keys of a channel as people may see them: names, kinds and ends, never a byte of one.

use x509_cert::der::Decode as _;

use crate::time::Timestamp;

/// One key or certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Its name: the serial number of a certificate, the id of a public key; the setting that
    /// holds it where it has none.
    pub id: String,
    /// What it is for.
    pub kind: KeyKind,
    /// Where it came from.
    pub origin: Origin,
    /// When it is valid; `None` where it has no end.
    pub valid: Option<Validity>,
}

impl KnownKey {
    /// A key of the configuration that has no end.
    pub(crate) fn endless(id: impl Into<String>, kind: KeyKind) -> Self {
        Self { id: id.into(), kind, origin: Origin::Configured, valid: None }
    }
}

/// Serial number and validity of any X.509 certificate in DER, whatever its key is; for those that
/// are not of a gateway, such as a server's own.
#[must_use]
pub fn certificate(der: &[u8]) -> Option<(String, Validity)> {
    let read = x509_cert::Certificate::from_der(der).ok()?;
    let content = read.tbs_certificate();
    let serial = content.serial_number().as_bytes();
    let hex: String = serial.iter().map(|byte| format!("{byte:02X}")).collect();
    let moment = |time: x509_cert::time::Time| {
        let ms = i64::try_from(time.to_unix_duration().as_millis()).ok()?;
        Some(Timestamp::from_ms(ms))
    };
    let validity = content.validity();
    let valid = Validity { from: moment(validity.not_before)?, to: moment(validity.not_after)? };
    Some((hex.trim_start_matches('0').to_owned(), valid))
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A certificate that the gateway signs with.
    Certificate,
    /// A public key that the gateway signs with.
    PublicKey,
    /// A secret shared with the gateway.
    SharedSecret,
    /// The private key that questions are signed with.
    PrivateKey,
    /// The certificate of that private key.
    OwnCertificate,
}

impl KeyKind {
    /// The word for people and machines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::PublicKey => "public-key",
            Self::SharedSecret => "shared-secret",
            Self::PrivateKey => "private-key",
            Self::OwnCertificate => "own-certificate",
        }
    }
}

/// Where a key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Configured,
    /// The gateway, asked for it.
    Fetched,
}

impl Origin {
    /// The word for people and machines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Fetched => "fetched",
        }
    }
}

/// From the first to the last moment of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
}

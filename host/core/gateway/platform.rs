//! Asking a gateway for the certificates that it signs with: pure, as verifying is.

use std::fmt::Debug;
use std::sync::Arc;

use crate::gateway::inquiry::{CannotAsk, Incoming, Outgoing, Stamp};
use crate::gateway::known::Validity;
use crate::gateway::scheme::chain::NoChain;
use crate::gateway::scheme::rsa::{Certificate, KeyError};
use crate::gateway::{Gateway, Refusal};
use crate::time::Timestamp;

/// A gateway that hands out its certificates, with the keys to ask for them; where its inquiries go.
/// No clock, no I/O.
pub trait Platform: Send + Sync + Debug {
    /// The signed request.
    ///
    /// # Errors
    /// [`CannotAsk`] where it cannot be made.
    fn ask(&self, stamp: Stamp<'_>) -> Result<Outgoing, CannotAsk>;

    /// What the gateway handed out, believed only where every check holds.
    ///
    /// # Errors
    /// [`Unfetched`] where nothing of the answer is believed.
    fn hear(&self, answer: &Incoming<'_>, now: Timestamp) -> Result<HandedOut, Unfetched>;

    /// Holds a certificate that was kept earlier against all rules again: the settings may have
    /// changed.
    ///
    /// # Errors
    /// [`BadCertificate`] names the rule.
    fn admit(&self, pem: &str, serial: &str, now: Timestamp) -> Result<Admitted, BadCertificate>;

    /// The same gateway with these certificates beside those that are configured. A configured one
    /// of the same serial number stays.
    fn with(&self, fetched: &[Admitted]) -> Arc<dyn Gateway>;

    /// Whether a key that can verify is there at this moment.
    fn can_verify(&self, now: Timestamp) -> bool;
}

/// A certificate that passed every check.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The text, PEM.
    pub pem: String,
    pub(crate) certificate: Certificate,
}

impl Admitted {
    /// Its serial number, upper-case hex without leading zeros.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.certificate.serial_hex
    }

    /// When it is valid.
    #[must_use]
    pub fn valid(&self) -> Validity {
        Validity { from: self.certificate.not_before, to: self.certificate.not_after }
    }
}

/// What an answer held.
#[derive(Debug, Clone, Default)]
pub struct HandedOut {
    /// What may be used.
    pub admitted: Vec<Admitted>,
    /// What may not: the serial number that it came under, and why.
    pub refused: Vec<(String, BadCertificate)>,
}

/// Why a certificate is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It does not decrypt.
    #[error("does not decrypt with the channel's APIv3 key")]
    Decrypt,
    /// What was decrypted is none.
    #[error("is no certificate: {0}")]
    NotACertificate(KeyError),
    /// Its key is too small.
    #[error("has an RSA key of {bits} bits, expected at least 2048")]
    Weak {
        /// The size found.
        bits: u32,
    },
    /// It is another than it was called.
    #[error("has the serial number {found}, but came under another")]
    Serial {
        /// Its own.
        found: String,
    },
    /// It does not chain to the configured root.
    #[error("does not chain to the configured root: {0}")]
    Chain(NoChain),
    /// It has ended.
    #[error("ended at {ended}")]
    Expired {
        /// When.
        ended: Timestamp,
    },
}

impl BadCertificate {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Decrypt => "certificates.decrypt",
            Self::NotACertificate(_) => "certificates.not-a-certificate",
            Self::Weak { .. } => "certificates.weak",
            Self::Serial { .. } => "certificates.serial",
            Self::Chain(_) => "certificates.chain",
            Self::Expired { .. } => "certificates.expired",
        }
    }
}

/// Why nothing of an answer is believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfetched {
    /// Its form, its time or its signature.
    #[error("the answer is not believed: {0}")]
    Refused(#[from] Refusal),
    /// The gateway cannot answer now.
    #[error("the gateway cannot answer now: {code}")]
    Busy {
        /// The gateway's own code, in characters that are safe to print.
        code: String,
    },
    /// It will not answer this merchant until somebody mends something.
    #[error("the gateway refuses the question: {code}")]
    Denied {
        /// The gateway's own code, in characters that are safe to print.
        code: String,
    },
}

impl Unfetched {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::Signature | Refusal::Probe) => "certificates.signature",
            Self::Refused(Refusal::KeyUnknown) => "certificates.signer-unknown",
            Self::Refused(Refusal::Stale { .. } | Refusal::Ahead { .. }) => "certificates.time",
            Self::Refused(_) => "certificates.answer",
            Self::Busy { .. } => "certificates.busy",
            Self::Denied { .. } => "certificates.denied",
        }
    }
}

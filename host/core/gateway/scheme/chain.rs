//! Whether a certificate was signed, through those in between, by one that is trusted.
//!
//! `webpki` builds and checks the path: names, signatures, basic constraints, validity. What a
//! certificate may be used for besides is not looked at: those of gateways sign messages, for which
//! there is no usual word.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use super::rsa::{KeyError, der_blocks};
use crate::time::Timestamp;

/// Certificates that are trusted because the configuration says so.
#[derive(Clone)]
pub struct Roots(Arc<[TrustAnchor<'static>]>);

impl Roots {
    /// Reads the certificates of one or several bundles. One that cannot be read beside one that
    /// can is left out: Alipay's bundle has one of an algorithm that no reader here knows.
    ///
    /// # Errors
    /// [`KeyError`] where a bundle is no PEM, or holds no certificate that can be read.
    pub fn from_pem(bundles: &[String]) -> Result<Self, KeyError> {
        let mut roots = Vec::new();
        for bundle in bundles {
            let known = roots.len();
            for der in der_blocks(bundle)? {
                if let Ok(root) = webpki::anchor_from_trusted_cert(&CertificateDer::from(der)) {
                    roots.push(root.to_owned());
                }
            }
            if roots.len() == known {
                return Err(KeyError::Der("X.509"));
            }
        }
        Ok(Self(roots.into()))
    }

    /// Whether the first certificate of a bundle leads to one of these at a moment, through the
    /// others of the bundle.
    ///
    /// # Errors
    /// [`NoChain`] says where it ends instead.
    pub fn vouch(&self, bundle: &str, at: Timestamp) -> Result<(), NoChain> {
        let mut blocks =
            der_blocks(bundle).map_err(|_| NoChain::Unreadable)?.into_iter().map(Into::into);
        let leaf: CertificateDer<'_> = blocks.next().ok_or(NoChain::Unreadable)?;
        let between: Vec<CertificateDer<'_>> = blocks.take(BETWEEN_MAX).collect();
        let leaf = EndEntityCert::try_from(&leaf).map_err(|_| NoChain::Unreadable)?;
        let seconds = u64::try_from(at.as_ms()).unwrap_or(0) / 1000;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        leaf.verify_for_usage(ALGORITHMS, &self.0, &between, time, AnyUse, None, None)
            .map(drop)
            .map_err(|error| NoChain::of(&error))
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

/// Where a chain ends instead of at a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChain {
    /// It cannot be read.
    #[error("it cannot be read as X.509 version 3")]
    Unreadable,
    /// Nobody who is trusted signed it, or what stands between.
    #[error(
        "no root signed it, nor what stands beside it; its issuer's certificate may be missing"
    )]
    Stranger,
    /// A signature in the chain does not fit.
    #[error("a signature in its chain does not fit")]
    Signature,
    /// Something in the chain is not valid at that moment.
    #[error("a certificate of its chain is not valid at the time")]
    Time,
    /// Anything else, in the library's words.
    #[error("{0}")]
    Other(String),
}

impl NoChain {
    fn of(error: &Error) -> Self {
        // The list is open: what is not told apart is told as it is.
        if matches!(error, Error::UnknownIssuer) {
            Self::Stranger
        } else if matches!(error, Error::InvalidSignatureForPublicKey) {
            Self::Signature
        } else if matches!(error, Error::CertExpired { .. } | Error::CertNotValidYet { .. }) {
            Self::Time
        } else {
            Self::Other(format!("{error:?}").chars().take(WORDS).collect())
        }
    }
}

/// Whatever it may be used for.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, uses: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        uses.into_iter().try_for_each(|one| one.map(drop))
    }
}

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
];

/// Certificates between leaf and root; real bundles have one.
const BETWEEN_MAX: usize = 8;

const WORDS: usize = 80;

#[cfg(test)]
mod tests;

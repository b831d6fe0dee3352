//! RSA private keys that sign questions to a gateway: PKCS#1 v1.5 with SHA-256.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Block, KeyError};
use crate::secret::Secret;

/// A private key of 2048 to 8192 bits. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKey(Arc<RsaKeyPair>);

impl PrivateKey {
    /// Reads a private key.
    ///
    /// Takes PEM with `BEGIN PRIVATE KEY` (PKCS#8) or `BEGIN RSA PRIVATE KEY` (PKCS#1), and the
    /// bare base64 of either, as Alipay's tools write it.
    ///
    /// # Errors
    /// [`KeyError`] where the text is no such key.
    pub fn from_pem(text: &Secret) -> Result<Self, KeyError> {
        let block = Block::read(text.expose())?;
        if block.is_followed {
            return Err(KeyError::Several);
        }
        let der = Zeroizing::new(block.der);
        let pkcs8 = |der: &[u8]| RsaKeyPair::from_pkcs8(der).map_err(|_| NOT_A_KEY);
        let pkcs1 = |der: &[u8]| RsaKeyPair::from_der(der).map_err(|_| NOT_A_KEY);
        let pair = match block.label {
            Some("PRIVATE KEY") => pkcs8(&der),
            Some("RSA PRIVATE KEY") => pkcs1(&der),
            None => pkcs8(&der).or_else(|_| pkcs1(&der)),
            Some(label) => Err(KeyError::label(label, "PRIVATE KEY or RSA PRIVATE KEY")),
        }?;
        Ok(Self(Arc::new(pair)))
    }

    /// The public half as SPKI DER, to see whether a certificate is for this key.
    #[must_use]
    pub fn public_der(&self) -> Option<Vec<u8>> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().ok()?;
        Some(der.as_ref().to_vec())
    }

    /// The signature of a message in base64; `None` where the library fails.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<String> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(STANDARD.encode(signature))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(RSA private key)")
    }
}

const NOT_A_KEY: KeyError = KeyError::Der("an RSA private key of 2048 to 8192 bits");

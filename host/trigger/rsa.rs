//! RSA keys that sign: PKCS#1 v1.5 with SHA-256, private halves kept as PKCS#8 PEM.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::pem::{self, LineEnding};

use crate::message::CannotSign;

/// A key pair. `Debug` shows nothing of it.
pub(crate) struct RsaKey(RsaKeyPair);

impl RsaKey {
    /// Makes a key of 2048 bits.
    pub(crate) fn generate() -> Result<Self, BadKey> {
        RsaKeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| BadKey::NotMade)
    }

    /// Reads a private key from PKCS#8 PEM.
    pub(crate) fn from_pem(text: &str) -> Result<Self, BadKey> {
        let (label, der) = pem::decode_vec(text.as_bytes()).map_err(|_| BadKey::NotPem)?;
        if label != PRIVATE_LABEL {
            return Err(BadKey::NotPem);
        }
        RsaKeyPair::from_pkcs8(&der).map(Self).map_err(|_| BadKey::NotRsa)
    }

    /// The private key as PKCS#8 PEM.
    pub(crate) fn to_private_pem(&self) -> Result<String, BadKey> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| BadKey::NotMade)?;
        pem_text(PRIVATE_LABEL, der.as_ref())
    }

    /// The public key as a `SubjectPublicKeyInfo` in DER.
    pub(crate) fn to_public_der(&self) -> Result<Vec<u8>, BadKey> {
        let der: PublicKeyX509Der<'_> =
            self.0.public_key().as_der().map_err(|_| BadKey::NotMade)?;
        Ok(der.as_ref().to_vec())
    }

    /// The public key as PEM.
    pub(crate) fn to_public_pem(&self) -> Result<String, BadKey> {
        pem_text("PUBLIC KEY", &self.to_public_der()?)
    }

    /// Signs bytes.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, CannotSign> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature)
            .map_err(|_| CannotSign::Cryptography)?;
        Ok(signature)
    }

    /// Signs bytes and writes the signature in base64.
    pub(crate) fn sign_base64(&self, bytes: &[u8]) -> Result<String, CannotSign> {
        Ok(STANDARD.encode(self.sign(bytes)?))
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(RSA private key)")
    }
}

/// Writes DER as PEM with line feeds.
pub(crate) fn pem_text(label: &str, der: &[u8]) -> Result<String, BadKey> {
    pem::encode_string(label, LineEnding::LF, der).map_err(|_| BadKey::NotMade)
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The generator or an encoder failed.
    #[error("key or certificate could not be made")]
    NotMade,
    /// The text is no private key in PEM.
    #[error("no private key in PKCS#8 PEM, expected -----BEGIN PRIVATE KEY-----")]
    NotPem,
    /// The key is no RSA key of a permitted size.
    #[error("private key is not an RSA key of 2048 to 8192 bits")]
    NotRsa,
}

const PRIVATE_LABEL: &str = "PRIVATE KEY";

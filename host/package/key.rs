//! Ed25519 keys of those who sign, in the files that every tool reads: PKCS#8 and SPKI in PEM.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use pem_rfc7468::LineEnding;
use zeroize::Zeroizing;

use crate::refused::Refused;

/// What checks a signature.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// [`Refused::Key`] where it is no Ed25519 public key in PEM.
    pub fn from_pem(text: &str) -> Result<Self, Refused> {
        if text.len() > PEM_BYTES_MAX {
            return Err(NO_PUBLIC_KEY);
        }
        let (label, der) = pem_rfc7468::decode_vec(text.as_bytes()).map_err(|_| NO_PUBLIC_KEY)?;
        let raw = der.strip_prefix(SPKI_HEAD).filter(|_| label == PUBLIC).ok_or(NO_PUBLIC_KEY)?;
        let raw: [u8; KEY_BYTES] = raw.try_into().map_err(|_| NO_PUBLIC_KEY)?;
        UnparsedPublicKey::new(&ED25519, raw).parse().map_err(|_| NO_PUBLIC_KEY)?;
        Ok(Self(raw))
    }

    /// As PEM, for a file.
    ///
    /// # Errors
    /// [`Refused::Key`] where it cannot be encoded, which does not happen.
    pub fn to_pem(&self) -> Result<String, Refused> {
        let der = [SPKI_HEAD, &self.0].concat();
        pem_rfc7468::encode_string(PUBLIC, LineEnding::LF, &der).map_err(|_| NO_PUBLIC_KEY)
    }

    /// Whether a signature over these bytes was made with the private key beside this one.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

/// What signs. Never shown.
pub struct PrivateKey(Ed25519KeyPair);

impl PrivateKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`Refused::Key`] where the machine gives no randomness.
    pub fn generate() -> Result<Self, Refused> {
        let no_randomness = Refused::Key("no randomness for a key");
        Ed25519KeyPair::generate().map(Self).map_err(|_| no_randomness)
    }

    /// Reads `-----BEGIN PRIVATE KEY-----`.
    ///
    /// # Errors
    /// [`Refused::Key`] where it is no Ed25519 private key in PEM; the text is not shown.
    pub fn from_pem(text: &str) -> Result<Self, Refused> {
        if text.len() > PEM_BYTES_MAX {
            return Err(NO_PRIVATE_KEY);
        }
        let (label, der) = pem_rfc7468::decode_vec(text.as_bytes()).map_err(|_| NO_PRIVATE_KEY)?;
        let der = Zeroizing::new(der);
        if label != PRIVATE {
            return Err(NO_PRIVATE_KEY);
        }
        Ed25519KeyPair::from_pkcs8(&der).map(Self).map_err(|_| NO_PRIVATE_KEY)
    }

    /// As PEM, for a file that its owner alone may read.
    ///
    /// # Errors
    /// [`Refused::Key`] where it cannot be encoded, which does not happen.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, Refused> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| NO_PRIVATE_KEY)?;
        pem_rfc7468::encode_string(PRIVATE, LineEnding::LF, der.as_ref())
            .map(Zeroizing::new)
            .map_err(|_| NO_PRIVATE_KEY)
    }

    /// The public key beside it.
    ///
    /// # Errors
    /// [`Refused::Key`] where it has another length, which does not happen.
    pub fn public_key(&self) -> Result<PublicKey, Refused> {
        let raw = self.0.public_key().as_ref().try_into();
        raw.map(PublicKey).map_err(|_| NO_PUBLIC_KEY)
    }

    /// Signs.
    ///
    /// # Errors
    /// [`Refused::Key`] where the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], Refused> {
        let failed = Refused::Key("signing failed");
        let signature = self.0.try_sign(message).map_err(|_| failed.clone())?;
        signature.as_ref().try_into().map_err(|_| failed)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

const KEY_BYTES: usize = 32;

/// Several times what a key in PEM has.
const PEM_BYTES_MAX: usize = 2048;

/// What stands before the 32 bytes of a key in its DER form (RFC 8410, section 4).
const SPKI_HEAD: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";

const NO_PUBLIC_KEY: Refused = Refused::Key(
    "this is no Ed25519 public key, expected `-----BEGIN PUBLIC KEY-----` as `callgate plugin \
     keygen` writes it",
);

const NO_PRIVATE_KEY: Refused = Refused::Key(
    "this is no Ed25519 private key, expected `-----BEGIN PRIVATE KEY-----` as `callgate plugin \
     keygen` writes it",
);

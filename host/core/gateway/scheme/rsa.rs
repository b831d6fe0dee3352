//! RSA keys and certificates: read and validated by `rsa` and `x509-cert`, verified with
//! by `aws-lc-rs`.
//!
//! Texts are read as consoles and `openssl` give them: PEM, or bare base64 without armour. A key
//! is parsed once, when the channel opens; verifying parses nothing.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::{ALGORITHM_OID, RsaPublicKeyRef};
use rsa::pkcs8::{EncodePublicKey as _, SubjectPublicKeyInfoRef};
use rsa::{BoxedUint, RsaPublicKey};
use x509_cert::Certificate as X509;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::time::Time;

use crate::time::Timestamp;

mod private;

pub use private::PrivateKey;

/// The digest of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1: only where an old account knows nothing better.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// An RSA public key of 1024 to 8192 bits, ready to verify with.
///
/// `Debug` shows the size alone.
#[derive(Clone)]
pub struct PublicKey {
    bits: u32,
    spki: Box<[u8]>,
    sha1: ParsedPublicKey,
    sha256: ParsedPublicKey,
}

impl PublicKey {
    /// Reads a public key.
    ///
    /// Takes PEM with `BEGIN PUBLIC KEY` (SPKI) or `BEGIN RSA PUBLIC KEY` (PKCS#1), and the bare
    /// base64 of an SPKI as Alipay's console gives it. White space inside the base64 is ignored.
    ///
    /// # Errors
    /// [`KeyError`] where the text is no such key, the size is outside 1024 to 8192 bits, or the
    /// exponent is even, below 3 or above 33 bits.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = Block::read(text)?;
        if block.is_followed {
            return Err(KeyError::Several);
        }
        match block.label {
            None | Some("PUBLIC KEY") => Self::from_spki(&block.der),
            Some("RSA PUBLIC KEY") => Self::from_pkcs1(&block.der),
            Some(label) => Err(KeyError::label(label, "PUBLIC KEY or RSA PUBLIC KEY")),
        }
    }

    /// Whether `signature` is the RSASSA-PKCS1-v1_5 signature of `message` under this key.
    #[must_use]
    pub fn verify(&self, digest: Digest, message: &[u8], signature: &[u8]) -> bool {
        self.verify_parts(digest, &[message], signature)
    }

    /// Like [`PublicKey::verify`] for a message in several parts, without joining them.
    #[must_use]
    pub fn verify_parts(&self, digest: Digest, parts: &[&[u8]], signature: &[u8]) -> bool {
        let (key, algorithm) = match digest {
            Digest::Sha1 => (&self.sha1, &SHA1_FOR_LEGACY_USE_ONLY),
            Digest::Sha256 => (&self.sha256, &SHA256),
        };
        let mut context = Context::new(algorithm);
        for part in parts {
            context.update(part);
        }
        key.verify_digest_sig(&context.finish(), signature).is_ok()
    }

    /// The size of the modulus in bits. What is too small for a gateway, the gateway says.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The key as canonical SPKI DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Der("SPKI"))?;
        if info.algorithm.oid != ALGORITHM_OID {
            return Err(KeyError::Algorithm);
        }
        Self::from_pkcs1(info.subject_public_key.as_bytes().ok_or(KeyError::Der("SPKI"))?)
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let parts = RsaPublicKeyRef::from_der(der).map_err(|_| KeyError::Der("RSA public key"))?;
        let modulus = BoxedUint::from_be_slice_vartime(parts.modulus.as_bytes());
        let exponent = BoxedUint::from_be_slice_vartime(parts.public_exponent.as_bytes());
        let bits = modulus.bits_vartime();
        if !(BITS_MIN..=BITS_MAX).contains(&bits) {
            return Err(KeyError::Size { bits });
        }
        let key = RsaPublicKey::new(modulus, exponent).map_err(|_| KeyError::Numbers)?;
        let spki = key.to_public_key_der().map_err(|_| KeyError::Numbers)?.into_vec();
        Ok(Self {
            bits,
            sha1: parsed(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, &spki)?,
            sha256: parsed(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &spki)?,
            spki: spki.into_boxed_slice(),
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits)", self.bits)
    }
}

/// What a channel needs of an X.509 certificate. Its own signature is not checked: the file in
/// the configuration is the anchor of trust.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Serial number in upper-case hex without leading zeros.
    pub serial_hex: String,
    /// Serial number in decimal.
    pub serial_decimal: String,
    /// Issuer in the order and with the escapes of RFC 4514, such as `CN=…,O=…,C=CN`.
    pub issuer: String,
    /// The first moment of validity.
    pub not_before: Timestamp,
    /// The last moment of validity.
    pub not_after: Timestamp,
    /// The certified key.
    pub key: PublicKey,
}

impl Certificate {
    /// Reads a PEM certificate; of a bundle the first, which is where issuers put the leaf.
    ///
    /// # Errors
    /// [`KeyError`] where the text is no X.509 certificate or its key is not acceptable.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = Block::read(text)?;
        if let Some(label) = block.label.filter(|label| *label != "CERTIFICATE") {
            return Err(KeyError::label(label, "CERTIFICATE"));
        }
        let certificate = X509::from_der(&block.der).map_err(|_| KeyError::Der("X.509"))?;
        let content = certificate.tbs_certificate();
        let serial = content.serial_number().as_bytes();
        let spki = content.subject_public_key_info().to_der().map_err(|_| KeyError::Der("SPKI"))?;
        let hex: String = serial.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self {
            serial_hex: hex.trim_start_matches('0').to_owned(),
            serial_decimal: BoxedUint::from_be_slice_vartime(serial).to_string_radix_vartime(10),
            issuer: content.issuer().to_string(),
            not_before: moment(content.validity().not_before)?,
            not_after: moment(content.validity().not_after)?,
            key: PublicKey::from_spki(&spki)?,
        })
    }
}

/// Why a text is not an acceptable key or certificate. Holds no bytes of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is empty.
    #[error("text is empty, expected PEM")]
    Empty,
    /// The PEM armour holds something else.
    #[error("found PEM block `{found}`, expected {expected}")]
    Label {
        /// The label found.
        found: String,
        /// The labels that fit.
        expected: &'static str,
    },
    /// More than one PEM block stands there.
    #[error("found several PEM blocks, expected one")]
    Several,
    /// The armour is not closed by its own end line.
    #[error("PEM block has no end line of its own, expected a whole file: it may be cut off")]
    Armour,
    /// The text between the armour, or all of it, is not base64.
    #[error("text is neither PEM nor base64, expected PEM (-----BEGIN …)")]
    Base64,
    /// The bytes are not the named structure.
    #[error("content is not {0} in DER, expected a whole file: it may be cut off")]
    Der(&'static str),
    /// The key is not one for RSA signatures.
    #[error("key is of another algorithm, expected RSA (rsaEncryption)")]
    Algorithm,
    /// The modulus is too small or too large.
    #[error("RSA key has {bits} bits, expected 1024 to 8192")]
    Size {
        /// The size found.
        bits: u32,
    },
    /// Modulus or exponent cannot be that of an RSA key.
    #[error("RSA key has an impossible modulus or exponent, expected odd ones, exponent 3 to 2^33")]
    Numbers,
}

impl KeyError {
    fn label(found: &str, expected: &'static str) -> Self {
        // A label is short; what is longer is something else and may be secret.
        Self::Label { found: found.chars().take(32).collect(), expected }
    }
}

/// Decodes a signature: base64 of the standard alphabet, padding required, no white space.
#[must_use]
pub fn decode_signature(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// One PEM block, or bare base64 without label.
struct Block<'a> {
    label: Option<&'a str>,
    der: Vec<u8>,
    is_followed: bool,
}

impl<'a> Block<'a> {
    /// Text before the armour is skipped: `openssl x509 -text` writes some. The line length is
    /// not looked at: many consoles give one long line.
    fn read(text: &'a str) -> Result<Self, KeyError> {
        if text.trim().is_empty() {
            return Err(KeyError::Empty);
        }
        let Some((_, armoured)) = text.split_once(BEGIN) else {
            return Ok(Self { label: None, der: decode(text)?, is_followed: false });
        };
        let (label, rest) = armoured.split_once("-----").ok_or(KeyError::Armour)?;
        let end = format!("-----END {label}-----");
        let (body, after) = rest.split_once(&end).ok_or(KeyError::Armour)?;
        Ok(Self { label: Some(label), der: decode(body)?, is_followed: after.contains(BEGIN) })
    }
}

/// The DER of every PEM block of a bundle; of a text without armour its own.
pub(crate) fn der_blocks(bundle: &str) -> Result<Vec<Vec<u8>>, KeyError> {
    let mut blocks = vec![Block::read(bundle)?];
    let mut rest = bundle;
    while blocks.last().is_some_and(|block| block.is_followed) {
        rest = rest.split_once(END).unwrap_or_default().1;
        blocks.push(Block::read(rest)?);
    }
    Ok(blocks.into_iter().map(|block| block.der).collect())
}

fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    let solid: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(solid).map_err(|_| KeyError::Base64)
}

fn parsed(
    algorithm: &'static dyn VerificationAlgorithm,
    spki: &[u8],
) -> Result<ParsedPublicKey, KeyError> {
    ParsedPublicKey::new(algorithm, spki).map_err(|_| KeyError::Numbers)
}

fn moment(time: Time) -> Result<Timestamp, KeyError> {
    i64::try_from(time.to_unix_duration().as_millis())
        .map(Timestamp::from_ms)
        .map_err(|_| KeyError::Der("X.509"))
}

const BEGIN: &str = "-----BEGIN ";

const END: &str = "-----END ";

/// Smallest modulus: old Alipay accounts sign with 1024 bits.
const BITS_MIN: u32 = 1024;

/// Largest modulus both libraries take.
const BITS_MAX: u32 = 8192;

#[cfg(test)]
mod tests;

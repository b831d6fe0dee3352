//! The file: a text, and below it the signatures over every byte of that text.
//!
//! ```text
//! # callgate plugin manifest, format 1
//! name = "mall/order-payment"
//! …
//! # signature: ed25519 PRODUCT_ORDER/main-2026 <88 characters of Base64>
//! ```
//!
//! The first line says what the signed bytes are, so that a signature that a key made for something
//! else never fits here. Whatever follows the first line of a signature must be one, too.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::{PrivateKey, SIGNATURE_BYTES};
use crate::policy::Policies;
use crate::refused::{Refused, shown};

/// The first line of every manifest.
pub const FIRST_LINE: &str = "# callgate plugin manifest, format 1\n";

/// Bytes of a manifest file, its signatures included.
pub const FILE_BYTES_MAX: usize = 256 << 10;

/// Signatures of one manifest.
pub const SIGNATURES_MAX: usize = 16;

/// Whose key has signed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signer {
    /// The business that the key belongs to.
    pub business: String,
    /// The key's name among those of the business.
    pub key: String,
}

impl Signer {
    /// Names a signer.
    ///
    /// # Errors
    /// [`Refused::Key`] where a name has other characters than a line of a signature can have.
    pub fn new(business: &str, key: &str) -> Result<Self, Refused> {
        if !is_name(business) || !is_name(key) {
            return Err(Refused::Key(
                "the names of business and key are 1 to 64 characters of A-Z a-z 0-9 _ - .",
            ));
        }
        Ok(Self { business: business.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.business, self.key)
    }
}

/// A manifest file, taken apart but not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    body: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One line of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    signer: Signer,
    bytes: [u8; SIGNATURE_BYTES],
}

impl SignedManifest {
    /// Finds the signatures. What they are over stays bytes.
    ///
    /// # Errors
    /// [`Refused`] where the file is too large, is no manifest, or has a line of a signature that
    /// is none.
    pub fn parse(file: &[u8]) -> Result<Self, Refused> {
        if file.len() > FILE_BYTES_MAX {
            let (found, limit) = (file.len(), FILE_BYTES_MAX);
            return Err(Refused::TooLarge { what: "the manifest", found, limit });
        }
        if !file.starts_with(FIRST_LINE.as_bytes()) {
            return Err(first_line(file));
        }
        if !file.ends_with(b"\n") {
            let problem = "the last line has no line feed behind it, expected a whole file";
            return Err(Refused::Format(problem.to_owned()));
        }
        let at = find(file, SIGNATURE_START).unwrap_or(file.len());
        let (body, tail) = file.split_at_checked(at).unwrap_or((file, &[]));
        let line = body.iter().filter(|byte| **byte == b'\n').count();
        Ok(Self { body: body.to_vec(), signatures: signatures(tail, line.saturating_add(1))? })
    }

    /// What is signed, byte for byte.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Who claims to have signed; whether it is true, [`Self::verify`] tells.
    pub fn claimed_signers(&self) -> impl Iterator<Item = &Signer> {
        self.signatures.iter().map(|signature| &signature.signer)
    }

    /// The signers whose signatures hold. Keys that the host does not know are passed over, so
    /// that a manifest can be signed with an old and a new key.
    ///
    /// # Errors
    /// [`Refused::Signature`] where a key of the host says that its signature does not fit.
    pub fn verify(&self, policies: &Policies) -> Result<Vec<Signer>, Refused> {
        let mut held = Vec::new();
        for Signature { signer, bytes } in &self.signatures {
            let Some(key) = policies.key(signer) else { continue };
            if !key.verifies(&self.body, bytes) {
                return Err(Refused::Signature { signer: signer.to_string() });
            }
            held.push(signer.clone());
        }
        Ok(held)
    }

    /// Adds a signature; one of the same signer is replaced.
    ///
    /// # Errors
    /// [`Refused`] where there are too many signatures, or signing fails.
    pub fn sign(&mut self, signer: Signer, key: &PrivateKey) -> Result<(), Refused> {
        let bytes = key.sign(&self.body)?;
        self.signatures.retain(|signature| signature.signer != signer);
        if self.signatures.len() >= SIGNATURES_MAX {
            let line = 1;
            return Err(Refused::SignatureLine { line, problem: too_many() });
        }
        self.signatures.push(Signature { signer, bytes });
        Ok(())
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = self.body.clone();
        for Signature { signer, bytes } in &self.signatures {
            let line = format!("{SIGNATURE_START}ed25519 {signer} {}\n", STANDARD.encode(bytes));
            file.extend_from_slice(line.as_bytes());
        }
        file
    }
}

fn first_line(file: &[u8]) -> Refused {
    let found = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let found = shown(&String::from_utf8_lossy(found));
    let expected = FIRST_LINE.trim_end();
    Refused::Format(format!("line 1 is `{found}`, expected `{expected}` and a line feed after it"))
}

/// Where the first line that begins with a text stands.
fn find(file: &[u8], start: &str) -> Option<usize> {
    let mut at = 0_usize;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(start.as_bytes()) {
            return Some(at);
        }
        at = at.saturating_add(line.len());
    }
    None
}

fn signatures(tail: &[u8], first: usize) -> Result<Vec<Signature>, Refused> {
    let mut found: Vec<Signature> = Vec::new();
    for (number, line) in tail.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let fail = |problem: String| {
            Err(Refused::SignatureLine { line: first.saturating_add(number), problem })
        };
        let Some(signature) = signature(line) else {
            let shown = shown(String::from_utf8_lossy(line).trim_end());
            return fail(format!(
                "found `{shown}`, expected `{SIGNATURE_START}ed25519 BUSINESS/KEY BASE64`; nothing \
                 else may stand below the first signature"
            ));
        };
        if found.iter().any(|before| before.signer == signature.signer) {
            return fail(format!("`{}` has signed twice, expected once", signature.signer));
        }
        found.push(signature);
        if found.len() > SIGNATURES_MAX {
            return fail(too_many());
        }
    }
    Ok(found)
}

fn too_many() -> String {
    format!("too many signatures, limit is {SIGNATURES_MAX}")
}

fn signature(line: &[u8]) -> Option<Signature> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix(SIGNATURE_START)?.strip_suffix('\n')?;
    let (signer, encoded) = rest.strip_prefix("ed25519 ")?.split_once(' ')?;
    let (business, key) = signer.split_once('/')?;
    let signer = Signer::new(business, key).ok()?;
    let bytes = STANDARD.decode(encoded).ok()?.try_into().ok()?;
    Some(Signature { signer, bytes })
}

/// A business or key, as the configuration names them.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

const SIGNATURE_START: &str = "# signature: ";

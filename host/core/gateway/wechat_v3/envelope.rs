//! The signed body: identity, kind, and the sealed resource.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::gateway::Refusal;
use crate::gateway::scheme::aead::{Key, OpenError, Sealed};
use crate::time::Timestamp;

/// A body whose signature held. Fields that are not read here may come and go.
#[derive(Deserialize)]
pub(super) struct Envelope {
    /// Identity of the message, the same in every retry: 1 to 64 visible characters.
    pub(super) id: String,
    /// Such as `TRANSACTION.SUCCESS`: 1 to 64 visible characters.
    pub(super) event_type: String,
    create_time: Option<String>,
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    algorithm: String,
    original_type: Option<String>,
    ciphertext: String,
    nonce: String,
    associated_data: Option<String>,
}

impl Envelope {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let envelope: Self = serde_json::from_slice(body).map_err(|_| Refusal::Malformed {
            what: "body, expected a JSON envelope with id, event_type and resource",
        })?;
        if !is_identifier(&envelope.id) {
            return Err(Refusal::Malformed { what: "id, expected 1 to 64 visible characters" });
        }
        if !is_identifier(&envelope.event_type) {
            let what = "event_type, expected 1 to 64 visible characters";
            return Err(Refusal::Malformed { what });
        }
        Ok(envelope)
    }

    /// The kind of the resource, such as `transaction`; empty where the message has none.
    pub(super) fn original_type(&self) -> &str {
        self.resource.original_type.as_deref().unwrap_or_default()
    }

    /// When the message was made.
    pub(super) fn created_at(&self) -> Option<Timestamp> {
        self.create_time.as_deref().and_then(Timestamp::parse_rfc3339)
    }

    /// Opens the resource with the first key that fits.
    pub(super) fn open(&self, keys: &[Key]) -> Result<Vec<u8>, Refusal> {
        if self.resource.algorithm != ALGORITHM {
            return Err(Refusal::Algorithm { expected: ALGORITHM });
        }
        let ciphertext = STANDARD
            .decode(&self.resource.ciphertext)
            .map_err(|_| Refusal::Malformed { what: "resource.ciphertext, expected base64" })?;
        let sealed = Sealed {
            nonce: self.resource.nonce.as_bytes(),
            associated_data: self
                .resource
                .associated_data
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
            ciphertext: &ciphertext,
        };
        let mut refusal = Refusal::Decrypt;
        for key in keys {
            match key.open(sealed) {
                Ok(plaintext) => return Ok(plaintext),
                Err(error) => refusal = refuse(error),
            }
        }
        Err(refusal)
    }
}

/// Whether a text can name something: 1 to 64 visible ASCII characters. Blanks and controls
/// would be told apart differently by stores, logs and people.
pub(super) fn is_identifier(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn refuse(error: OpenError) -> Refusal {
    match error {
        OpenError::NonceLength { .. } => {
            Refusal::Malformed { what: "resource.nonce, expected 12 bytes" }
        }
        OpenError::TooShort { .. } => {
            Refusal::Malformed { what: "resource.ciphertext, expected at least 16 bytes" }
        }
        OpenError::Tag => Refusal::Decrypt,
    }
}

/// The cipher that belongs to the RSA signature type; SM4 belongs to another.
const ALGORITHM: &str = "AEAD_AES_256_GCM";

#[cfg(test)]
mod tests {
    use super::super::tests::Silent;
    use super::{Envelope, Resource};

    #[test]
    fn an_envelope_cannot_be_printed() {
        <Envelope as Silent<_>>::holds();
        <Resource as Silent<_>>::holds();
    }
}

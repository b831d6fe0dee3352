//! Asking WeChat Pay v3 for its platform certificates: `GET /v3/certificates`.
//!
//! Sources: pay.weixin.qq.com, page on fetching platform certificates; the official Go and Java
//! SDKs, which begin without any certificate (read 2026-11).
//!
//! How the first one is believed. Each certificate comes sealed with the `APIv3` key, which merchant
//! and gateway alone have: who can seal one that opens is the gateway. The answer as a whole is
//! signed besides. Where the channel knows the key that signed it, that key decides; where it does
//! not, because this is the first answer or the gateway has just changed, the signature must be by
//! a certificate that came in this answer, opened, and passed every check. So the signature of a
//! first answer adds freshness and wholeness, while trust comes from the seal, and from the root
//! where one is configured.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::gateway::inquiry::{CannotAsk, Incoming, Outgoing, Stamp, shown};
use crate::gateway::platform::{Admitted, BadCertificate, HandedOut, Platform, Unfetched};
use crate::gateway::scheme::aead::Sealed;
use crate::gateway::scheme::rsa::{Certificate, Digest, PublicKey, decode_signature};
use crate::gateway::{Gateway, Refusal};
use crate::request::Request;
use crate::time::Timestamp;

use super::head::Head;
use super::keys::{BITS_MIN, normal};
use super::{BODY_BYTES_MAX, WechatV3};

impl Platform for WechatV3 {
    fn ask(&self, stamp: Stamp<'_>) -> Result<Outgoing, CannotAsk> {
        let mut headers = vec![("accept", "application/json".to_owned())];
        if let Some(id) = self.ring.public_key_id() {
            headers.push(("wechatpay-serial", id.to_owned()));
        }
        headers.push(("authorization", self.authorize(("GET", TARGET, ""), stamp)?));
        let (target, body) = (TARGET.to_owned(), String::new());
        Ok(Outgoing { method: "GET", target, headers, body })
    }

    fn hear(&self, answer: &Incoming<'_>, now: Timestamp) -> Result<HandedOut, Unfetched> {
        if answer.status != 200 {
            return Err(failed(answer));
        }
        let headers = answer.headers;
        let read = Request { method: "", path: "", query: "", headers, body: answer.body };
        let head = Head::signed(&read)?;
        head.check_fresh(now, self.tolerance_ms)?;
        if answer.body.len() > BODY_BYTES_MAX {
            return Err(Refusal::TooLarge { limit_bytes: BODY_BYTES_MAX }.into());
        }
        let listed: Listed = serde_json::from_slice(answer.body).map_err(|_| {
            Refusal::Malformed { what: "answer, expected a JSON list of certificates" }
        })?;
        if listed.data.len() > LISTED_MAX {
            return Err(Refusal::Malformed { what: "answer, too many certificates" }.into());
        }
        let mut handed_out = HandedOut::default();
        for one in &listed.data {
            match self.open(one, now) {
                Ok(admitted) => handed_out.admitted.push(admitted),
                Err(bad) => handed_out.refused.push((shown(&one.serial_no), bad)),
            }
        }
        let key = self.signer(&head, &handed_out, now).ok_or(Refusal::KeyUnknown)?;
        let signature = decode_signature(head.signature).ok_or(Refusal::Signature)?;
        if !key.verify_parts(Digest::Sha256, &head.signed_parts(answer.body), &signature) {
            return Err(Refusal::Signature.into());
        }
        Ok(handed_out)
    }

    fn admit(&self, pem: &str, serial: &str, now: Timestamp) -> Result<Admitted, BadCertificate> {
        let certificate = Certificate::from_pem(pem).map_err(BadCertificate::NotACertificate)?;
        let bits = certificate.key.bits();
        if bits < BITS_MIN {
            return Err(BadCertificate::Weak { bits });
        }
        if certificate.serial_hex != normal(serial) {
            return Err(BadCertificate::Serial { found: certificate.serial_hex });
        }
        if certificate.not_after < now {
            return Err(BadCertificate::Expired { ended: certificate.not_after });
        }
        if let Some(roots) = &self.roots {
            // A new one is handed out before it is used, so that everybody has it by then.
            let at = now.max(certificate.not_before);
            roots.vouch(pem, at).map_err(BadCertificate::Chain)?;
        }
        Ok(Admitted { pem: pem.to_owned(), certificate })
    }

    fn with(&self, fetched: &[Admitted]) -> Arc<dyn Gateway> {
        Arc::new(Self { ring: self.ring.with(fetched), ..self.clone() })
    }

    fn can_verify(&self, now: Timestamp) -> bool {
        self.ring.has_any(now)
    }
}

impl WechatV3 {
    fn open(&self, one: &Entry, now: Timestamp) -> Result<Admitted, BadCertificate> {
        let sealed = &one.encrypt_certificate;
        if sealed.algorithm != "AEAD_AES_256_GCM" {
            return Err(BadCertificate::Decrypt);
        }
        let ciphertext =
            STANDARD.decode(&sealed.ciphertext).map_err(|_| BadCertificate::Decrypt)?;
        let parts = Sealed {
            nonce: sealed.nonce.as_bytes(),
            associated_data: sealed.associated_data.as_bytes(),
            ciphertext: &ciphertext,
        };
        let plaintext = self.sealing_keys.iter().find_map(|key| key.open(parts).ok());
        let plaintext = plaintext.ok_or(BadCertificate::Decrypt)?;
        let pem = String::from_utf8(plaintext).map_err(|_| BadCertificate::Decrypt)?;
        self.admit(&pem, &one.serial_no, now)
    }

    /// The key that says to have signed the answer: a known one, else one that came in it.
    fn signer<'a>(
        &'a self,
        head: &Head<'_>,
        handed_out: &'a HandedOut,
        now: Timestamp,
    ) -> Option<&'a PublicKey> {
        let serial = normal(head.serial);
        let came = || handed_out.admitted.iter().find(|one| *one.serial() == *serial);
        self.ring.find(head.serial, now).or_else(|| came().map(|one| &one.certificate.key))
    }
}

#[derive(Deserialize)]
struct Listed {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    serial_no: String,
    encrypt_certificate: SealedCertificate,
}

#[derive(Deserialize)]
struct SealedCertificate {
    algorithm: String,
    nonce: String,
    #[serde(default)]
    associated_data: String,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Failure {
    code: Option<String>,
}

/// What an answer other than 200 means. It may be unsigned, so it decides nothing.
fn failed(answer: &Incoming<'_>) -> Unfetched {
    let said = serde_json::from_slice::<Failure>(answer.body).ok().and_then(|it| it.code);
    let code = said.map_or_else(|| format!("status.{}", answer.status), |code| shown(&code));
    match answer.status {
        408 | 425 | 429 | 500.. => Unfetched::Busy { code },
        _ => Unfetched::Denied { code },
    }
}

const TARGET: &str = "/v3/certificates";

/// Two or three stand side by side around a change; this bounds what an answer can make us open.
const LISTED_MAX: usize = 32;

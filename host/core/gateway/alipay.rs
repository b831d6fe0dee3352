//! Alipay asynchronous notifications: a form, signed with RSA over its sorted fields.
//!
//! Sources: Alipay open platform documentation, "asynchronous notification" and "self-made
//! verification", and the verification rules V1 and V2 of the official SDKs, read 2026-11-22.
//! No time is signed that could bound a repeat: Alipay sends again for 25 hours, so a repeat is
//! recognised by the delivery key alone.
//!
//! The signature covers the bytes of the sender's charset; they become text after it holds. The
//! signed text escapes nothing, so a field hidden in its neighbour's value is looked for and
//! refused: a hidden `refund_fee` would turn a refund into a second payment.
//!
//! Files: `keys` holds the Alipay keys, `notice` turns checked fields into notifications,
//! `inquiry` asks.

use std::borrow::Cow;

use serde::Deserialize;

use crate::gateway::inquiry::Inquiry;
use crate::gateway::known::KnownKey;
use crate::gateway::platform::Platform;
use crate::gateway::scheme::form::Form;
use crate::gateway::scheme::rsa::{Digest, decode_signature};
use crate::gateway::scheme::sorted_fields::SortedFields;
use crate::gateway::{Ack, Answer, Gateway, Refusal, SettingsError};
use crate::notification::Verified;
use crate::request::Request;
use crate::time::Timestamp;

use self::inquiry::Asker;
use self::keys::Ring;
use self::notice::{Account, Fields};

mod keys;

mod notice;

mod inquiry;

pub use inquiry::InquirySettings;

/// Settings of a channel that hears Alipay. Keys stand here as text; one kind of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The applications (`app_id`) whose payments are expected; at least one.
    pub application_ids: Vec<String>,
    /// The sellers (`seller_id`, or `seller_email` where a notice has no id) that are ours.
    /// Empty: the seller is not checked, the application alone is.
    #[serde(default)]
    pub seller_ids: Vec<String>,
    /// Key mode: the Alipay public key, PEM or the bare base64 of the console. Not the
    /// application's own public key.
    #[serde(default)]
    pub public_key: Option<String>,
    /// Certificate mode: Alipay public-key certificates as PEM, at most four, so that an old and
    /// a new one can stand beside each other. Their ends are shown and warned of, but a callback
    /// under one that has ended is still believed: it is the person who put it there that knows.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Certificate mode: Alipay's root certificates (`alipayRootCert.crt`), the bundle as it is
    /// downloaded. Where it is given, every certificate must chain to it, through whatever stands
    /// behind it in its own file; and questions name it.
    #[serde(default)]
    pub root_certificate: Option<String>,
    /// The weakest signature the application is configured for.
    #[serde(default)]
    pub sign_type: SignType,
    /// What it takes to ask what became of an order that heard nothing.
    #[serde(default)]
    pub inquiry: Option<InquirySettings>,
}

/// The weakest signature that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignType {
    /// `RSA2` alone: SHA-256, keys of at least 2048 bits.
    #[default]
    Rsa2,
    /// `RSA` (SHA-1) and `RSA2`, keys of at least 1024 bits: for applications that were never
    /// moved to `RSA2`.
    Rsa,
}

/// Alipay with the keys of one application.
#[derive(Debug)]
pub struct Alipay {
    account: Account,
    ring: Ring,
    sign_type: SignType,
    asker: Option<Asker>,
}

impl Alipay {
    /// Reads the settings and every key.
    ///
    /// # Errors
    /// [`SettingsError`] for an empty account name, keys of both kinds or of none, more than four
    /// certificates, or a key that does not read or is too small for the signature type.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let ring = Ring::new(&settings)?;
        let asker = settings.inquiry.as_ref().map(|it| Asker::new(it, &settings)).transpose()?;
        let Settings { application_ids, seller_ids, sign_type, .. } = settings;
        if application_ids.is_empty() {
            return Err(SettingsError::new("application_ids", "is empty, expected at least one"));
        }
        for (field, names) in [("application_ids", &application_ids), ("seller_ids", &seller_ids)] {
            if names.iter().any(String::is_empty) {
                return Err(SettingsError::new(field, "holds an empty text"));
            }
        }
        let account = Account { application_ids, seller_ids };
        Ok(Self { account, ring, sign_type, asker })
    }

    fn check_signature(&self, form: &Form) -> Result<(), Refusal> {
        let digest = self.digest(form)?;
        let signature = form.get("sign").and_then(signature).ok_or(Refusal::Signature)?;
        let keys = self.ring.candidates(form.get(CERTIFICATE_SN))?;
        let signed = rules(form)
            .map(|unsigned| signed(form, unsigned))
            .find(|fields| {
                let joined = fields.joined();
                keys.iter().any(|key| key.verify(digest, &joined, &signature))
            })
            .ok_or(Refusal::Signature)?;
        if signed.could_hide(&notice::READ) {
            return Err(Refusal::Malformed { what: "a value hides a field in the signed text" });
        }
        Ok(())
    }

    /// The digest that the notice names, if the channel allows it. The name itself is unsigned
    /// in most notices, so it must never choose something weaker.
    fn digest(&self, form: &Form) -> Result<Digest, Refusal> {
        match (form.get("sign_type"), self.sign_type) {
            (Some(b"RSA2"), _) => Ok(Digest::Sha256),
            (Some(b"RSA"), SignType::Rsa) => Ok(Digest::Sha1),
            (Some(_) | None, SignType::Rsa) => Err(Refusal::Algorithm { expected: "RSA or RSA2" }),
            (Some(_) | None, SignType::Rsa2) => Err(Refusal::Algorithm { expected: "RSA2" }),
        }
    }
}

impl Gateway for Alipay {
    fn verify(&self, request: &Request<'_>, _now: Timestamp) -> Result<Verified, Refusal> {
        let content_type = request.header("content-type")?;
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if request.method != "POST" || !media_type.eq_ignore_ascii_case(FORM) {
            return Err(Refusal::NotItsRequest { expected: "POST with a URL-encoded form" });
        }
        let form = Form::parse(request.body)
            .map_err(|_| Refusal::Malformed { what: "body, expected a URL-encoded form" })?;
        self.check_signature(&form)?;
        notice::read(&self.account, &Fields::decode(&form)?)
    }

    /// The body decides: anything but exactly `success` means that Alipay sends again.
    fn reply(&self, answer: Answer<'_>) -> Ack {
        let body = match answer {
            Answer::Accepted => "success",
            Answer::Refused(_) | Answer::Unavailable => "fail",
        };
        Ack { status: 200, content_type: Some("text/plain"), body: Cow::Borrowed(body) }
    }

    fn inquiry(&self) -> Option<&dyn Inquiry> {
        let asks: &dyn Inquiry = self;
        self.asker.as_ref().map(|_| asks)
    }

    /// Alipay hands a new certificate out to whoever asks for it by name; it is put into the
    /// configuration by a person.
    fn platform(&self) -> Option<&dyn Platform> {
        None
    }

    fn keys(&self) -> Vec<KnownKey> {
        let mut keys = self.ring.known();
        keys.extend(self.asker.iter().map(Asker::known));
        keys
    }
}

/// Reads the signature. A `+` that a machine in between decoded once more is a space here, and
/// base64 has no spaces, so putting it back is safe. In no other field it would be.
fn signature(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
    decode_signature(&text.replace(' ', "+"))
}

/// The names to leave out, in the order to try.
///
/// Trade notices leave out `sign` and `sign_type` (rule V1). Others are documented to leave out
/// `sign` alone (V2), yet some follow V1. A certificate's serial is documented as signed, but not
/// by every sender.
fn rules(form: &Form) -> impl Iterator<Item = &'static [&'static str]> {
    let (documented, without_serial): (&[&[&str]], &[&[&str]]) = match is_trade(form) {
        true => (&[&["sign", "sign_type"]], &[&["sign", "sign_type", CERTIFICATE_SN]]),
        false => (
            &[&["sign"], &["sign", "sign_type"]],
            &[&["sign", CERTIFICATE_SN], &["sign", "sign_type", CERTIFICATE_SN]],
        ),
    };
    let has_serial = form.get(CERTIFICATE_SN).is_some();
    documented.iter().chain(without_serial.iter().filter(move |_| has_serial)).copied()
}

fn signed<'a>(form: &'a Form, unsigned: &[&str]) -> SortedFields<'a> {
    let is_signed = |name: &[u8]| !unsigned.iter().any(|left_out| left_out.as_bytes() == name);
    SortedFields::new(form.iter().filter(|(name, _)| is_signed(name)))
}

/// Whether the notice tells of a trade: it says so, or says nothing and has a trade's state.
fn is_trade(form: &Form) -> bool {
    match form.get("notify_type") {
        Some(family) => family == b"trade_status_sync",
        None => form.get("trade_status").is_some(),
    }
}

/// Names the certificate whose key signed, where the sender says so.
const CERTIFICATE_SN: &str = "alipay_cert_sn";

const FORM: &str = "application/x-www-form-urlencoded";

#[cfg(test)]
mod tests;

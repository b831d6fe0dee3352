//! WeChat Pay API v3: a signature over timestamp, nonce and body, and a resource sealed with
//! AES-256-GCM.
//!
//! Sources: pay.weixin.qq.com, pages on the payment notice, the refund notice, the combined
//! notice, signature verification, the public-key guide and probe traffic; the official Go and
//! Java SDKs (all read 2026-11). The signature covers neither path nor serial, so the account in
//! the plaintext is always compared with the channel's.
//!
//! Reading order: `head` what the signature needs, `keys` which key, `envelope` what the
//! signed body holds, `resource` and `combined` what happened, `account` to whom; `inquiry` asks,
//! `certificates` asks for those that the gateway signs with.

use std::borrow::Cow;

use serde::Deserialize;

use crate::gateway::inquiry::Inquiry;
use crate::gateway::known::{KeyKind, KnownKey};
use crate::gateway::platform::Platform;
use crate::gateway::scheme::aead;
use crate::gateway::scheme::chain::Roots;
use crate::gateway::scheme::rsa::{Digest, decode_signature};
use crate::gateway::{Ack, Answer, Gateway, Refusal, SettingsError};
use crate::notification::Verified;
use crate::request::Request;
use crate::secret::Secret;
use crate::time::Timestamp;

use account::Account;
use envelope::Envelope;
use head::Head;
use inquiry::Merchant;
use keys::Ring;

mod head;

mod keys;

mod envelope;

mod resource;

mod combined;

mod account;

mod inquiry;

mod certificates;

pub use inquiry::InquirySettings;

#[cfg(test)]
mod tests;

/// Settings of a channel. Key fields hold PEM text; the loader has read `*_file` fields already.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The merchant (`mchid`); of a partner the partner itself (`sp_mchid`), of combined orders
    /// the one who combines (`combine_mchid`).
    pub merchant_id: String,
    /// The applications (`appid`, `sp_appid`, `combine_appid`) that may be named. At least one,
    /// unless `sub_merchant_ids` is given; empty there means not checked.
    #[serde(default)]
    pub application_ids: Vec<String>,
    /// Of a partner the merchants (`sub_mchid`) and of combined orders the merchants (`mchid`)
    /// that may be named. Empty: any `sub_mchid`, and in combined orders `merchant_id` alone.
    #[serde(default)]
    pub sub_merchant_ids: Vec<String>,
    /// The `APIv3` key, 32 characters.
    pub api_v3_key: Secret,
    /// The `APIv3` key before the last change: what was sealed earlier can still be in the
    /// gateway's queue of retries, which spans a little more than 24 h.
    #[serde(default)]
    pub previous_api_v3_key: Option<Secret>,
    /// Platform certificates, PEM, chosen by their own serial numbers. Never the merchant's own.
    #[serde(default)]
    pub platform_certificates: Vec<String>,
    /// `WeChat Pay` public keys, chosen by id. During the gateway's seven days of migration both
    /// kinds sign callbacks, so both must be configured then.
    #[serde(default)]
    pub public_keys: Vec<PublicKeySettings>,
    /// Whether more platform certificates are fetched from the gateway, which wants `inquiry`.
    /// A merchant that was only ever given a public key is refused them.
    #[serde(default)]
    pub fetch_certificates: bool,
    /// The roots that a fetched certificate must chain to, PEM bundles with whatever stands in
    /// between. Empty: none is asked for; what a fetched one is believed for then is that it was
    /// sealed with the `APIv3` key, which merchant and gateway alone have.
    #[serde(default)]
    pub platform_root_certificates: Vec<String>,
    /// Largest difference between the signed time and the clock in seconds, both directions, 1 to
    /// 3600. A difference of exactly this much passes.
    #[serde(default = "tolerance_s")]
    pub tolerance_s: u32,
    /// What it takes to ask what became of an order that heard nothing.
    #[serde(default)]
    pub inquiry: Option<InquirySettings>,
}

/// A public key as the merchant console gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeySettings {
    /// `PUB_KEY_ID_` and digits.
    pub id: String,
    /// The key, PEM.
    pub key: String,
}

/// The gateway with the keys of one account.
#[derive(Debug, Clone)]
pub struct WechatV3 {
    account: Account,
    ring: Ring,
    sealing_keys: Vec<aead::Key>,
    tolerance_ms: i64,
    merchant: Option<Merchant>,
    fetches: bool,
    roots: Option<Roots>,
}

impl WechatV3 {
    /// Reads the settings and every key in them.
    ///
    /// # Errors
    /// The field that is wrong: an id of another form, an `APIv3` key of other than 32 bytes, a
    /// key under 2048 bits or unreadable, a serial twice, no key at all, no application.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        if !(1..=3600).contains(&settings.tolerance_s) {
            let problem = format!("found {} s, expected 1 to 3600", settings.tolerance_s);
            return Err(SettingsError::new("tolerance_s", problem));
        }
        let mut sealing_keys = vec![sealing_key("api_v3_key", &settings.api_v3_key)?];
        if let Some(previous) = &settings.previous_api_v3_key {
            sealing_keys.push(sealing_key("previous_api_v3_key", previous)?);
        }
        let ring = Ring::new(&settings.platform_certificates, &settings.public_keys)?;
        let fetches = settings.fetch_certificates;
        if fetches && settings.inquiry.is_none() {
            let problem = "is on, expected inquiry beside it, with the key to ask";
            return Err(SettingsError::new("fetch_certificates", problem));
        }
        if ring.is_empty() && !fetches {
            let problem = "found no key, expected platform_certificates or public_keys or both, \
                           or fetch_certificates";
            return Err(SettingsError::new("public_keys", problem));
        }
        Ok(Self {
            ring,
            fetches,
            roots: roots(&settings)?,
            sealing_keys,
            tolerance_ms: i64::from(settings.tolerance_s).saturating_mul(1000),
            merchant: settings.inquiry.as_ref().map(Merchant::new).transpose()?,
            account: Account::new(
                settings.merchant_id,
                settings.application_ids,
                settings.sub_merchant_ids,
            )?,
        })
    }
}

impl Gateway for WechatV3 {
    fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Refusal> {
        let head = Head::read(request)?;
        head.check_fresh(now, self.tolerance_ms)?;
        if request.body.len() > BODY_BYTES_MAX {
            return Err(Refusal::TooLarge { limit_bytes: BODY_BYTES_MAX });
        }
        let key = self.ring.find(head.serial, now).ok_or(Refusal::KeyUnknown)?;
        let signature = decode_signature(head.signature).ok_or(Refusal::Signature)?;
        if !key.verify_parts(Digest::Sha256, &head.signed_parts(request.body), &signature) {
            return Err(Refusal::Signature);
        }
        let envelope = Envelope::parse(request.body)?;
        let plaintext = envelope.open(&self.sealing_keys)?;
        let verified = resource::read(&envelope, plaintext, &self.account)?;
        Ok(verified.signed_at_moment(Some(head.signed_at())))
    }

    /// 200 without a body means stored; the status decides, so a refusal is never 200.
    fn reply(&self, answer: Answer<'_>) -> Ack {
        match answer {
            Answer::Accepted => Ack { status: 200, content_type: None, body: Cow::Borrowed("") },
            Answer::Refused(refusal) => failure(refused_status(refusal), refusal.code()),
            Answer::Unavailable => failure(503, "unavailable"),
        }
    }

    fn inquiry(&self) -> Option<&dyn Inquiry> {
        let asks: &dyn Inquiry = self;
        self.merchant.as_ref().map(|_| asks)
    }

    fn platform(&self) -> Option<&dyn Platform> {
        let platform: &dyn Platform = self;
        self.fetches.then_some(platform)
    }

    fn keys(&self) -> Vec<KnownKey> {
        let secrets = ["api_v3_key", "previous_api_v3_key"].into_iter().zip(&self.sealing_keys);
        let secrets = secrets.map(|(name, _)| KnownKey::endless(name, KeyKind::SharedSecret));
        let own = self.merchant.iter().map(Merchant::known);
        self.ring.known().chain(secrets).chain(own).collect()
    }
}

fn roots(settings: &Settings) -> Result<Option<Roots>, SettingsError> {
    match settings.platform_root_certificates.as_slice() {
        [] => Ok(None),
        bundles => Roots::from_pem(bundles)
            .map(Some)
            .map_err(|error| SettingsError::key("platform_root_certificates", &error)),
    }
}

fn failure(status: u16, code: &str) -> Ack {
    // Codes are of letters, dots and dashes: nothing to escape.
    let body = format!(r#"{{"code":"FAIL","message":"{code}"}}"#);
    Ack { status, content_type: Some("application/json"), body: Cow::Owned(body) }
}

fn refused_status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::TooLarge { .. } => 413,
        Refusal::Incomplete => 408,
        Refusal::Encoded => 415,
        Refusal::HeaderRepeated { .. }
        | Refusal::HeaderMalformed { .. }
        | Refusal::NotItsRequest { .. }
        | Refusal::Malformed { .. }
        | Refusal::NotANotification { .. } => 400,
        Refusal::HeaderMissing { .. }
        | Refusal::Stale { .. }
        | Refusal::Ahead { .. }
        | Refusal::KeyUnknown
        | Refusal::Algorithm { .. }
        | Refusal::Probe
        | Refusal::Signature
        | Refusal::Decrypt => 401,
    }
}

/// The key is the text itself, not something that the text encodes.
fn sealing_key(field: &'static str, key: &Secret) -> Result<aead::Key, SettingsError> {
    aead::Key::new(key.expose().as_bytes()).map_err(|error| SettingsError::key(field, &error))
}

fn tolerance_s() -> u32 {
    300
}

/// Callbacks are a few KiB; this is generous and still cheap to hash.
const BODY_BYTES_MAX: usize = 1 << 20;

//! WeChat Pay v2: XML, signed with a shared key, refunds encrypted instead of signed.
//!
//! Sources: WeChat Pay v2 documentation, "signature algorithm" (4.3), "payment result notice"
//! (9.7) and "refund result notice" (9.16), read 2026-11-22. The protocol signs no time, so a
//! repeat is recognised by the delivery key alone.
//!
//! Two weaknesses are the protocol's own. The signed text escapes nothing, so a field hidden in
//! its neighbour's value is looked for and refused. A refund has no signature: that it decrypts
//! to a complete refund is all there is, and the outer `appid`, `mch_id` and `return_code` of it
//! are not protected at all: they can refuse a refund, never store one as another account's. The
//! host holds every refund against its order.
//!
//! Files: `notice` turns checked fields into notifications, `inquiry` asks.

use std::borrow::Cow;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use crate::gateway::inquiry::Inquiry;
use crate::gateway::known::{KeyKind, KnownKey};
use crate::gateway::platform::Platform;
use crate::gateway::scheme::sorted_fields::SortedFields;
use crate::gateway::scheme::xml::Flat;
use crate::gateway::scheme::{ecb, hex};
use crate::gateway::{Ack, Answer, Gateway, Refusal, SettingsError};
use crate::notification::Verified;
use crate::request::Request;
use crate::secret::Secret;
use crate::time::Timestamp;

use self::notice::Account;

mod notice;

mod inquiry;

pub use inquiry::InquirySettings;

/// Settings of a channel that hears WeChat Pay v2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The merchant number (`mch_id`); of a service provider its own.
    pub merchant_id: String,
    /// The applications (`appid`) whose payments are expected; at least one.
    pub application_ids: Vec<String>,
    /// For a service provider: the merchants (`sub_mch_id`) it serves. Empty: any, or none.
    #[serde(default)]
    pub sub_merchant_ids: Vec<String>,
    /// The API key of the merchant console: 32 visible ASCII characters. Not the APIv3 key.
    pub api_key: Secret,
    /// What the merchant signs its orders with. A notice that names a weaker type is refused.
    #[serde(default)]
    pub sign_type: SignType,
    /// Under `hmac-sha256`: take an MD5 signature where a notice names no type. WeChat Pay sends
    /// a few such notices to merchants who order with HMAC-SHA256; without this they are lost.
    #[serde(default = "taken_by_default")]
    pub allow_md5_without_sign_type: bool,
    /// Asks what became of an order that heard nothing; an empty table is enough.
    #[serde(default)]
    pub inquiry: Option<InquirySettings>,
}

/// How a notice is signed; in ascending strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignType {
    /// MD5 of the fields and the key: what a missing `sign_type` means.
    #[default]
    Md5,
    /// HMAC-SHA256 of the fields and the key, under the key.
    HmacSha256,
}

/// WeChat Pay v2 with one merchant's key.
#[derive(Debug)]
pub struct WechatV2 {
    account: Account,
    api_key: Secret,
    sign_type: SignType,
    /// Tried in this order where a notice names no type.
    unnamed: &'static [SignType],
    /// Where to ask, without a slash at the end; `None` where nothing is asked.
    base_url: Option<String>,
}

impl WechatV2 {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`SettingsError`] for an empty account name or an API key that is not 32 visible ASCII
    /// characters.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Settings { merchant_id, application_ids, sub_merchant_ids, api_key, .. } = settings;
        if merchant_id.is_empty() {
            return Err(SettingsError::new("merchant_id", "is empty, expected a merchant number"));
        }
        if application_ids.is_empty() {
            return Err(SettingsError::new("application_ids", "is empty, expected at least one"));
        }
        for (field, names) in
            [("application_ids", &application_ids), ("sub_merchant_ids", &sub_merchant_ids)]
        {
            if names.iter().any(String::is_empty) {
                return Err(SettingsError::new(field, "holds an empty text"));
            }
        }
        let length = api_key.expose().chars().count();
        if length != 32 || !api_key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = format!("has {length} characters, expected 32 visible ASCII characters");
            return Err(SettingsError::key("api_key", &problem));
        }
        let unnamed = match (settings.sign_type, settings.allow_md5_without_sign_type) {
            (SignType::Md5, _) => [SignType::Md5].as_slice(),
            (SignType::HmacSha256, true) => &[SignType::Md5, SignType::HmacSha256],
            (SignType::HmacSha256, false) => &[SignType::HmacSha256],
        };
        let account = Account { merchant_id, application_ids, sub_merchant_ids };
        let base_url = settings.inquiry.map(|it| it.base_url.trim_end_matches('/').to_owned());
        Ok(Self { account, api_key, sign_type: settings.sign_type, unnamed, base_url })
    }

    /// Gives the text that was signed, without the key.
    fn check_signature(&self, fields: &Flat, sign: &str) -> Result<Vec<u8>, Refusal> {
        let types = self.types(filled(fields, "sign_type"))?;
        let received = hex::decode(sign).ok_or(Refusal::Signature)?;
        let signed = SortedFields::new(
            fields
                .iter()
                .filter(|(name, value)| *name != "sign" && !value.is_empty())
                .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        );
        let joined = signed.joined();
        if !types.iter().any(|sign_type| self.signs(*sign_type, &joined, &received)) {
            return Err(Refusal::Signature);
        }
        if signed.could_hide(&notice::READ) || signed.could_hide(&inquiry::READ) {
            return Err(Refusal::Malformed { what: "a value hides a field in the signed text" });
        }
        Ok(joined)
    }

    /// The types to try, given what the notice names.
    fn types(&self, named: Option<&str>) -> Result<&'static [SignType], Refusal> {
        match (named, self.sign_type) {
            (None, _) => Ok(self.unnamed),
            (Some("MD5"), SignType::Md5) => Ok(&[SignType::Md5]),
            (Some("HMAC-SHA256"), _) => Ok(&[SignType::HmacSha256]),
            (Some(_), SignType::Md5) => Err(Refusal::Algorithm { expected: "MD5 or HMAC-SHA256" }),
            (Some(_), SignType::HmacSha256) => Err(Refusal::Algorithm { expected: "HMAC-SHA256" }),
        }
    }

    fn signs(&self, sign_type: SignType, joined: &[u8], received: &[u8]) -> bool {
        self.tag(sign_type, joined).ct_eq(received).into()
    }

    /// The signature of a joined text, in bytes.
    fn tag(&self, sign_type: SignType, joined: &[u8]) -> Vec<u8> {
        let key = self.api_key.expose().as_bytes();
        let parts = [joined, b"&key=".as_slice(), key];
        match sign_type {
            SignType::Md5 => {
                let mut digest = Md5::new();
                parts.iter().for_each(|part| digest.update(part));
                digest.finalize().to_vec()
            }
            SignType::HmacSha256 => {
                let mut tag = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
                parts.iter().for_each(|part| tag.update(part));
                tag.sign().as_ref().to_vec()
            }
        }
    }

    fn refund(&self, outer: &Flat, text: &str) -> Result<Verified, Refusal> {
        let ciphertext = STANDARD.decode(text).map_err(|_| Refusal::Decrypt)?;
        let digest = hex::encode(&Md5::digest(self.api_key.expose()));
        let key: &[u8; 32] = digest.as_bytes().try_into().map_err(|_| Refusal::Decrypt)?;
        ecb::open(key, &ciphertext, |plaintext| {
            let inner = Flat::parse(plaintext, "root").ok()?;
            notice::refund(&self.account, outer, &inner)
        })
        .ok_or(Refusal::Decrypt)
    }
}

impl Gateway for WechatV2 {
    fn verify(&self, request: &Request<'_>, _now: Timestamp) -> Result<Verified, Refusal> {
        if request.method != "POST" {
            return Err(Refusal::NotItsRequest { expected: "POST with an XML body" });
        }
        let fields = Flat::parse(request.body, "xml").map_err(|_| Refusal::Malformed {
            what: "body, expected flat XML with the root `xml`",
        })?;
        let refund = filled(&fields, "req_info");
        let signed_text = match (filled(&fields, "sign"), refund) {
            (Some(sign), _) => self.check_signature(&fields, sign)?,
            // Whoever saw a genuine refund could send it first under another account; stored as
            // a mismatch it would stand in the genuine one's place.
            (None, Some(_)) if self.account.mismatch(&fields).is_none() => Vec::new(),
            (None, _) => return Err(Refusal::Signature),
        };
        if fields.get("return_code") != Some("SUCCESS") {
            return Err(Refusal::NotANotification { what: "return_code is not SUCCESS" });
        }
        match refund {
            Some(text) => self.refund(&fields, text),
            None => notice::read(&self.account, &fields, &signed_text),
        }
    }

    /// The body decides: the gateway reads `return_code` and sends again after `FAIL`.
    fn reply(&self, answer: Answer<'_>) -> Ack {
        let body = match answer {
            Answer::Accepted => Cow::Borrowed(ACCEPTED),
            Answer::Refused(refusal) => Cow::Owned(failure(refusal.code())),
            Answer::Unavailable => Cow::Owned(failure("store.unavailable")),
        };
        Ack { status: 200, content_type: Some("text/xml"), body }
    }

    fn inquiry(&self) -> Option<&dyn Inquiry> {
        let asks: &dyn Inquiry = self;
        self.base_url.as_ref().map(|_| asks)
    }

    fn platform(&self) -> Option<&dyn Platform> {
        None
    }

    fn keys(&self) -> Vec<KnownKey> {
        vec![KnownKey::endless("api_key", KeyKind::SharedSecret)]
    }
}

/// The value of a field that is neither absent nor empty: the protocol signs no empty values, so
/// an empty field means as much as none.
fn filled<'a>(fields: &'a Flat, name: &str) -> Option<&'a str> {
    fields.get(name).filter(|value| !value.is_empty())
}

fn failure(code: &str) -> String {
    format!(
        "<xml><return_code><![CDATA[FAIL]]></return_code>\
         <return_msg><![CDATA[{code}]]></return_msg></xml>"
    )
}

const fn taken_by_default() -> bool {
    true
}

const ACCEPTED: &str = "<xml><return_code><![CDATA[SUCCESS]]></return_code>\
                        <return_msg><![CDATA[OK]]></return_msg></xml>";

#[cfg(test)]
mod tests;

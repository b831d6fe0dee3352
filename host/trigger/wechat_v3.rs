//! WeChat Pay API v3 callbacks: a signed JSON envelope around an encrypted resource.
//!
//! Source: pay.weixin.qq.com, "payment notice", "refund notice", "combined payment notice",
//! "signature verification" and "probe traffic", read 2026-11-21.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::time::Timestamp;
use serde::Serialize;

use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::{Keys, Merchant};
use crate::message::{
    CannotSign, Flaw, Message, Sending, flip_lowest_bit, other_last, place_after,
};
use crate::purchase::{Purchase, Refund, RefundResult};

mod resource;

/// One thing to tell. Its id stays the same for every try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The notification id: the delivery key.
    pub id: String,
    /// Which of the two platform keys signs; a real migration mixes both from try to try.
    pub mode: KeyMode,
    created_at: Timestamp,
    kind: Kind,
    resource: String,
}

/// Which platform key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyMode {
    /// The key of the platform certificate, named by the certificate's serial.
    Certificate,
    /// The WeChat Pay public key, named by its `PUB_KEY_ID_`.
    PublicKey,
}

/// A service provider and the merchant it acts for.
#[derive(Debug, Clone, Copy)]
pub struct Partner<'a> {
    /// The provider, whose channel it is (`sp_`).
    pub provider: &'a Merchant,
    /// The merchant that is paid (`sub_`).
    pub sub: &'a Merchant,
}

impl Notice {
    /// A payment that succeeded.
    #[must_use]
    pub fn payment(merchant: &Merchant, purchase: &Purchase, draw: &mut Draw) -> Self {
        let resource = resource::transaction(merchant, purchase, "SUCCESS");
        Self::made(PAYMENT, purchase.at, resource, draw)
    }

    /// A payment that can no longer succeed.
    #[must_use]
    pub fn payment_closed(merchant: &Merchant, purchase: &Purchase, draw: &mut Draw) -> Self {
        let resource = resource::transaction(merchant, purchase, "CLOSED");
        Self::made(PAYMENT_FAILED, purchase.at, resource, draw)
    }

    /// A payment to the merchant of a service provider.
    #[must_use]
    pub fn partner_payment(partner: Partner<'_>, purchase: &Purchase, draw: &mut Draw) -> Self {
        let resource = resource::partner_transaction(partner, purchase);
        Self::made(PAYMENT, purchase.at, resource, draw)
    }

    /// One payment of several orders; `combine_order_no` is the number of them together.
    #[must_use]
    pub fn combined(
        merchant: &Merchant,
        combine_order_no: &str,
        purchases: &[Purchase],
        draw: &mut Draw,
    ) -> Self {
        let at = purchases.iter().map(|purchase| purchase.at).max().unwrap_or_default();
        let resource = resource::combined(merchant, combine_order_no, purchases);
        Self::made(PAYMENT, at, resource, draw)
    }

    /// What became of a refund.
    #[must_use]
    pub fn refund(
        merchant: &Merchant,
        purchase: &Purchase,
        refund: &Refund,
        draw: &mut Draw,
    ) -> Self {
        let kind = match refund.result {
            RefundResult::Success => REFUND_SUCCESS,
            RefundResult::Closed => REFUND_CLOSED,
            RefundResult::Abnormal => REFUND_ABNORMAL,
        };
        let resource = resource::refund(merchant, purchase, refund);
        Self::made(kind, refund.at, resource, draw)
    }

    /// The same notice, signed by the other kind of key.
    #[must_use]
    pub fn signed_by(mut self, mode: KeyMode) -> Self {
        self.mode = mode;
        self
    }

    fn made(kind: Kind, at: Timestamp, resource: String, draw: &mut Draw) -> Self {
        let created_at = at.plus_ms(1000);
        Self { id: draw.uuid(), mode: KeyMode::PublicKey, created_at, kind, resource }
    }

    /// Encrypts and signs one try.
    ///
    /// # Errors
    /// As [`crate::message::Notice::sign`].
    pub fn sign(
        &self,
        keys: &Keys,
        sending: Sending,
        draw: &mut Draw,
    ) -> Result<Message, CannotSign> {
        let expect = Flaw::expectation(sending.flaw, Gateway::WechatV3)?;
        let body = self.envelope(keys, sending, draw)?;
        let signed_at = match sending.flaw {
            Some(Flaw::Stale) => sending.at.plus_ms(-OUTSIDE_WINDOW_MS),
            Some(Flaw::Ahead) => sending.at.plus_ms(OUTSIDE_WINDOW_MS),
            Some(_) | None => sending.at,
        };
        let timestamp = signed_at.as_ms().div_euclid(1000).to_string();
        let nonce = draw.hex(32);
        let signed = [timestamp.as_bytes(), b"\n", nonce.as_bytes(), b"\n", &body, b"\n"].concat();
        let signature = self.key(keys, sending.flaw).sign_base64(&signed)?;
        let headers = [
            ("Content-Type", "application/json".to_owned()),
            ("User-Agent", "Mozilla/4.0".to_owned()),
            ("Pragma", "no-cache".to_owned()),
            (TIMESTAMP, timestamp),
            (NONCE, nonce),
            (SERIAL, self.serial(keys, sending.flaw)),
            (SIGNATURE_TYPE, "WECHATPAY2-SHA256-RSA2048".to_owned()),
            (SIGNATURE, signature),
            ("Request-ID", format!("08{}-0", draw.digits(24))),
        ];
        let channel = Channel::WechatV3Main;
        let mut message = Message {
            channel,
            path: channel.path(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            body,
            expect,
        };
        spoil(&mut message, sending.flaw);
        Ok(message)
    }

    fn key<'a>(&self, keys: &'a Keys, flaw: Option<Flaw>) -> &'a crate::rsa::RsaKey {
        match (flaw, self.mode) {
            (Some(Flaw::WrongKey), _) => &keys.stranger.key,
            (_, KeyMode::Certificate) => &keys.wechat_v3.certificate_key,
            (_, KeyMode::PublicKey) => &keys.wechat_v3.public_mode_key,
        }
    }

    fn serial(&self, keys: &Keys, flaw: Option<Flaw>) -> String {
        let known = match self.mode {
            KeyMode::Certificate => &keys.accounts.wechat_certificate_serial,
            KeyMode::PublicKey => &keys.accounts.wechat_public_key_id,
        };
        match flaw {
            Some(Flaw::UnknownSerial) => other_last(known),
            Some(_) | None => known.clone(),
        }
    }

    fn envelope(
        &self,
        keys: &Keys,
        sending: Sending,
        draw: &mut Draw,
    ) -> Result<Vec<u8>, CannotSign> {
        let nonce = draw.letters(12);
        let associated_data = self.kind.original_type;
        let key = keys.wechat_v3.api_key.expose().as_bytes();
        let mut sealed = seal(key, (nonce.as_bytes(), associated_data), &self.resource)?;
        if sending.flaw == Some(Flaw::BadTag) {
            let last = sealed.len().saturating_sub(1);
            flip_lowest_bit(&mut sealed, last);
        }
        let envelope = Envelope {
            id: &self.id,
            create_time: self.created_at.format_beijing_rfc3339(),
            resource_type: "encrypt-resource",
            event_type: self.kind.event_type,
            summary: self.kind.summary,
            resource: Sealed {
                original_type: self.kind.original_type,
                algorithm: "AEAD_AES_256_GCM",
                ciphertext: STANDARD.encode(&sealed),
                associated_data,
                nonce,
            },
        };
        serde_json::to_vec(&envelope).map_err(|_| CannotSign::Cryptography)
    }
}

fn seal(
    key: &[u8],
    (nonce, associated_data): (&[u8], &str),
    plaintext: &str,
) -> Result<Vec<u8>, CannotSign> {
    let fail = |_| CannotSign::Cryptography;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(fail)?);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(fail)?;
    let mut text = plaintext.as_bytes().to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(associated_data.as_bytes()), &mut text)
        .map_err(fail)?;
    Ok(text)
}

/// The flaws that come after signing.
fn spoil(message: &mut Message, flaw: Option<Flaw>) {
    match flaw {
        Some(Flaw::FlippedBit) => {
            if let Some(place) = place_after(&message.body, "\"ciphertext\":\"") {
                flip_lowest_bit(&mut message.body, place);
            }
        }
        Some(Flaw::WeakAlgorithm) => {
            message.set_header(SIGNATURE_TYPE, "WECHATPAY2-SHA1-RSA2048".to_owned());
        }
        Some(Flaw::Probe) => {
            let genuine = message.header(SIGNATURE).unwrap_or_default();
            let rest: String = genuine.chars().skip(PROBE.len()).collect();
            message.set_header(SIGNATURE, format!("{PROBE}{rest}"));
        }
        Some(Flaw::RepeatedHeader) => {
            let signature = message.header(SIGNATURE).unwrap_or_default().to_owned();
            message.headers.push((SIGNATURE.to_owned(), signature));
        }
        Some(Flaw::MissingHeader) => message.headers.retain(|(name, _)| name != NONCE),
        Some(
            Flaw::Stale
            | Flaw::Ahead
            | Flaw::WrongKey
            | Flaw::UnknownSerial
            | Flaw::BadTag
            | Flaw::RepeatedField
            | Flaw::ExternalEntity
            | Flaw::BrowserReturn,
        )
        | None => {}
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    event_type: &'static str,
    original_type: &'static str,
    summary: &'static str,
}

#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    create_time: String,
    resource_type: &'static str,
    event_type: &'static str,
    summary: &'static str,
    resource: Sealed,
}

#[derive(Serialize)]
struct Sealed {
    original_type: &'static str,
    algorithm: &'static str,
    ciphertext: String,
    associated_data: &'static str,
    nonce: String,
}

const PAYMENT: Kind =
    Kind {
        event_type: "TRANSACTION.SUCCESS", original_type: "transaction", summary: "支付成功"
    };
const PAYMENT_FAILED: Kind =
    Kind { event_type: "TRANSACTION.FAIL", original_type: "transaction", summary: "支付失败" };
const REFUND_SUCCESS: Kind =
    Kind { event_type: "REFUND.SUCCESS", original_type: "refund", summary: "退款成功" };
const REFUND_CLOSED: Kind =
    Kind { event_type: "REFUND.CLOSED", original_type: "refund", summary: "退款关闭" };
const REFUND_ABNORMAL: Kind =
    Kind { event_type: "REFUND.ABNORMAL", original_type: "refund", summary: "退款异常" };

const TIMESTAMP: &str = "Wechatpay-Timestamp";
const NONCE: &str = "Wechatpay-Nonce";
const SERIAL: &str = "Wechatpay-Serial";
const SIGNATURE_TYPE: &str = "Wechatpay-Signature-Type";
const SIGNATURE: &str = "Wechatpay-Signature";

const PROBE: &str = "WECHATPAY/SIGNTEST/";

/// Twice the window of 300 s in which a callback is fresh.
const OUTSIDE_WINDOW_MS: i64 = 600_000;

#[cfg(test)]
mod tests;

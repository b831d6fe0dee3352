//! WeChat Pay v2 callbacks: flat XML, signed with a shared key; refunds encrypted instead.
//!
//! Source: pay.weixin.qq.com, v2 wiki, "payment result notice" (9_7), "refund result notice"
//! (9_16) and "signature" (4_3), read 2026-11-21.

use std::iter;

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::{Keys, Merchant};
use crate::message::{
    CannotSign, Expectation, Flaw, Message, Sending, flip_lowest_bit, place_after,
};
use crate::purchase::{Purchase, Refund, RefundResult};

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    channel: Channel,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Payment { fields: Vec<Field> },
    Refund { account: Vec<Field>, secret: String },
}

type Field = (&'static str, String);

/// The checksum that the merchant orders with, each on a channel of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignType {
    /// MD5; the notice then has no `sign_type`.
    Md5,
    /// HMAC-SHA256, named in `sign_type`.
    HmacSha256,
}

impl SignType {
    /// The channel that is configured for it.
    #[must_use]
    pub const fn channel(self) -> Channel {
        match self {
            Self::Md5 => Channel::WechatV2Main,
            Self::HmacSha256 => Channel::WechatV2Hmac,
        }
    }
}

impl Notice {
    /// A payment that succeeded.
    #[must_use]
    pub fn payment(sign_type: SignType, merchant: &Merchant, purchase: &Purchase) -> Self {
        Self::payment_with(sign_type, merchant, (purchase, "SUCCESS"))
    }

    /// A payment that was tried and failed.
    #[must_use]
    pub fn payment_failed(sign_type: SignType, merchant: &Merchant, purchase: &Purchase) -> Self {
        Self::payment_with(sign_type, merchant, (purchase, "FAIL"))
    }

    fn payment_with(
        sign_type: SignType,
        merchant: &Merchant,
        (purchase, result): (&Purchase, &str),
    ) -> Self {
        let total = purchase.amount.minor.to_string();
        let mut fields = vec![
            ("appid", merchant.application_id.clone()),
            ("bank_type", "OTHERS".to_owned()),
            ("cash_fee", total.clone()),
            ("fee_type", purchase.amount.currency.to_string()),
            ("is_subscribe", "N".to_owned()),
            ("mch_id", merchant.merchant_id.clone()),
            ("openid", purchase.payer.clone()),
            ("out_trade_no", purchase.order_no.clone()),
            ("result_code", result.to_owned()),
            ("return_code", "SUCCESS".to_owned()),
            ("time_end", purchase.at.format_beijing_compact()),
            ("total_fee", total),
            ("trade_type", "NATIVE".to_owned()),
            ("transaction_id", purchase.transaction_id.clone()),
            ("attach", purchase.subject.clone()),
        ];
        match sign_type {
            SignType::Md5 => {}
            SignType::HmacSha256 => fields.push(("sign_type", HMAC_NAME.to_owned())),
        }
        Self { channel: sign_type.channel(), content: Content::Payment { fields } }
    }

    /// What became of a refund.
    #[must_use]
    pub fn refund(
        sign_type: SignType,
        merchant: &Merchant,
        purchase: &Purchase,
        refund: &Refund,
    ) -> Self {
        let (status, reached) = match refund.result {
            RefundResult::Success => ("SUCCESS", refund.at.format_beijing()),
            RefundResult::Closed => ("REFUNDCLOSE", String::new()),
            RefundResult::Abnormal => ("CHANGE", String::new()),
        };
        let (total, given) = (purchase.amount.minor.to_string(), refund.amount.minor.to_string());
        let fields: [Field; 13] = [
            ("out_refund_no", refund.refund_no.clone()),
            ("out_trade_no", purchase.order_no.clone()),
            ("refund_account", "REFUND_SOURCE_RECHARGE_FUNDS".to_owned()),
            ("refund_fee", given.clone()),
            ("refund_id", refund.refund_id.clone()),
            ("refund_recv_accout", "支付用户零钱".to_owned()),
            ("refund_request_source", "API".to_owned()),
            ("refund_status", status.to_owned()),
            ("settlement_refund_fee", given),
            ("settlement_total_fee", total.clone()),
            ("success_time", reached),
            ("total_fee", total),
            ("transaction_id", purchase.transaction_id.clone()),
        ];
        let lines: String = fields.iter().map(|field| format!("{}\n", element(field))).collect();
        let account = vec![
            ("appid", merchant.application_id.clone()),
            ("mch_id", merchant.merchant_id.clone()),
        ];
        let secret = format!("<root>\n{lines}</root>");
        Self { channel: sign_type.channel(), content: Content::Refund { account, secret } }
    }

    /// Signs or encrypts one try.
    ///
    /// # Errors
    /// As [`crate::message::Notice::sign`].
    pub fn sign(
        &self,
        keys: &Keys,
        sending: Sending,
        draw: &mut Draw,
    ) -> Result<Message, CannotSign> {
        let expect = self.expectation(sending.flaw)?;
        let key = match sending.flaw {
            Some(Flaw::WrongKey) => keys.stranger.api_key.expose(),
            Some(_) | None => keys.wechat_v2_api_key.expose(),
        };
        let nonce = ("nonce_str", draw.hex(32));
        let fields = match &self.content {
            Content::Payment { fields } => {
                let mut fields = fields.clone();
                fields.insert(NONCE_PLACE, nonce);
                if sending.flaw == Some(Flaw::WeakAlgorithm) {
                    self.weaken(&mut fields);
                }
                let sign = sum(&fields, key);
                fields.push(("sign", sign));
                fields
            }
            Content::Refund { account, secret } => {
                let sealed = STANDARD.encode(seal(secret, key)?);
                [account.as_slice(), &[nonce, ("req_info", sealed)]].concat()
            }
        };
        let headers = [("Content-Type", "text/xml"), ("User-Agent", "Mozilla/4.0")];
        Ok(Message {
            channel: self.channel,
            path: self.channel.path(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            body: body(self.lead(), &fields, sending.flaw),
            expect,
        })
    }

    /// A refund starts with a field that stands in no CDATA section.
    const fn lead(&self) -> &'static str {
        match self.content {
            Content::Payment { .. } => "",
            Content::Refund { .. } => "<return_code>SUCCESS</return_code>",
        }
    }

    /// A refund has no signature, so it cannot have a flaw of one.
    fn expectation(&self, flaw: Option<Flaw>) -> Result<Expectation, CannotSign> {
        let signed = matches!(self.content, Content::Payment { .. });
        match flaw {
            Some(Flaw::WrongKey) if !signed => Ok(Expectation::Refused { code: "gateway.decrypt" }),
            Some(flaw @ (Flaw::FlippedBit | Flaw::WeakAlgorithm)) if !signed => {
                Err(CannotSign::NoSuchFlaw { flaw, gateway: Gateway::WechatV2 })
            }
            Some(_) | None => Flaw::expectation(flaw, Gateway::WechatV2),
        }
    }

    /// Names a type that the channel does not allow: MD5 where HMAC is agreed, else an unknown one.
    fn weaken(&self, fields: &mut Vec<Field>) {
        fields.retain(|(name, _)| *name != "sign_type");
        let name = if self.channel == Channel::WechatV2Hmac { "MD5" } else { "SHA1" };
        fields.push(("sign_type", name.to_owned()));
    }
}

/// The `sign` of fields, by the type that they name.
fn sum(fields: &[Field], key: &str) -> String {
    let mut sorted: Vec<_> = fields.iter().filter(|(_, value)| !value.is_empty()).collect();
    sorted.sort_unstable();
    let pairs: String = sorted.iter().map(|(name, value)| format!("{name}={value}&")).collect();
    let text = format!("{pairs}key={key}");
    let hmac_agreed = fields.iter().any(|(name, value)| *name == "sign_type" && value == HMAC_NAME);
    if hmac_agreed {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hex(hmac::sign(&key, text.as_bytes()).as_ref()).to_ascii_uppercase()
    } else {
        hex(&Md5::digest(text.as_bytes())).to_ascii_uppercase()
    }
}

/// AES-256 in ECB mode with PKCS#7 padding; the key is the hexadecimal MD5 of the API key.
fn seal(plaintext: &str, api_key: &str) -> Result<Vec<u8>, CannotSign> {
    let key = hex(&Md5::digest(api_key.as_bytes()));
    let cipher = Aes256::new_from_slice(key.as_bytes()).map_err(|_| CannotSign::Cryptography)?;
    let mut bytes = plaintext.as_bytes().to_vec();
    let whole = bytes.len().next_multiple_of(BLOCK);
    let whole = if whole == bytes.len() { whole.saturating_add(BLOCK) } else { whole };
    let filler = u8::try_from(whole.saturating_sub(bytes.len())).unwrap_or(0);
    bytes.resize(whole, filler);
    let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
    for block in blocks {
        let mut sealed = Array::from(*block);
        cipher.encrypt_block(&mut sealed);
        *block = sealed.into();
    }
    Ok(bytes)
}

fn body(lead: &str, fields: &[Field], flaw: Option<Flaw>) -> Vec<u8> {
    let elements: String = iter::once(lead.to_owned()).chain(fields.iter().map(element)).collect();
    match flaw {
        // The same value twice: whichever copy a reader keeps, it finds the sum right.
        Some(Flaw::RepeatedField) => {
            let again = fields.first().map(element).unwrap_or_default();
            format!("<xml>{again}{elements}</xml>").into_bytes()
        }
        // An empty field is not signed: a reader that drops the entity finds the sum right.
        Some(Flaw::ExternalEntity) => format!(
            "<?xml version=\"1.0\"?><!DOCTYPE xml [<!ENTITY file SYSTEM \"file:///etc/hostname\">]>\
             <xml><device_info>&file;</device_info>{elements}</xml>"
        )
        .into_bytes(),
        Some(Flaw::FlippedBit) => {
            let mut bytes = format!("<xml>{elements}</xml>").into_bytes();
            if let Some(place) = place_after(&bytes, "<total_fee><![CDATA[") {
                flip_lowest_bit(&mut bytes, place);
            }
            bytes
        }
        Some(_) | None => format!("<xml>{elements}</xml>").into_bytes(),
    }
}

fn element((name, value): &Field) -> String {
    format!("<{name}><![CDATA[{}]]></{name}>", value.replace("]]>", "]]]]><![CDATA[>"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// After `mch_id`.
const NONCE_PLACE: usize = 6;
const HMAC_NAME: &str = "HMAC-SHA256";
const BLOCK: usize = 16;

#[cfg(test)]
mod tests;

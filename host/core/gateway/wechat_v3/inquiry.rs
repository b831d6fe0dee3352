//! Asking WeChat Pay v3: a request signed with the merchant's key, an answer verified like a
//! callback.
//!
//! Sources: pay.weixin.qq.com, pages on signing requests, querying an order by merchant number,
//! querying one refund, and error codes; the official Go SDK (read 2026-11). The signature covers
//! method, target as sent, timestamp, nonce and body. Answers of failure may be unsigned, so
//! nothing is believed of them but that there is no answer.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::gateway::inquiry::{
    CannotAsk, Incoming, Inquiry, Outgoing, Question, Silence, Stamp, Told, is_number, merchant,
    shown,
};
use crate::gateway::known::{KeyKind, KnownKey, Validity};
use crate::gateway::scheme::rsa::{Certificate, Digest, PrivateKey, decode_signature};
use crate::gateway::{Refusal, SettingsError};
use crate::notification::{EventType, Notification};
use crate::request::Request;
use crate::secret::Secret;
use crate::time::Timestamp;

use super::head::Head;
use super::keys::normal;
use super::resource::{self, Amount};
use super::{BODY_BYTES_MAX, WechatV3};

/// What it takes to ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InquirySettings {
    /// The private key of the merchant's API certificate (`apiclient_key.pem`).
    pub merchant_private_key: Secret,
    /// The serial number of the merchant's API certificate, in hex.
    pub merchant_serial: String,
    /// That certificate (`apiclient_cert.pem`), where it is to be held against both and watched
    /// for its end.
    #[serde(default)]
    pub merchant_certificate: Option<String>,
    /// Where to ask: the official host, or its backup `https://api2.mch.weixin.qq.com`.
    #[serde(default = "base_url")]
    pub base_url: String,
}

/// The merchant's own half: who asks, and with which key.
#[derive(Debug, Clone)]
pub(super) struct Merchant {
    key: PrivateKey,
    serial: String,
    valid: Option<Validity>,
    base_url: String,
}

impl Merchant {
    pub(super) fn new(settings: &InquirySettings) -> Result<Self, SettingsError> {
        let key = PrivateKey::from_pem(&settings.merchant_private_key)
            .map_err(|error| SettingsError::key("inquiry.merchant_private_key", &error))?;
        let serial = settings.merchant_serial.as_str();
        if !(1..=64).contains(&serial.len()) || !serial.bytes().all(|b| b.is_ascii_hexdigit()) {
            let problem = "serial is of another form, expected 1 to 64 hexadecimal digits";
            return Err(SettingsError::new("inquiry.merchant_serial", problem));
        }
        let valid = match &settings.merchant_certificate {
            Some(pem) => Some(own_certificate(pem, &key, serial)?),
            None => None,
        };
        let base_url = settings.base_url.trim_end_matches('/').to_owned();
        Ok(Self { key, serial: serial.to_ascii_uppercase(), valid, base_url })
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The key, or the certificate where that is known, as people may see it.
    pub(super) fn known(&self) -> KnownKey {
        let kind = if self.valid.is_some() { KeyKind::OwnCertificate } else { KeyKind::PrivateKey };
        KnownKey { valid: self.valid, ..KnownKey::endless(self.serial.clone(), kind) }
    }

    /// The value of `Authorization` for a request.
    fn authorization(
        &self,
        merchant_id: &str,
        (method, target, body): (&str, &str, &str),
        stamp: Stamp<'_>,
    ) -> Option<String> {
        let (serial, nonce) = (&self.serial, stamp.nonce);
        let timestamp = stamp.now.as_ms() / 1000;
        let signed = format!("{method}\n{target}\n{timestamp}\n{nonce}\n{body}\n");
        let signature = self.key.sign(signed.as_bytes())?;
        Some(format!(
            "WECHATPAY2-SHA256-RSA2048 mchid=\"{merchant_id}\",nonce_str=\"{nonce}\",\
             signature=\"{signature}\",timestamp=\"{timestamp}\",serial_no=\"{serial}\""
        ))
    }
}

/// Holds the merchant's certificate against the key and the serial number beside it.
fn own_certificate(pem: &str, key: &PrivateKey, serial: &str) -> Result<Validity, SettingsError> {
    let field = "inquiry.merchant_certificate";
    let certificate =
        Certificate::from_pem(pem).map_err(|error| SettingsError::key(field, &error))?;
    if certificate.serial_hex != normal(serial) {
        let found = &certificate.serial_hex;
        let problem = format!("has the serial number {found}, but merchant_serial is {serial}");
        return Err(SettingsError::new(field, problem).coded(SettingsError::SERIAL));
    }
    if key.public_der().as_deref() != Some(certificate.key.spki_der()) {
        let problem = "is for another key than merchant_private_key";
        return Err(SettingsError::new(field, problem).coded(SettingsError::PAIR));
    }
    Ok(Validity { from: certificate.not_before, to: certificate.not_after })
}

impl Inquiry for WechatV3 {
    fn base_url(&self) -> &str {
        self.merchant.as_ref().map_or("", Merchant::base_url)
    }

    /// One with the merchant's channels of v2: the number is the same, and so is who counts.
    fn merchant(&self) -> String {
        merchant("wechat", self.account.merchant_id())
    }

    fn ask(&self, question: Question<'_>, stamp: Stamp<'_>) -> Result<Outgoing, CannotAsk> {
        let target = self.target(question)?;
        let mut headers = vec![("accept", "application/json".to_owned())];
        // Whoever has a public key asks for answers under it: the gateway signs with the platform
        // certificate otherwise, which such a merchant need not have.
        if let Some(id) = self.ring.public_key_id() {
            headers.push(("wechatpay-serial", id.to_owned()));
        }
        headers.push(("authorization", self.authorize(("GET", &target, ""), stamp)?));
        Ok(Outgoing { method: "GET", target, headers, body: String::new() })
    }

    fn hear(
        &self,
        question: Question<'_>,
        answer: &Incoming<'_>,
        now: Timestamp,
    ) -> Result<Told, Silence> {
        if answer.status != 200 {
            return failed(answer);
        }
        self.believe(answer, now)?;
        let text = std::str::from_utf8(answer.body)
            .map_err(|_| Refusal::Malformed { what: "answer, expected UTF-8" })?;
        match question {
            Question::Payment { order_no } => self.payment(text, order_no),
            Question::Refund { order_no, refund_no } => self.refund(text, order_no, refund_no),
        }
    }
}

impl WechatV3 {
    /// Signs a request with the merchant's key.
    pub(super) fn authorize(
        &self,
        request: (&str, &str, &str),
        stamp: Stamp<'_>,
    ) -> Result<String, CannotAsk> {
        let merchant = self.merchant.as_ref().ok_or(NO_KEY)?;
        merchant.authorization(self.account.merchant_id(), request, stamp).ok_or(CannotAsk::Signing)
    }

    /// Checks that the gateway wrote an answer, and when.
    fn believe(&self, answer: &Incoming<'_>, now: Timestamp) -> Result<(), Refusal> {
        let headers = answer.headers;
        let read = Request { method: "", path: "", query: "", headers, body: answer.body };
        let head = Head::signed(&read)?;
        head.check_fresh(now, self.tolerance_ms)?;
        if answer.body.len() > BODY_BYTES_MAX {
            return Err(Refusal::TooLarge { limit_bytes: BODY_BYTES_MAX });
        }
        let key = self.ring.find(head.serial, now).ok_or(Refusal::KeyUnknown)?;
        let signature = decode_signature(head.signature).ok_or(Refusal::Signature)?;
        let holds = key.verify_parts(Digest::Sha256, &head.signed_parts(answer.body), &signature);
        if holds { Ok(()) } else { Err(Refusal::Signature) }
    }

    fn target(&self, question: Question<'_>) -> Result<String, CannotAsk> {
        let merchant = escaped(self.account.merchant_id())?;
        let partnered = match self.account.sub_merchant_ids() {
            [] => None,
            [one] => Some(escaped(one)?),
            [_, _, ..] => return Err(CannotAsk::NotPossible(SEVERAL_SUB_MERCHANTS)),
        };
        Ok(match (question, partnered) {
            (Question::Payment { order_no }, None) => {
                let order_no = escaped(order_no)?;
                format!("/v3/pay/transactions/out-trade-no/{order_no}?mchid={merchant}")
            }
            (Question::Payment { order_no }, Some(sub)) => {
                let order_no = escaped(order_no)?;
                format!(
                    "/v3/pay/partner/transactions/out-trade-no/{order_no}\
                     ?sp_mchid={merchant}&sub_mchid={sub}"
                )
            }
            (Question::Refund { refund_no, .. }, None) => {
                format!("/v3/refund/domestic/refunds/{}", escaped(refund_no)?)
            }
            (Question::Refund { refund_no, .. }, Some(sub)) => {
                format!("/v3/refund/domestic/refunds/{}?sub_mchid={sub}", escaped(refund_no)?)
            }
        })
    }

    fn payment(&self, text: &str, order_no: &str) -> Result<Told, Silence> {
        let state: State = serde_json::from_str(text)
            .map_err(|_| Refusal::Malformed { what: "answer, expected a transaction" })?;
        if state.out_trade_no.as_deref() != Some(order_no) {
            return Err(Silence::Another);
        }
        if matches!(state.trade_state.as_deref(), Some("NOTPAY" | "USERPAYING" | "ACCEPT")) {
            return Ok(Told::Pending);
        }
        let mut notification = resource::payment(text.to_owned(), None, &self.account)?;
        if state.trade_state.as_deref() == Some("REFUND") {
            notification.event_type = EventType::PAYMENT_REFUNDED;
        }
        Ok(Told::fact(notification))
    }

    /// An answer about a refund names no merchant; it was asked under our own signature.
    fn refund(&self, text: &str, order_no: &str, refund_no: &str) -> Result<Told, Silence> {
        let said: Refund = serde_json::from_str(text)
            .map_err(|_| Refusal::Malformed { what: "answer, expected a refund" })?;
        if said.out_refund_no != refund_no || said.out_trade_no != order_no {
            return Err(Silence::Another);
        }
        if said.status == "PROCESSING" {
            return Ok(Told::Pending);
        }
        let (amount, order_amount) = said.amount.refunded()?;
        Ok(Told::fact(Notification {
            event_type: match said.status.as_str() {
                "SUCCESS" => EventType::REFUND_SUCCEEDED,
                "CLOSED" => EventType::REFUND_CLOSED,
                "ABNORMAL" => EventType::REFUND_ABNORMAL,
                other => EventType::other(resource::GATEWAY, &format!("refund-status.{other}")),
            },
            meaning_key: format!("refund:{}:{}", said.refund_id, said.status),
            order_no: Some(said.out_trade_no),
            transaction_id: Some(said.transaction_id),
            refund_id: Some(said.refund_id),
            refund_no: Some(said.out_refund_no),
            payer: None,
            amount,
            refunded_total: None,
            order_amount,
            occurred_at: resource::moment(said.success_time.as_deref(), None),
            mismatch: None,
            body: text.to_owned(),
        }))
    }
}

#[derive(Deserialize)]
struct State {
    out_trade_no: Option<String>,
    trade_state: Option<String>,
}

#[derive(Deserialize)]
struct Refund {
    refund_id: String,
    out_refund_no: String,
    transaction_id: String,
    out_trade_no: String,
    status: String,
    success_time: Option<String>,
    amount: Amount,
}

#[derive(Deserialize)]
struct Failure {
    code: Option<String>,
}

/// What an answer other than 200 means. It may be unsigned, so it decides nothing.
fn failed(answer: &Incoming<'_>) -> Result<Told, Silence> {
    let said = serde_json::from_slice::<Failure>(answer.body).ok().and_then(|it| it.code);
    let code = match &said {
        Some(code) => shown(code),
        None => format!("status.{}", answer.status),
    };
    match (answer.status, said.as_deref()) {
        (404, Some("ORDER_NOT_EXIST" | "RESOURCE_NOT_EXISTS")) => Ok(Told::Unknown),
        (408 | 425 | 429 | 500.., _) => Err(Silence::Busy { code }),
        (_, _) => Err(Silence::Denied { code }),
    }
}

fn escaped(number: &str) -> Result<String, CannotAsk> {
    if !is_number(number) {
        return Err(CannotAsk::Number);
    }
    Ok(utf8_percent_encode(number, ESCAPED).to_string())
}

fn base_url() -> String {
    "https://api.mch.weixin.qq.com".to_owned()
}

/// Everything but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const NO_KEY: CannotAsk =
    CannotAsk::NotPossible("the channel has no merchant key (inquiry.merchant_private_key)");

const SEVERAL_SUB_MERCHANTS: &str =
    "the channel has several sub_merchant_ids, and the order does not say whose it is";

//! Asking Alipay: form fields signed with the application's key, an answer whose signature covers
//! the raw text of one member.
//!
//! Sources: Alipay open platform documentation, "trade query", "refund query" and "self-made
//! signatures", the official Node SDK, read 2026-11. The text that is signed is the value of
//! `alipay_…_response` as it stands in the answer, to the byte: parsing and writing it again
//! would sign something else.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::gateway::inquiry::{
    CannotAsk, Incoming, Inquiry, Outgoing, Question, Silence, Stamp, Told, is_number, merchant,
    shown,
};
use crate::gateway::known::{KeyKind, KnownKey, Validity};
use crate::gateway::scheme::rsa::{Certificate, Digest, PrivateKey, decode_signature};
use crate::gateway::scheme::sorted_fields::SortedFields;
use crate::gateway::{Refusal, SettingsError};
use crate::money::{Currency, Money, parse_decimal};
use crate::notification::{EventType, Notification};
use crate::secret::Secret;
use crate::time::Timestamp;

use super::keys::serial;
use super::notice::{payment_key, refund_key};
use super::{Alipay, SignType};

/// What it takes to ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InquirySettings {
    /// The application's private key, PEM or the bare base64 of Alipay's tools.
    pub application_private_key: Secret,
    /// Certificate mode: the application's own certificate, PEM.
    #[serde(default)]
    pub application_certificate: Option<String>,
    /// Certificate mode: Alipay's root certificates, the PEM bundle as it is downloaded; the
    /// channel's `root_certificate` unless given.
    #[serde(default)]
    pub root_certificate: Option<String>,
    /// Where to ask.
    #[serde(default = "base_url")]
    pub base_url: String,
}

/// The application's own half: who asks, and with which key.
#[derive(Debug)]
pub(super) struct Asker {
    key: PrivateKey,
    application_id: String,
    /// Serials of the application's and the root certificates, in certificate mode.
    serials: Option<(String, String)>,
    /// When the application's certificate is valid.
    valid: Option<Validity>,
    base_url: String,
}

impl Asker {
    pub(super) fn new(
        settings: &InquirySettings,
        channel: &super::Settings,
    ) -> Result<Self, SettingsError> {
        let key = PrivateKey::from_pem(&settings.application_private_key)
            .map_err(|error| SettingsError::key("inquiry.application_private_key", &error))?;
        if channel.sign_type == SignType::Rsa {
            let problem = "questions are signed with RSA2, the channel is configured for `rsa`";
            return Err(SettingsError::new("inquiry", problem));
        }
        let roots = settings.root_certificate.as_ref();
        let shared = channel.root_certificate.as_ref().filter(|_| {
            settings.application_certificate.is_some() || !channel.certificates.is_empty()
        });
        let mut valid = None;
        let serials = match (&settings.application_certificate, roots.or(shared)) {
            (Some(own), Some(roots)) => {
                let own = own_certificate(own, &key)?;
                valid = Some(Validity { from: own.not_before, to: own.not_after });
                Some((serial(&own), root_serial(roots)?))
            }
            (None, None) if channel.certificates.is_empty() => None,
            (None, None) => {
                let problem = "is missing, expected it and root_certificate in certificate mode";
                return Err(SettingsError::new("inquiry.application_certificate", problem));
            }
            (Some(_), None) => {
                let problem = "is missing beside application_certificate";
                return Err(SettingsError::new("inquiry.root_certificate", problem));
            }
            (None, Some(_)) => {
                let problem = "is missing beside root_certificate";
                return Err(SettingsError::new("inquiry.application_certificate", problem));
            }
        };
        Ok(Self {
            key,
            application_id: channel.application_ids.first().cloned().unwrap_or_default(),
            serials,
            valid,
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
        })
    }

    /// The key, or the certificate where there is one, as people may see it.
    pub(super) fn known(&self) -> KnownKey {
        match &self.serials {
            Some((own, _)) => KnownKey {
                valid: self.valid,
                ..KnownKey::endless(own.clone(), KeyKind::OwnCertificate)
            },
            None => KnownKey::endless("application_private_key", KeyKind::PrivateKey),
        }
    }
}

/// Reads the application's certificate and holds it against its key: questions under a pair that
/// does not fit are refused by Alipay, one by one.
fn own_certificate(text: &str, key: &PrivateKey) -> Result<Certificate, SettingsError> {
    let field = "inquiry.application_certificate";
    let own = Certificate::from_pem(text).map_err(|error| SettingsError::key(field, &error))?;
    if key.public_der().as_deref() != Some(own.key.spki_der()) {
        let problem = "is for another key than application_private_key";
        return Err(SettingsError::new(field, problem).coded(SettingsError::PAIR));
    }
    Ok(own)
}

/// Alipay's name of its root bundle: the serials of the certificates in it that are of RSA. One is
/// of SM2, which no reader of RSA certificates takes; it is left out.
fn root_serial(bundle: &str) -> Result<String, SettingsError> {
    let ends = bundle.split_inclusive(END).filter(|text| text.contains(END));
    let serials: Vec<_> =
        ends.filter_map(|text| Certificate::from_pem(text).ok()).map(|it| serial(&it)).collect();
    if serials.is_empty() {
        let problem = "holds no certificate of RSA, expected Alipay's root certificates in PEM";
        return Err(SettingsError::key("inquiry.root_certificate", &problem));
    }
    Ok(serials.join("_"))
}

impl Inquiry for Alipay {
    fn base_url(&self) -> &str {
        self.asker.as_ref().map_or("", |asker| &asker.base_url)
    }

    /// The application that signs: a seller may have several, and each is counted by itself.
    fn merchant(&self) -> String {
        let application = self.asker.as_ref().map_or("", |asker| &asker.application_id);
        merchant("alipay", application)
    }

    fn ask(&self, question: Question<'_>, stamp: Stamp<'_>) -> Result<Outgoing, CannotAsk> {
        let asker = self.asker.as_ref().ok_or(NO_KEY)?;
        let (method, content) = match question {
            Question::Payment { order_no } => {
                ("alipay.trade.query", json!({"out_trade_no": number(order_no)?}))
            }
            Question::Refund { order_no, refund_no } => (
                "alipay.trade.fastpay.refund.query",
                json!({
                    "out_trade_no": number(order_no)?,
                    "out_request_no": number(refund_no)?,
                    "query_options": ["gmt_refund_pay"],
                }),
            ),
        };
        let (content, timestamp) = (content.to_string(), stamp.now.format_beijing());
        let mut fields = vec![
            ("app_id", asker.application_id.as_str()),
            ("biz_content", &content),
            ("charset", "utf-8"),
            ("format", "JSON"),
            ("method", method),
            ("sign_type", "RSA2"),
            ("timestamp", &timestamp),
            ("version", "1.0"),
        ];
        if let Some((own, roots)) = &asker.serials {
            fields.extend([("app_cert_sn", own.as_str()), ("alipay_root_cert_sn", roots)]);
        }
        let bytes = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let joined = SortedFields::new(bytes).joined();
        let sign = asker.key.sign(&joined).ok_or(CannotAsk::Signing)?;
        fields.push(("sign", &sign));
        let pairs: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        Ok(Outgoing {
            method: "POST",
            target: "/gateway.do".to_owned(),
            headers: vec![("content-type", FORM.to_owned())],
            body: pairs.join("&"),
        })
    }

    fn hear(
        &self,
        question: Question<'_>,
        answer: &Incoming<'_>,
        _now: Timestamp,
    ) -> Result<Told, Silence> {
        if answer.status != 200 {
            return Err(Silence::Busy { code: format!("status.{}", answer.status) });
        }
        let member = match question {
            Question::Payment { .. } => "alipay_trade_query_response",
            Question::Refund { .. } => "alipay_trade_fastpay_refund_query_response",
        };
        let content = self.believe(answer.body, member)?;
        let said: Said = serde_json::from_str(content)
            .map_err(|_| Refusal::Malformed { what: "answer, expected its documented fields" })?;
        if said.code != "10000" {
            return failed(&said);
        }
        match question {
            Question::Payment { order_no } => payment(&said, order_no, content),
            Question::Refund { order_no, refund_no } => {
                refund(&said, (order_no, refund_no), content)
            }
        }
    }
}

impl Alipay {
    /// The raw text of the answer's content, once its signature holds.
    fn believe<'a>(&self, body: &'a [u8], member: &str) -> Result<&'a str, Silence> {
        let outer: Outer<'a> = serde_json::from_slice(body)
            .map_err(|_| Refusal::Malformed { what: "answer, expected a JSON object" })?;
        let text = |name: &str| {
            outer.get(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
        };
        let Some(content) = outer.get(member) else {
            // The gateway itself failed, before it knew what was asked; not always signed.
            let error = outer.get("error_response").map_or("{}", |raw| raw.get());
            let said: Said = serde_json::from_str(error).unwrap_or_default();
            return Err(silence(&said));
        };
        let signature = text("sign").and_then(|sign| decode_signature(&sign));
        let signature = signature.ok_or(Refusal::Signature)?;
        let serial = text("alipay_cert_sn");
        let keys = self.ring.candidates(serial.as_deref().map(str::as_bytes))?;
        let signed = content.get().as_bytes();
        if !keys.iter().any(|key| key.verify(Digest::Sha256, signed, &signature)) {
            return Err(Refusal::Signature.into());
        }
        Ok(content.get())
    }
}

/// Members of the answer, each as its raw text; of a name that stands there twice the last, which
/// is then the one whose signature is checked and the one that is read.
type Outer<'a> = BTreeMap<String, &'a RawValue>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    code: String,
    sub_code: String,
    trade_no: String,
    out_trade_no: String,
    out_request_no: String,
    trade_status: String,
    refund_status: String,
    total_amount: Option<String>,
    refund_amount: Option<String>,
    buyer_user_id: Option<String>,
    buyer_open_id: Option<String>,
    send_pay_date: Option<String>,
    gmt_refund_pay: Option<String>,
}

fn payment(said: &Said, order_no: &str, content: &str) -> Result<Told, Silence> {
    if said.out_trade_no != order_no || said.trade_no.is_empty() {
        return Err(Silence::Another);
    }
    let total = yuan(said.total_amount.as_deref())?;
    let paid_at = said.send_pay_date.as_deref().filter(|text| !text.is_empty());
    let (event_type, amount) = match (said.trade_status.as_str(), paid_at) {
        ("WAIT_BUYER_PAY", _) => return Ok(Told::Pending),
        ("TRADE_SUCCESS", _) => (EventType::PAYMENT_SUCCEEDED, total),
        ("TRADE_FINISHED", _) => (EventType::PAYMENT_FINISHED, total),
        ("TRADE_CLOSED", None) => (EventType::PAYMENT_CLOSED, None),
        ("TRADE_CLOSED", Some(_)) => (EventType::PAYMENT_REFUNDED, total),
        (other, _) => (EventType::other("alipay", other), None),
    };
    if amount.is_some_and(|amount| amount.minor == 0) || (amount.is_none() && total.is_none()) {
        return Err(Refusal::Malformed { what: "total_amount, expected one" }.into());
    }
    Ok(Told::fact(Notification {
        event_type,
        meaning_key: payment_key(&said.trade_no, &said.trade_status),
        order_no: Some(said.out_trade_no.clone()),
        transaction_id: Some(said.trade_no.clone()),
        refund_id: None,
        refund_no: None,
        payer: said.buyer_user_id.clone().or_else(|| said.buyer_open_id.clone()),
        amount,
        refunded_total: None,
        order_amount: total,
        occurred_at: paid_at.and_then(Timestamp::parse_beijing),
        mismatch: None,
        body: content.to_owned(),
    }))
}

/// An answer without a state means that the refund is not done: it may be under way, or have
/// never been asked for.
fn refund(
    said: &Said,
    (order_no, refund_no): (&str, &str),
    content: &str,
) -> Result<Told, Silence> {
    if said.out_request_no.is_empty() {
        return Ok(Told::Unknown);
    }
    if said.out_trade_no != order_no || said.out_request_no != refund_no {
        return Err(Silence::Another);
    }
    if said.refund_status != "REFUND_SUCCESS" {
        return Ok(Told::Pending);
    }
    let amount = yuan(said.refund_amount.as_deref())?
        .ok_or(Refusal::Malformed { what: "refund_amount, expected one" })?;
    Ok(Told::fact(Notification {
        event_type: EventType::REFUND_SUCCEEDED,
        meaning_key: refund_key(&said.trade_no, &said.out_request_no),
        order_no: Some(said.out_trade_no.clone()),
        transaction_id: Some(said.trade_no.clone()),
        refund_id: None,
        refund_no: Some(said.out_request_no.clone()),
        payer: None,
        amount: Some(amount),
        refunded_total: None,
        order_amount: yuan(said.total_amount.as_deref())?,
        occurred_at: said.gmt_refund_pay.as_deref().and_then(Timestamp::parse_beijing),
        mismatch: None,
        body: content.to_owned(),
    }))
}

/// A failure that is signed.
fn failed(said: &Said) -> Result<Told, Silence> {
    match said.sub_code.as_str() {
        "ACQ.TRADE_NOT_EXIST" => Ok(Told::Unknown),
        _ => Err(silence(said)),
    }
}

fn silence(said: &Said) -> Silence {
    let code = if said.sub_code.is_empty() { &said.code } else { &said.sub_code };
    let code = shown(code);
    match (said.code.as_str(), said.sub_code.as_str()) {
        ("20000" | "", _) | (_, "ACQ.SYSTEM_ERROR" | "isp.unknow-error") => Silence::Busy { code },
        (_, _) => Silence::Denied { code },
    }
}

fn yuan(text: Option<&str>) -> Result<Option<Money>, Refusal> {
    let malformed = |_| Refusal::Malformed { what: "amount, expected yuan with two decimals" };
    let minor = text.map(|text| parse_decimal(text, 2)).transpose().map_err(malformed)?;
    Ok(minor.map(|minor| Money { minor, currency: Currency::CNY }))
}

fn number(text: &str) -> Result<&str, CannotAsk> {
    if is_number(text) { Ok(text) } else { Err(CannotAsk::Number) }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn base_url() -> String {
    "https://openapi.alipay.com".to_owned()
}

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const FORM: &str = "application/x-www-form-urlencoded;charset=utf-8";

const END: &str = "-----END CERTIFICATE-----";

const NO_KEY: CannotAsk =
    CannotAsk::NotPossible("the channel has no application key (inquiry.application_private_key)");

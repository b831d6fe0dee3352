//! Asking WeChat Pay v2: fields signed with the API key, both ways.
//!
//! Sources: WeChat Pay v2 documentation, "query order" (9.2) and "query refund" (9.5), read
//! 2026-11. A failure of the transport (`return_code`) is not signed, so it decides nothing.

use serde::Deserialize;

use crate::gateway::Refusal;
use crate::gateway::inquiry::{
    CannotAsk, Incoming, Inquiry, Outgoing, Question, Silence, Stamp, Told, is_number, merchant,
    shown,
};
use crate::gateway::scheme::hex;
use crate::gateway::scheme::sorted_fields::SortedFields;
use crate::gateway::scheme::xml::Flat;
use crate::notification::EventType;
use crate::time::Timestamp;

use super::{SignType, WechatV2, filled, notice};

/// What it takes to ask: the API key is there already.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InquirySettings {
    /// Where to ask.
    #[serde(default = "base_url")]
    pub base_url: String,
}

impl Inquiry for WechatV2 {
    fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or_default()
    }

    fn merchant(&self) -> String {
        merchant("wechat", &self.account.merchant_id)
    }

    fn ask(&self, question: Question<'_>, stamp: Stamp<'_>) -> Result<Outgoing, CannotAsk> {
        let (target, name, number) = match question {
            Question::Payment { order_no } => ("/pay/orderquery", "out_trade_no", order_no),
            Question::Refund { refund_no, .. } => ("/pay/refundquery", "out_refund_no", refund_no),
        };
        if !is_number(number) {
            return Err(CannotAsk::Number);
        }
        let application = self.account.application_ids.first().map(String::as_str);
        let mut fields = vec![
            ("appid", application.unwrap_or_default()),
            ("mch_id", &self.account.merchant_id),
            ("nonce_str", stamp.nonce),
            (name, number),
            ("sign_type", self.sign_type.name()),
        ];
        match self.account.sub_merchant_ids.as_slice() {
            [] => {}
            [one] => fields.push(("sub_mch_id", one)),
            [_, _, ..] => return Err(CannotAsk::NotPossible(SEVERAL_SUB_MERCHANTS)),
        }
        let bytes = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let joined = SortedFields::new(bytes).joined();
        let sign = hex::encode(&self.tag(self.sign_type, &joined)).to_ascii_uppercase();
        fields.push(("sign", &sign));
        let elements: String = fields
            .iter()
            .map(|(name, value)| format!("<{name}>{}</{name}>", escaped(value)))
            .collect();
        Ok(Outgoing {
            method: "POST",
            target: target.to_owned(),
            headers: vec![("content-type", "text/xml; charset=utf-8".to_owned())],
            body: format!("<xml>{elements}</xml>"),
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
        let fields = Flat::parse(answer.body, "xml").map_err(|_| Refusal::Malformed {
            what: "answer, expected flat XML with the root `xml`",
        })?;
        if fields.get("return_code") != Some("SUCCESS") {
            let code = shown(fields.get("return_msg").unwrap_or("FAIL"));
            return Err(Silence::Busy { code });
        }
        let sign = filled(&fields, "sign").ok_or(Refusal::Signature)?;
        self.check_signature(&fields, sign)?;
        if fields.get("result_code") != Some("SUCCESS") {
            return failed(filled(&fields, "err_code"));
        }
        if self.account.mismatch(&fields).is_some() {
            return Err(Silence::Another);
        }
        match question {
            Question::Payment { order_no } => self.heard_payment(&fields, order_no),
            Question::Refund { order_no, refund_no } => refund(&fields, order_no, refund_no),
        }
    }
}

impl WechatV2 {
    fn heard_payment(&self, fields: &Flat, order_no: &str) -> Result<Told, Silence> {
        if fields.get("out_trade_no") != Some(order_no) {
            return Err(Silence::Another);
        }
        let state = filled(fields, "trade_state")
            .ok_or(Refusal::Malformed { what: "trade_state, expected one" })?;
        if matches!(state, "NOTPAY" | "USERPAYING" | "ACCEPT") {
            return Ok(Told::Pending);
        }
        let (_, mut notification) = notice::payment(&self.account, fields)?;
        if state == "REFUND" {
            notification.event_type = EventType::PAYMENT_REFUNDED;
            notification.amount = notification.order_amount;
        }
        Ok(Told::fact(notification))
    }
}

fn refund(fields: &Flat, order_no: &str, refund_no: &str) -> Result<Told, Silence> {
    if fields.get("out_trade_no") != Some(order_no) {
        return Err(Silence::Another);
    }
    let place = (0..REFUNDS_MAX)
        .find(|place| fields.get(&format!("out_refund_no_{place}")) == Some(refund_no))
        .ok_or(Silence::Another)?;
    Ok(notice::listed_refund(fields, place)?.map_or(Told::Pending, Told::fact))
}

/// A failure that is signed.
fn failed(code: Option<&str>) -> Result<Told, Silence> {
    match code {
        Some("ORDERNOTEXIST" | "REFUNDNOTEXIST") => Ok(Told::Unknown),
        Some(code @ ("SYSTEMERROR" | "BIZERR_NEED_RETRY" | "FREQUENCY_LIMITED")) => {
            Err(Silence::Busy { code: shown(code) })
        }
        Some(code) => Err(Silence::Denied { code: shown(code) }),
        None => Err(Silence::Denied { code: "FAIL".to_owned() }),
    }
}

impl SignType {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::HmacSha256 => "HMAC-SHA256",
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn base_url() -> String {
    "https://api.mch.weixin.qq.com".to_owned()
}

const SEVERAL_SUB_MERCHANTS: &str =
    "the channel has several sub_merchant_ids, and the order does not say whose it is";

/// One page of refunds.
const REFUNDS_MAX: usize = 50;

/// The fields of an answer that anything here depends on, beside those of a notice.
pub(super) const READ: [&str; 6] = [
    "err_code",
    "out_refund_no_0",
    "refund_fee_0",
    "refund_id_0",
    "refund_status_0",
    "trade_state",
];

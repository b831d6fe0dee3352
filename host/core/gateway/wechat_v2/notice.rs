//! Checked fields of WeChat Pay v2 as notifications.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};

use crate::gateway::Refusal;
use crate::gateway::scheme::hex;
use crate::gateway::scheme::xml::Flat;
use crate::money::{Currency, Money, parse_decimal};
use crate::notification::{AccountMismatch, EventType, Notification, Verified};
use crate::time::Timestamp;

use super::filled;

/// The account names of a channel.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) merchant_id: String,
    pub(super) application_ids: Vec<String>,
    pub(super) sub_merchant_ids: Vec<String>,
}

impl Account {
    /// The first account field that is not the channel's. A channel that lists sub-merchants
    /// expects one of them in every notice.
    pub(super) fn mismatch(&self, fields: &Flat) -> Option<AccountMismatch> {
        let is_ours = self.sub_merchant_ids.is_empty()
            || self.sub_merchant_ids.iter().any(|known| fields.get("sub_mch_id") == Some(known));
        if fields.get("mch_id") != Some(&self.merchant_id) || !is_ours {
            return Some(AccountMismatch::Merchant);
        }
        let application = fields.get("appid").unwrap_or_default();
        let is_ours = self.application_ids.iter().any(|known| known == application);
        (!is_ours).then_some(AccountMismatch::Application)
    }

    /// What is no payment names fewer accounts: a contract has no application of its own. What
    /// names nobody cannot be held against the channel; what names someone is.
    fn mismatch_of_other(&self, fields: &Flat) -> Option<AccountMismatch> {
        let is_listed = |name, known: &[String]| {
            filled(fields, name).is_none_or(|named| known.iter().any(|known| known == named))
        };
        let is_ours = is_listed("mch_id", std::slice::from_ref(&self.merchant_id))
            && (self.sub_merchant_ids.is_empty()
                || is_listed("sub_mch_id", &self.sub_merchant_ids));
        if !is_ours {
            return Some(AccountMismatch::Merchant);
        }
        (!is_listed("appid", &self.application_ids)).then_some(AccountMismatch::Application)
    }
}

/// A signed notice. What has nothing of a payment tells of something else, such as a contract;
/// what has a part of a payment must have all of it.
pub(super) fn read(account: &Account, fields: &Flat, text: &[u8]) -> Result<Verified, Refusal> {
    let names = ["out_trade_no", "total_fee", "transaction_id"];
    match names.iter().any(|name| filled(fields, name).is_some()) {
        true => {
            let (delivery_key, notification) = payment(account, fields)?;
            Ok(Verified::one(delivery_key, notification))
        }
        false => Ok(other(account, fields, text)),
    }
}

/// What happened to a payment: the event, and the state that its keys name.
///
/// A contract debit (papay) is answered when it is taken on, so `result_code` says `SUCCESS` of
/// debits that are still open or failed; `trade_state` beside it says what became of the money.
fn payment_event(fields: &Flat) -> Result<(EventType, &str), Refusal> {
    let malformed = |what| Err(Refusal::Malformed { what });
    match (fields.get("result_code"), filled(fields, "trade_state")) {
        (Some("SUCCESS"), None | Some("SUCCESS")) => Ok((EventType::PAYMENT_SUCCEEDED, "SUCCESS")),
        (Some("FAIL"), None) => Ok((EventType::PAYMENT_FAILED, "FAIL")),
        (Some("FAIL"), Some("SUCCESS")) => malformed("trade_state SUCCESS of a result_code FAIL"),
        (Some("SUCCESS" | "FAIL"), Some(state)) => Ok((state_event(state), state)),
        (Some(_) | None, _) => malformed("result_code, expected SUCCESS or FAIL"),
    }
}

fn state_event(state: &str) -> EventType {
    match state {
        "PAY_FAIL" | "PAYERROR" => EventType::PAYMENT_FAILED,
        "ACCEPT" | "NOTPAY" | "USERPAYING" => EventType::PAYMENT_PENDING,
        "CLOSED" | "REVOKED" => EventType::PAYMENT_CLOSED,
        other => EventType::other(GATEWAY, &format!("trade-state.{other}")),
    }
}

/// A signed payment notice or answer, and the delivery key of a notice. Whatever is no success may
/// lack what only a success has.
pub(super) fn payment(account: &Account, fields: &Flat) -> Result<(String, Notification), Refusal> {
    let malformed = |what| Refusal::Malformed { what };
    let order_no =
        filled(fields, "out_trade_no").ok_or_else(|| malformed("out_trade_no, expected one"))?;
    let transaction = filled(fields, "transaction_id");
    let order_amount = filled(fields, "total_fee")
        .map(|_| amount(fields, "total_fee"))
        .transpose()
        .map_err(malformed)?;
    let (event_type, state) = payment_event(fields)?;
    let is_success = event_type == EventType::PAYMENT_SUCCEEDED;
    if is_success && (transaction.is_none() || order_amount.is_none()) {
        return Err(malformed("a success without transaction_id or total_fee"));
    }
    let subject = match transaction {
        Some(transaction) => format!("payment:{transaction}"),
        None => format!("payment-order:{order_no}"),
    };
    let meaning_key = format!("{subject}:{state}");
    let delivery_key = if is_success { subject } else { meaning_key.clone() };
    let notification = Notification {
        event_type,
        meaning_key,
        order_no: Some(order_no.to_owned()),
        transaction_id: transaction.map(str::to_owned),
        refund_id: None,
        refund_no: None,
        payer: filled(fields, "openid").map(str::to_owned),
        amount: order_amount.filter(|_| is_success),
        refunded_total: None,
        order_amount,
        occurred_at: fields.get("time_end").and_then(Timestamp::parse_beijing_compact),
        mismatch: account.mismatch(fields),
        body: object(fields.iter().filter(|(name, value)| is_signed(name, value))),
    };
    Ok((delivery_key, notification))
}

/// A signed notice of anything else. It has no number of its own, so the text that was signed
/// identifies it: a repeat has the same.
fn other(account: &Account, fields: &Flat, text: &[u8]) -> Verified {
    let event_type = match filled(fields, "change_type") {
        Some(change) => EventType::other(GATEWAY, &format!("contract.{change}")),
        None => EventType::other(GATEWAY, "notice"),
    };
    let key = format!("notice:{}", hex::encode(digest(&SHA256, text).as_ref()));
    let notification = Notification {
        event_type,
        meaning_key: key.clone(),
        order_no: None,
        transaction_id: None,
        refund_id: None,
        refund_no: None,
        payer: None,
        amount: None,
        refunded_total: None,
        order_amount: None,
        occurred_at: fields.get("operate_time").and_then(Timestamp::parse_beijing),
        mismatch: account.mismatch_of_other(fields),
        body: object(fields.iter().filter(|(name, value)| is_signed(name, value))),
    };
    Verified::one(key, notification)
}

/// A decrypted refund. `None` where it is not complete: without a signature, completeness is
/// part of the proof that the key holder wrote it.
pub(super) fn refund(account: &Account, outer: &Flat, inner: &Flat) -> Option<Verified> {
    let order_no = filled(inner, "out_trade_no")?;
    let refund_id = filled(inner, "refund_id")?;
    let status = filled(inner, "refund_status")?;
    let key = format!("refund:{refund_id}:{status}");
    let names = ["appid", "mch_id", "sub_appid", "sub_mch_id"];
    let accounts = outer.iter().filter(|(name, _)| names.contains(name));
    let notification = Notification {
        event_type: refund_event(status),
        meaning_key: key.clone(),
        order_no: Some(order_no.to_owned()),
        transaction_id: filled(inner, "transaction_id").map(str::to_owned),
        refund_id: Some(refund_id.to_owned()),
        refund_no: filled(inner, "out_refund_no").map(str::to_owned),
        payer: None,
        amount: Some(amount(inner, "refund_fee").ok()?),
        refunded_total: None,
        order_amount: Some(amount(inner, "total_fee").ok()?),
        occurred_at: inner.get("success_time").and_then(Timestamp::parse_beijing),
        mismatch: account.mismatch(outer),
        body: object(accounts.chain(inner.iter())),
    };
    Some(Verified::one(key, notification))
}

/// One of the refunds that a signed answer lists, by its place in the list. `None` while it is
/// under way.
pub(super) fn listed_refund(fields: &Flat, place: usize) -> Result<Option<Notification>, Refusal> {
    let malformed = |what| Refusal::Malformed { what };
    let text = |name: &str| filled(fields, &format!("{name}_{place}"));
    let missing = || malformed("a refund, expected refund_id, refund_status and out_trade_no");
    let order_no = filled(fields, "out_trade_no").ok_or_else(missing)?;
    let (Some(refund_id), Some(status)) = (text("refund_id"), text("refund_status")) else {
        return Err(missing());
    };
    let event_type = match status {
        "PROCESSING" => return Ok(None),
        other => refund_event(other),
    };
    Ok(Some(Notification {
        event_type,
        meaning_key: format!("refund:{refund_id}:{status}"),
        order_no: Some(order_no.to_owned()),
        transaction_id: filled(fields, "transaction_id").map(str::to_owned),
        refund_id: Some(refund_id.to_owned()),
        refund_no: text("out_refund_no").map(str::to_owned),
        payer: None,
        amount: Some(amount(fields, &format!("refund_fee_{place}")).map_err(malformed)?),
        refunded_total: None,
        order_amount: Some(amount(fields, "total_fee").map_err(malformed)?),
        occurred_at: text("refund_success_time").and_then(Timestamp::parse_beijing),
        mismatch: None,
        body: object(fields.iter().filter(|(name, value)| is_signed(name, value))),
    }))
}

fn refund_event(status: &str) -> EventType {
    match status {
        "SUCCESS" => EventType::REFUND_SUCCEEDED,
        "CHANGE" => EventType::REFUND_ABNORMAL,
        "REFUNDCLOSE" => EventType::REFUND_CLOSED,
        other => EventType::other(GATEWAY, &format!("refund.{other}")),
    }
}

/// An amount in the minor unit of `fee_type`, which is CNY where it is absent.
fn amount(fields: &Flat, name: &str) -> Result<Money, &'static str> {
    let minor = parse_decimal(fields.get(name).unwrap_or_default(), 0)
        .map_err(|_| "amount, expected whole minor units")?;
    let currency = match filled(fields, "fee_type") {
        Some(code) => Currency::parse(code).map_err(|_| "fee_type, expected an ISO 4217 code")?,
        None => Currency::CNY,
    };
    Ok(Money { minor, currency })
}

/// Whether a payment's field is covered by its signature and is content: the protocol signs no
/// empty values, so anybody could add some.
fn is_signed(name: &str, value: &str) -> bool {
    !value.is_empty() && name != "sign"
}

/// One flat JSON object of texts; of two fields with one name the later stands.
fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let texts = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
    Value::Object(texts.collect::<Map<_, _>>()).to_string()
}

/// Stands before event names that have no normalised one.
const GATEWAY: &str = "wechat-v2";

/// The signed fields that anything here depends on, and those that say what became of which
/// contract: a notice is known by its signed text, which must not be readable in two ways.
pub(super) const READ: [&str; 23] = [
    "appid",
    "change_type",
    "contract_code",
    "contract_expired_time",
    "contract_id",
    "contract_termination_mode",
    "fee_type",
    "mch_id",
    "openid",
    "operate_time",
    "out_trade_no",
    "plan_id",
    "req_info",
    "request_serial",
    "result_code",
    "return_code",
    "sign_type",
    "sub_appid",
    "sub_mch_id",
    "time_end",
    "total_fee",
    "trade_state",
    "transaction_id",
];

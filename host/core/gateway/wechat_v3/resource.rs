//! What the opened resource says happened.
//!
//! Some products reuse an event type with another resource (profit sharing comes as
//! `TRANSACTION.SUCCESS`), so the pair of event type and original type picks the reader. A pair
//! without a reader is passed on as it is: genuine, but without a normalised meaning.
//!
//! What is read here names people, so none of it has `Debug`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::gateway::Refusal;
use crate::money::{Currency, Money};
use crate::notification::{EventType, Notification, Verified};
use crate::time::Timestamp;

use super::account::{Account, Addressee};
use super::combined;
use super::envelope::{Envelope, is_identifier};

/// Reads a plaintext that the envelope held.
pub(super) fn read(
    envelope: &Envelope,
    plaintext: Vec<u8>,
    account: &Account,
) -> Result<Verified, Refusal> {
    let is_kind =
        |prefix, kind| envelope.event_type.starts_with(prefix) && envelope.original_type() == kind;
    let id = envelope.id.clone();
    if is_kind("TRANSACTION.", "transaction") {
        let text = object(plaintext).map_err(|_| NOT_AN_OBJECT)?;
        if fields(&text).contains_key("sub_orders") {
            let parts = combined::read(&text, envelope.created_at(), account)?;
            return Verified::several(id, parts)
                .ok_or(Refusal::Malformed { what: "sub_orders, expected at least one" });
        }
        return Ok(Verified::one(id, payment(text, envelope.created_at(), account)?));
    }
    if is_kind("REFUND.", "refund") {
        let text = object(plaintext).map_err(|_| NOT_AN_OBJECT)?;
        return Ok(Verified::one(id, refund(text, envelope.created_at(), account)?));
    }
    Ok(Verified::one(id, other(envelope, plaintext, account)))
}

#[derive(Deserialize)]
struct Transaction {
    mchid: Option<String>,
    sp_mchid: Option<String>,
    sub_mchid: Option<String>,
    appid: Option<String>,
    sp_appid: Option<String>,
    out_trade_no: Option<String>,
    transaction_id: Option<String>,
    trade_state: Option<String>,
    success_time: Option<String>,
    payer: Option<Payer>,
    amount: Option<Amount>,
}

#[derive(Deserialize)]
pub(super) struct Payer {
    openid: Option<String>,
    sp_openid: Option<String>,
}

impl Payer {
    /// The name of the payer under the channel's own application.
    pub(super) fn into_name(self) -> Option<String> {
        self.openid.or(self.sp_openid).filter(|name| is_identifier(name))
    }
}

#[derive(Deserialize)]
pub(super) struct Amount {
    /// Of the whole order, in fen.
    total: Option<i64>,
    /// Of this refund, in fen.
    refund: Option<i64>,
    currency: Option<String>,
}

impl Amount {
    /// What a refund gave back, and the total of its order.
    pub(super) fn refunded(&self) -> Result<(Option<Money>, Option<Money>), Refusal> {
        let currency = self.currency.as_deref();
        Ok((money(self.refund, currency)?, money(self.total, currency)?))
    }
}

/// A payment from its transaction, as a notice or an answer has it.
pub(super) fn payment(
    text: String,
    created_at: Option<Timestamp>,
    account: &Account,
) -> Result<Notification, Refusal> {
    let said: Transaction = serde_json::from_str(&text)
        .map_err(|_| Refusal::Malformed { what: "transaction, expected its documented fields" })?;
    let mismatch = account.check_payment(Addressee {
        merchant: said.mchid.as_deref(),
        partner: said.sp_mchid.as_deref(),
        sub_merchant: said.sub_mchid.as_deref(),
        application: said.appid.as_deref().or(said.sp_appid.as_deref()),
    });
    let order_no = required(said.out_trade_no, "out_trade_no, expected an order number")?;
    let state = required(said.trade_state, "trade_state, expected a state")?;
    let transaction_id = transaction(said.transaction_id, &state)?;
    let total = match said.amount {
        Some(amount) => money(amount.total, amount.currency.as_deref())?,
        None => None,
    };
    Ok(Notification {
        event_type: payment_event(&state),
        meaning_key: payment_key(transaction_id.as_deref(), &order_no, &state),
        order_no: Some(order_no),
        transaction_id,
        refund_id: None,
        refund_no: None,
        payer: said.payer.and_then(Payer::into_name),
        amount: total,
        refunded_total: None,
        order_amount: total,
        occurred_at: moment(said.success_time.as_deref(), created_at),
        mismatch,
        body: text,
    })
}

/// The gateway's number of a payment. Only money that moved must have one: an order that nobody
/// paid may have none, and in a combined order must not hold up the others.
pub(super) fn transaction(value: Option<String>, state: &str) -> Result<Option<String>, Refusal> {
    let is_optional = !matches!(state, "SUCCESS" | "REFUND");
    match value {
        None => is_optional.then_some(None),
        Some(text) if text.is_empty() => is_optional.then_some(None),
        Some(text) => is_identifier(&text).then_some(Some(text)),
    }
    .ok_or(Refusal::Malformed { what: "transaction_id, expected a number" })
}

/// The business fact of a payment; the order stands for a transaction that never was.
pub(super) fn payment_key(transaction_id: Option<&str>, order_no: &str, state: &str) -> String {
    match transaction_id {
        Some(transaction_id) => format!("payment:{transaction_id}:{state}"),
        None => format!("payment-order:{order_no}:{state}"),
    }
}

/// What a `trade_state` means. `REFUND` says that money went back at some time, not how much:
/// the refund notices tell that.
pub(super) fn payment_event(state: &str) -> EventType {
    match state {
        "SUCCESS" => EventType::PAYMENT_SUCCEEDED,
        "CLOSED" | "REVOKED" => EventType::PAYMENT_CLOSED,
        "PAYERROR" => EventType::PAYMENT_FAILED,
        "USERPAYING" | "NOTPAY" => EventType::PAYMENT_PENDING,
        other => EventType::other(GATEWAY, &format!("trade-state.{other}")),
    }
}

#[derive(Deserialize)]
struct Refund {
    mchid: Option<String>,
    sp_mchid: Option<String>,
    sub_mchid: Option<String>,
    out_trade_no: Option<String>,
    transaction_id: Option<String>,
    out_refund_no: Option<String>,
    refund_id: Option<String>,
    refund_status: Option<String>,
    success_time: Option<String>,
    amount: Option<Amount>,
}

fn refund(
    text: String,
    created_at: Option<Timestamp>,
    account: &Account,
) -> Result<Notification, Refusal> {
    let said: Refund = serde_json::from_str(&text)
        .map_err(|_| Refusal::Malformed { what: "refund, expected its documented fields" })?;
    let mismatch = account.check_refund(Addressee {
        merchant: said.mchid.as_deref(),
        partner: said.sp_mchid.as_deref(),
        sub_merchant: said.sub_mchid.as_deref(),
        application: None,
    });
    let order_no = required(said.out_trade_no, "out_trade_no, expected an order number")?;
    let transaction_id = required(said.transaction_id, "transaction_id, expected a number")?;
    let refund_no = required(said.out_refund_no, "out_refund_no, expected a refund number")?;
    let refund_id = required(said.refund_id, "refund_id, expected a number")?;
    let status = required(said.refund_status, "refund_status, expected a status")?;
    let (amount, order_amount) = match said.amount {
        Some(amount) => amount.refunded()?,
        None => (None, None),
    };
    Ok(Notification {
        event_type: refund_event(&status),
        meaning_key: format!("refund:{refund_id}:{status}"),
        order_no: Some(order_no),
        transaction_id: Some(transaction_id),
        refund_id: Some(refund_id),
        refund_no: Some(refund_no),
        payer: None,
        amount,
        refunded_total: None,
        order_amount,
        occurred_at: moment(said.success_time.as_deref(), created_at),
        mismatch,
        body: text,
    })
}

fn refund_event(status: &str) -> EventType {
    match status {
        "SUCCESS" => EventType::REFUND_SUCCEEDED,
        "CLOSED" => EventType::REFUND_CLOSED,
        "ABNORMAL" => EventType::REFUND_ABNORMAL,
        other => EventType::other(GATEWAY, &format!("refund-status.{other}")),
    }
}

fn other_name(envelope: &Envelope) -> String {
    match envelope.original_type() {
        "" => envelope.event_type.clone(),
        kind => format!("{kind}.{}", envelope.event_type),
    }
}

/// A pair without a reader: what it names is taken along, nothing of it is required.
fn other(envelope: &Envelope, plaintext: Vec<u8>, account: &Account) -> Notification {
    let body = object(plaintext).unwrap_or_else(wrapped);
    let known = fields(&body);
    let text = |name: &str| {
        let raw = known.get(name)?;
        serde_json::from_str::<String>(raw.get()).ok().filter(|text| is_identifier(text))
    };
    let (merchant, partner, sub_merchant) = (text("mchid"), text("sp_mchid"), text("sub_mchid"));
    let application = text("appid").or_else(|| text("sp_appid"));
    let mismatch = account.check_other(Addressee {
        merchant: merchant.as_deref(),
        partner: partner.as_deref(),
        sub_merchant: sub_merchant.as_deref(),
        application: application.as_deref(),
    });
    Notification {
        // Both names: some products reuse `TRANSACTION.SUCCESS` for what is no payment.
        event_type: EventType::other(GATEWAY, &other_name(envelope)),
        meaning_key: envelope.id.clone(),
        order_no: text("out_trade_no").or_else(|| text("out_order_no")),
        transaction_id: text("transaction_id"),
        refund_id: None,
        refund_no: None,
        payer: None,
        amount: None,
        refunded_total: None,
        order_amount: None,
        occurred_at: moment(text("success_time").as_deref(), envelope.created_at()),
        mismatch,
        body,
    }
}

/// The plaintext as text, where it is one JSON object that every reader can read: nested at most
/// 128 deep, whole characters, numbers in range.
fn object(plaintext: Vec<u8>) -> Result<String, Vec<u8>> {
    let text = String::from_utf8(plaintext).map_err(|error| error.into_bytes())?;
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(text.into_bytes()),
    }
}

/// An object around a plaintext that is none: not every product seals JSON.
fn wrapped(plaintext: Vec<u8>) -> String {
    let (name, content) = match String::from_utf8(plaintext) {
        Ok(text) => ("text", text),
        Err(error) => ("base64", STANDARD.encode(error.as_bytes())),
    };
    serde_json::Value::from_iter([(name, content)]).to_string()
}

/// The fields of an object as they stand there; empty for anything else.
pub(super) fn fields(text: &str) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(text).unwrap_or_default()
}

/// A field that a genuine message has, as an identifier.
pub(super) fn required(value: Option<String>, what: &'static str) -> Result<String, Refusal> {
    value.filter(|text| is_identifier(text)).ok_or(Refusal::Malformed { what })
}

/// An amount in minor units; the yuan where no currency is named.
pub(super) fn money(minor: Option<i64>, currency: Option<&str>) -> Result<Option<Money>, Refusal> {
    let Some(minor) = minor else { return Ok(None) };
    if minor < 0 {
        return Err(Refusal::Malformed { what: "amount, expected no negative number" });
    }
    let currency = match currency {
        None => Currency::CNY,
        Some(code) => Currency::parse(code)
            .map_err(|_| Refusal::Malformed { what: "amount.currency, expected ISO 4217" })?,
    };
    Ok(Some(Money { minor, currency }))
}

/// The time of success; where there was none, the time of the message.
pub(super) fn moment(success: Option<&str>, created: Option<Timestamp>) -> Option<Timestamp> {
    success.and_then(Timestamp::parse_rfc3339).or(created)
}

const NOT_AN_OBJECT: Refusal = Refusal::Malformed { what: "plaintext, expected a JSON object" };

/// Stands before event names that have no normalised one.
pub(super) const GATEWAY: &str = "wechat-v3";

#[cfg(test)]
mod tests {
    use super::super::tests::Silent;
    use super::{Amount, Payer, Refund, Transaction};

    #[test]
    fn nothing_read_from_a_plaintext_can_be_printed() {
        <Transaction as Silent<_>>::holds();
        <Payer as Silent<_>>::holds();
        <Refund as Silent<_>>::holds();
        <Amount as Silent<_>>::holds();
    }
}
